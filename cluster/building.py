"""From what an inventory says to the `Cluster`, every mistake reported at once.

`build` takes the hosts as pyinfra or inventory_files.py give them, alike. What each setting takes is in settings.py, the rules
that hold between settings are in contradictions.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from . import settings as s
from .components import GROUPS
from .contradictions import contradictions
from .errors import SettingsError, did_you_mean
from .timing import PROFILES, Timing
from .topology import Cluster, Host

# A name as in DNS; pyinfra's connector for rehearsals puts `@fake/` before it.
LONGEST_NAME = 63  # of a certificate's subject, and of a slot of PostgreSQL's
HOST_NAME = re.compile(r"(@fake/)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


@dataclass(frozen=True)
class RawHost:
    """A host as an inventory has it: its groups, and its data merged by pyinfra's precedence (host, groups, all)."""

    groups: frozenset[str]
    data: dict[str, Any] = field(repr=False)


def build(hosts: dict[str, RawHost]) -> Cluster:
    """The cluster that `hosts` (by name) describe. Raises SettingsError with every mistake found."""
    problems: list[str] = [*_unknown_keys(hosts)]
    members = {group: sorted(n for n, h in hosts.items() if group in h.groups) for group in GROUPS}
    problems += [f"group {group!r} of the inventory has no hosts" for group in GROUPS if not members[group]]

    built = {name: host for name, raw in hosts.items() if set(GROUPS) & raw.groups and (host := _host(name, raw, problems))}
    sections = {group: _section(group, hosts, members.get(group) or sorted(hosts), problems) for group in ("all", *GROUPS)}
    if problems:
        raise SettingsError(problems)

    general = sections["all"]
    timing = _timing(general, problems)
    cluster = Cluster(
        name=general.cluster_name, all=general, timing=timing,
        etcd=sections["etcd"], postgres=sections["postgres"], haproxy=sections["haproxy"],
        etcd_hosts=tuple(built[n] for n in members["etcd"]),
        postgres_hosts=tuple(built[n] for n in members["postgres"]),
        haproxy_hosts=tuple(built[n] for n in members["haproxy"]),
    )  # fmt: skip
    problems += contradictions(cluster)
    if problems:
        raise SettingsError(problems)
    return cluster


def host_problems(name: str, data: dict[str, Any]) -> list[str]:
    """What is wrong with one host, seen alone."""
    problems: list[str] = []
    _host(name, RawHost(frozenset(), data), problems)
    return problems


def section_problems(group: str, values: dict[str, Any]) -> list[str]:
    """What is wrong with the settings of one group, seen alone."""
    problems: list[str] = []
    _section(group, {"": RawHost(frozenset(), values)}, [""], problems)
    return problems


def _unknown_keys(hosts: dict[str, RawHost]) -> Iterator[str]:
    known = {variable for _, variables in s.VARIABLES.values() for variable in variables}
    known |= set(s.HostSettings.model_fields) | s.CONNECTOR_SETTINGS
    seen = {key for raw in hosts.values() for key in raw.data if not key.startswith("_") or key in s.NOT_TAKEN}
    for key in sorted(seen - known):
        if key in s.NOT_TAKEN:
            yield f"{key} is not taken: {s.NOT_TAKEN[key]}"
        elif key in s.RENAMED:
            new, since = s.RENAMED[key]
            yield f"{key} is now {new} since {since}"
        else:
            yield f"{key} is not a setting{did_you_mean(key, known)}"


def _host(name: str, raw: RawHost, problems: list[str]) -> Host | None:
    if not HOST_NAME.fullmatch(name):
        problems.append(f"host {name!r}: its name should be lower-case letters, digits and hyphens, as in DNS")
        return None
    if len(name) > LONGEST_NAME:
        problems.append(f"host {name}: its name has {len(name)} characters: should have at most {LONGEST_NAME}")
        return None
    data = {key: value for key, value in raw.data.items() if key in s.HostSettings.model_fields}
    if "address" not in data and "ssh_hostname" in data:
        data["address"] = data["ssh_hostname"]
    try:
        return Host(name, s.HostSettings.model_validate(data))
    except ValidationError as error:
        for e in error.errors():
            key = str(e["loc"][0])
            if key == "address":
                problems.append(
                    f"host {name}: address = {data.get('address')!r}: should be the IP address the other hosts reach it by"
                )
                break
            problems.append(f"host {name}: {key} = {e['input']!r}: {s.explain(dict(e))}")
        return None


def _section(group: str, hosts: dict[str, RawHost], names: list[str], problems: list[str]) -> Any:
    """The settings of one group, each of which must be the same on all of the group's hosts."""
    model, variables = s.VARIABLES[group]
    values: dict[str, Any] = {}
    for variable, field_name in variables.items():
        found = {name: raw.data[variable] for name, raw in hosts.items() if variable in raw.data}
        if not found:
            continue
        lacking = [name for name in names if name not in found]
        if lacking == names:
            problems.append(f"{variable} is set for {', '.join(found)} only: it belongs in group_data/{group}.py")
        elif lacking or len({repr(value) for value in found.values()}) > 1:
            said = [f"{value!r} on {name}" for name, value in found.items()] + [f"not set on {name}" for name in lacking]
            problems.append(f"{variable} is one setting for the whole cluster, but is {', '.join(said)}")
        else:
            values[field_name] = found[names[0]]
    try:
        return model.model_validate(values)
    except ValidationError as error:
        named = {field_name: variable for variable, field_name in variables.items()}
        problems += _section_problems(error, named, group)
        return None


def _section_problems(error: ValidationError, named: dict[str, str], group: str) -> Iterator[str]:
    said = set()
    for e in error.errors():
        where = named[str(e["loc"][0])]
        inner = [str(part) for part in e["loc"][1:] if str(part) not in ("bool", "int", "float", "str")]
        path = "".join(f"[{part}]" for part in inner if "function" not in part)
        if e["type"] == "missing":
            text = f"{where}{path} {s.explain(dict(e))} (group_data/{group}.py)"
        elif e["type"] == "extra_forbidden":  # its value may be a secret
            text = f"{where}{path} {s.explain(dict(e))}{_instead(where, inner[-1])}"
        else:
            text = f"{where}{path} = {e['input']!r}: {s.explain(dict(e))}"
        # A union reports one error for each of its types: the first is enough.
        if (where, path) not in said:
            said.add((where, path))
            yield text


def _instead(where: str, key: str) -> str:
    """What there is in place of an entry's key that is not known, to be put after it."""
    if key in s.INSTEAD:
        return f": {s.INSTEAD[key]}"
    return did_you_mean(key, s.ENTRIES[where].model_fields) if where in s.ENTRIES else ""


def _timing(general: s.AllSettings, problems: list[str]) -> Timing:
    profile = PROFILES[general.failover_profile]
    for key in general.failover_timing:
        if key not in Timing.model_fields:
            problems.append(f"failover_timing[{key}] is not a timer{did_you_mean(key, Timing.model_fields)}")
    known = {k: v for k, v in general.failover_timing.items() if k in Timing.model_fields}
    return profile.model_copy(update=known)
