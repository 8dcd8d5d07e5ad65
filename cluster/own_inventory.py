"""A cluster of an owner's: from answers to the files of inventories/NAME/. day2/commands/begin/init.py asks, and writes them.

The settings are the checkout's own files of group_data/ with the answers filled in, so that their explanations stand once.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .building import build, host_problems, section_problems
from .errors import SettingsError
from .inventory_files import home, merge, read_group_data
from .settings import VARIABLES

USUAL_USER = "root"
ANY = "any"  # network
# How many members etcd can have.
MAJORITIES = (1, 3, 5, 7)
IGNORED = "# Passwords and keys: whoever has them has the cluster. Keep a backup of them elsewhere.\n/secrets/\n"


@dataclass(frozen=True)
class Answers:
    """What only the owner knows. Hosts are addresses by name; a host may be in several of the three. `by_name` are those that
    the owner's SSH configuration knows how to reach; `operators` the networks that may dial SSH, none for all."""

    name: str
    databases: Mapping[str, str]
    proxies: Mapping[str, str]
    etcd: Mapping[str, str]
    user: str
    clients: tuple[str, ...]
    by_name: frozenset[str] = frozenset()
    operators: tuple[str, ...] = ()


def check_name(name: str) -> None:
    """Raises SettingsError for a name that can't be a cluster's, and so not a directory's."""
    _refuse(section_problems("all", {"cluster_name": name, "client_networks": []}))


def read_clients(words: Iterable[str]) -> tuple[str, ...]:
    """The networks of clients. Raises SettingsError with every one that is none."""
    networks = tuple(words)
    _refuse(section_problems("all", {"cluster_name": "any", "client_networks": networks}))
    return networks


def read_operators(words: Iterable[str]) -> tuple[str, ...]:
    """The networks that may dial SSH; none for ANY. Raises SettingsError with every one that is no network."""
    networks = tuple(word for word in words if word != ANY)
    _refuse(section_problems("all", {"cluster_name": "any", "client_networks": [], "operator_networks": networks}))
    return networks


def read_user(words: Iterable[str]) -> str:
    """The SSH user. Raises SettingsError for more than one, or none."""
    user, *more = words
    _refuse([f"--user {' '.join((user, *more))}: should be one name, such as root"] if more or user.startswith("-") else [])
    return user


def read_hosts(option: str, words: Iterable[str], known: Mapping[str, str] | None = None) -> dict[str, str]:
    """The address of each host of words such as `pg1=10.0.0.11`; one of `known` may be named without its address.

    Raises SettingsError with every word that is wrong, under the name of the option.
    """
    known, found, problems = known or {}, {}, []
    for word in words:
        host, _, given = word.partition("=")
        address = given or known.get(host, "")
        if not (host and address):
            problems.append(f"--{option} {word}: should be HOST=ADDRESS, such as pg1=10.0.0.11")
        elif host in found:
            problems.append(f"--{option} {word}: {host} is there already")
        elif address != known.get(host, address):
            problems.append(f"--{option} {word}: {host} has the address {known[host]} already")
        else:
            problems += host_problems(host, {"address": address})
            found[host] = address
    _refuse(problems)
    return found


def check(answers: Answers) -> None:
    """Whether a cluster can be made of all this with the settings as they are here. Raises SettingsError with every mistake."""
    settings = read_group_data(home(answers.name) / "inventory.py")
    build(merge(_groups(answers), settings, _settings(answers)))


def files(answers: Answers, shipped: Mapping[str, str]) -> dict[str, str]:
    """The text of each file of inventories/NAME/. `shipped` has those of SOURCES, which they are made from."""
    made = {source: shipped[source] for source in SOURCES} | {"inventory.py": _inventory(answers, shipped["inventory.py"])}
    for variable, value in _settings(answers).items():
        made["group_data/all.py"] = _filled(made["group_data/all.py"], variable, value)
    return {**made, ".gitignore": IGNORED}


SOURCES = ("inventory.py", *(f"group_data/{group}.py" for group in VARIABLES))


def _settings(answers: Answers) -> dict[str, Any]:
    """Those of all hosts that the answers decide."""
    return {
        "cluster_name": answers.name,
        "client_networks": list(answers.clients),
        "firewall": True,
        **({"operator_networks": list(answers.operators)} if answers.operators else {}),
        "secrets_directory": str(home(answers.name) / "secrets"),
    }


def _groups(answers: Answers) -> dict[str, list[Any]]:
    """The inventory's groups: a host with its settings where it is first, by name where it is again."""
    groups: dict[str, list[Any]] = {}
    seen: set[str] = set()
    for group, hosts in (("postgres", answers.databases), ("haproxy", answers.proxies), ("etcd", answers.etcd)):
        groups[group] = [
            name if name in seen else (name, {"address": address, **_reached(answers, name, address)})
            for name, address in hosts.items()
        ]
        seen |= set(hosts)
    return groups


def _reached(answers: Answers, name: str, address: str) -> dict[str, str]:
    """How a host is reached: as SSH's configuration says where it knows the host; there the usual user says nothing."""
    if name not in answers.by_name:
        return {"ssh_hostname": address, "ssh_user": answers.user}
    return {} if answers.user == USUAL_USER else {"ssh_user": answers.user}


def _inventory(answers: Answers, shipped: str) -> str:
    """The hosts, under what the shipped file says of a host's settings: the indented lines of its docstring."""
    docstring = shipped.partition('"""')[2].partition('"""')[0]
    lines = [
        f'"""The hosts of cluster {answers.name}, by group. The settings are in group_data/ beside this file.\n',
        *(line for line in docstring.splitlines() if line.startswith("    ")),
        '"""\n',
    ]
    for group, entries in _groups(answers).items():
        lines += [f"{group} = [", *(f"    {_python(entry)}," for entry in entries), "]"]
    return "\n".join(lines) + "\n"


def _filled(text: str, variable: str, value: Any) -> str:
    """A settings file with another value, and all else as it is; at its end where the file does not set it."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == variable for t in node.targets):
            lines = text.splitlines(keepends=True)
            before, statement = "".join(lines[: node.lineno - 1]), "".join(lines[node.lineno - 1 :])
            old = ast.get_source_segment(text, node) or ""
            return before + statement.replace(old, f"{variable} = {_python(value)}", 1)
    return f"{text}\n{variable} = {_python(value)}\n"


def _python(value: Any) -> str:
    """Text, lists and mappings of text, a truth, and hosts, as they stand in a settings file."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, tuple):
        return f"({', '.join(_python(part) for part in value)})"
    return json.dumps(value, ensure_ascii=False)


def _refuse(problems: Iterable[str]) -> None:
    if found := list(problems):
        raise SettingsError(found)
