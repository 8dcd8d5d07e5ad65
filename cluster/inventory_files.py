"""Reads inventory.py and group_data/ the way pyinfra does, for the tasks, which cannot import it (DESIGN 6.12).

A test holds this reader and pyinfra's own to the same result.
"""

from __future__ import annotations

import ast
import re
import runpy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from .building import RawHost, build
from .errors import SettingsError, did_you_mean
from .topology import Cluster


def load_cluster(inventory: str | Path = "inventory.py", overrides: dict[str, Any] | None = None) -> Cluster:
    """The cluster that an inventory, by name or path, and the group_data beside it describe.

    `overrides` win over everything, as pyinfra's --data does. Raises SettingsError.
    """
    file = find_inventory(str(inventory))
    return replace(build(read_hosts(file, overrides or {})), inventory=str(file))


def home(name: str) -> Path:
    """The directory of an owner's cluster, as `invoke init` makes it, relative to the checkout."""
    return Path("inventories") / name


def settings_file(inventory: str | Path, group: str) -> Path:
    """Where the settings of a group are to be set: beside the inventory, where it has them there, else in the checkout's own."""
    name = f"group_data/{group}.py"
    beside = Path(inventory).parent / name
    return beside if beside.is_file() else Path(name)


def find_inventory(said: str) -> Path:
    """The file that is meant by a path, or by a name alone: `prod` is inventories/prod/inventory.py.

    A file of that very name goes first, as for pyinfra. Raises SettingsError for a name that none is called by.
    """
    if not said.strip():
        # The one that is meant without a word is the lab's: whoever has set something, to nothing, means another.
        raise SettingsError(
            ["the inventory's name is empty (INVOKE_INVENTORY, or `inventory` in invoke.yaml): set it, or unset it"]
        )
    if Path(said).is_file() or not re.fullmatch(r"[\w-]+", said):
        return Path(said)
    file = home(said) / "inventory.py"
    if not file.is_file():
        known = [path.parent.name for path in sorted(home("").glob("*/inventory.py"))]
        problem = f"inventory = {said!r}: there is no {file} in {Path.cwd()}{did_you_mean(said, known)}"
        raise SettingsError([f"{problem}; `invoke init {said}` makes it"])
    return file


def read_hosts(inventory: Path, overrides: dict[str, Any]) -> dict[str, RawHost]:
    """Every host of an inventory file by name, with its data. Raises SettingsError."""
    if not inventory.is_file():
        raise SettingsError([f"inventory = {str(inventory)!r}: there is no such file{_where_instead(inventory)}"])
    groups = {name: value for name, value in _variables(inventory).items() if isinstance(value, list | tuple)}
    for name, value in groups.items():
        _check_form(inventory, name, value)
    # Every host is also in a group named after the inventory file, so group_data/prod.py goes with inventories/prod.py.
    everyone = [entry[0] if isinstance(entry, tuple) else entry for v in groups.values() for entry in _entries(v)]
    groups.setdefault(inventory.stem, list(dict.fromkeys(everyone)))
    return merge(groups, read_group_data(inventory), overrides)


def _where_instead(inventory: Path) -> str:
    """Where the inventory is that was called by its name or directory, else where a file was looked for."""
    for file in (inventory / "inventory.py", home(inventory.stem) / "inventory.py"):
        if file.is_file():
            return f"; the file is {file}"
    # Keys and secrets are looked for in the working directory too, so nothing is guessed from another one.
    return "" if inventory.is_absolute() else f" in {Path.cwd()}; work from the directory of the checkout, or name another"


def merge(groups: dict[str, Any], group_data: dict[str, dict[str, Any]], overrides: dict[str, Any]) -> dict[str, RawHost]:
    """Every host by name, its data merged: overrides, then the host's own, then its groups' (the last wins), then all."""
    group_data = dict(group_data)
    memberships: dict[str, list[str]] = {}
    own: dict[str, dict[str, Any]] = {}
    for group, value in groups.items():
        data = value[1] if isinstance(value, tuple) else {}
        group_data[group] = {**data, **group_data.get(group, {})}
        for entry in _entries(value):
            name, host_data = entry if isinstance(entry, tuple) else (entry, {})
            memberships.setdefault(name, []).append(group)
            own.setdefault(name, {}).update(host_data)

    hosts = {}
    for name, host_groups in memberships.items():
        merged = dict(group_data.get("all", {}))
        for group in host_groups:
            merged.update(group_data[group] if group != "all" else {})
        hosts[name] = RawHost(frozenset(host_groups), {**merged, **own[name], **overrides})
    return hosts


def _entries(group: list[Any] | tuple[list[Any], dict[str, Any]]) -> list[Any]:
    return group[0] if isinstance(group, tuple) else group


def _check_form(inventory: Path, name: str, group: Any) -> None:
    """A group is a list of hosts, or such a list and a mapping; a host is a name, or a name and a mapping."""
    with_data = isinstance(group, tuple)
    well_formed = not with_data or (len(group) == 2 and isinstance(group[0], list) and isinstance(group[1], dict))
    if not well_formed or not all(_is_host(entry) for entry in _entries(group)):
        raise SettingsError([f"{inventory}: group {name!r} should be a list of hosts, each 'NAME' or ('NAME', {{settings}})"])


def _is_host(entry: Any) -> bool:
    if isinstance(entry, tuple):
        return len(entry) == 2 and isinstance(entry[0], str) and isinstance(entry[1], dict)
    return isinstance(entry, str)


def read_group_data(inventory: Path) -> dict[str, dict[str, Any]]:
    """The group_data of the working directory, then over it that beside the inventory."""
    merged: dict[str, dict[str, Any]] = {}
    folders = dict.fromkeys([Path.cwd(), inventory.resolve().parent])
    for folder in folders:
        for file in sorted((folder / "group_data").glob("*.py")):
            merged.setdefault(file.stem, {}).update(_variables(file))
    return merged


def _variables(file: Path) -> dict[str, Any]:
    """The top-level variables of a settings file. A mistake in it is the user's, so it is told as one."""
    try:
        values = runpy.run_path(str(file))
    except SyntaxError as error:
        raise SettingsError([f"{file}, line {error.lineno}: {error.msg}"]) from None
    except Exception as error:
        raise SettingsError([f"{file}: {type(error).__name__}: {error}"]) from None
    imported = {alias.asname or alias.name for alias in _imports(file)}
    return {k: v for k, v in values.items() if not k.startswith("_") and k not in imported and not callable(v)}


def _imports(file: Path) -> Iterator[ast.alias]:
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from node.names
