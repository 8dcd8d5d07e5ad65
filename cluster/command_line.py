"""What is wrong with a pyinfra command line, told before the first connection."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from .building import build
from .errors import SettingsError, did_you_mean
from .inventory_files import read_hosts
from .settings import NOT_TAKEN


def deploys(parameters: Mapping[str, Any]) -> bool:
    """Whether it is a deploy, and nothing else of pyinfra's: facts, a single command."""
    return "deploy.py" in {Path(str(o)).name for o in parameters.get("operations") or ()}


def in_full(parameters: Mapping[str, Any]) -> bool:
    """Whether all is wanted that pyinfra itself has to say."""
    return any(parameters.get(option) for option in ("verbosity", "debug", "debug_all"))


def refusals(parameters: Mapping[str, Any], *, terminal: bool = True) -> list[str]:
    """The problems, one sentence each, of pyinfra's command line as click has parsed it; empty when it may run.

    `terminal`: whether there is one to ask on.
    """
    if not deploys(parameters):
        return []
    return [*_order(parameters, terminal), *_hosts_and_settings(parameters)]


def _order(parameters: Mapping[str, Any], terminal: bool) -> Iterator[str]:
    for option in ("no_wait", "serial"):
        if parameters.get(option):
            yield f"--{option.replace('_', '-')}: every phase of this deploy needs the one before it on all hosts"
    for option in ("use_sudo_password", "same_sudo_password", "ssh_password_prompt"):
        if parameters.get(option):
            yield f"--{option.replace('_', '-')}: no password is asked for: allow SSH by key, and sudo without a password"
    for option in ("ssh_password", "ssh_key_password"):
        if parameters.get(option):
            yield f"--{option.replace('_', '-')}: {NOT_TAKEN[option]}"
    asks_nothing = any(parameters.get(o) for o in ("yes", "dry", "json_output", "debug_facts", "debug_operations"))
    if not (asks_nothing or terminal):
        yield "there is no terminal to ask on: say -y if this is what you want, or --dry"
    if parameters.get("dry") and parameters.get("yes"):
        yield "--dry with -y (or PYINFRA_YES): with -y pyinfra looks for no changes before it runs: leave -y out to see them"
    if parameters.get("group_data"):
        yield "--group-data: the tasks would not see it; put the settings into group_data/ beside the inventory"


def _hosts_and_settings(parameters: Mapping[str, Any]) -> Iterator[str]:
    try:
        hosts = read_hosts(Path(parameters["inventory"]), _overrides(parameters.get("data") or ()))
        build(hosts)
    except SettingsError as error:
        yield from error.problems
        return
    names = set(hosts) | {group for host in hosts.values() for group in host.groups} | {"all"}
    for option in ("limit", "exclude"):
        for pattern in parameters.get(option) or ():
            if not any(fnmatch(name, pattern) for name in names):
                yield f"--{option} {pattern}: no host or group is called that{did_you_mean(pattern, names)}"


def _overrides(data: tuple[str, ...]) -> dict[str, Any]:
    """The values of --data, read as pyinfra reads them."""
    return {key: _parsed(value) for key, _, value in (item.partition("=") for item in data)}


def _parsed(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for read in (int, json.loads):
        with suppress(ValueError):
            return read(text)
    return text
