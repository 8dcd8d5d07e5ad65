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
from .components import GROUPS, OPTIONAL_GROUPS
from .contradictions import contradictions
from .errors import SettingsError, did_you_mean
from .timing import PROFILES, Timing
from .topology import Cluster, Host

# A name as in DNS; pyinfra's connector for rehearsals puts `@fake/` before it.
LONGEST_NAME = 63  # of a certificate's subject, and of a slot of PostgreSQL's
# Of settings that have no default, values that are taken out again.
STAND_INS: dict[str, Any] = {"cluster_name": "none", "client_networks": [], "address": "0.0.0.0"}  # noqa: S104
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
    problems += [
        f"group {group!r} of the inventory has no hosts"
        for group in GROUPS
        if not members[group] and group not in OPTIONAL_GROUPS
    ]

    built = {name: _host(name, raw, problems, hosts) for name, raw in hosts.items() if set(GROUPS) & raw.groups}
    sections = {group: _section(group, hosts, members.get(group) or sorted(hosts), problems) for group in ("all", *GROUPS)}

    # What is wrong so far is not in it: it is made to be judged, and nobody gets to see it.
    general = sections["all"]
    cluster = Cluster(
        name=getattr(general, "cluster_name", ""), all=general, timing=_timing(general, problems),
        etcd=sections["etcd"], postgres=sections["postgres"], haproxy=sections["haproxy"],
        backup=sections["backup"],
        etcd_hosts=tuple(built[n] for n in members["etcd"]),
        postgres_hosts=tuple(built[n] for n in members["postgres"]),
        haproxy_hosts=tuple(built[n] for n in members["haproxy"]),
        backup_hosts=tuple(built[n] for n in members["backup"]),
    )  # fmt: skip
    problems += list(contradictions(cluster, whole=not problems))
    if problems:
        raise SettingsError(problems)
    return cluster


def host_problems(name: str, data: dict[str, Any]) -> list[str]:
    """What is wrong with one host, seen alone."""
    problems: list[str] = []
    _host(name, RawHost(frozenset(), data), problems, {})
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


def _misspelt(name: str, raw: RawHost, hosts: dict[str, RawHost]) -> str:
    """Of a host without an address, what it is if it is no host but the name of another one, misspelt in one group's list."""
    groups = sorted(set(GROUPS) & raw.groups)
    near = did_you_mean(name, [other for other, it in hosts.items() if _address(it) is not None])
    return f"host {name} is in group {groups[0]!r} alone, and has no address{near}" if near and len(groups) == 1 else ""


def _address(raw: RawHost) -> Any:
    return raw.data.get("address", raw.data.get("ssh_hostname"))


def _host(name: str, raw: RawHost, problems: list[str], hosts: dict[str, RawHost]) -> Host:
    """A host, one of `hosts`, with what is right of its settings."""
    if len(name) > LONGEST_NAME:  # before the pattern, which a part of more than 63 does not match either
        problems.append(f"host {name}: its name has {len(name)} characters: should have at most {LONGEST_NAME}")
    elif not HOST_NAME.fullmatch(name):
        problems.append(f"host {name!r}: its name should be lower-case letters, digits and hyphens, as in DNS")
    data = {key: value for key, value in raw.data.items() if key in s.HostSettings.model_fields}
    if (address := _address(raw)) is not None:
        data["address"] = address
    try:
        return Host(name, s.HostSettings.model_validate(data))
    except ValidationError as error:
        wrong = {str(e["loc"][0]): f"{e['input']!r}: {s.explain(dict(e))}" for e in reversed(error.errors())}
        if "address" in wrong:
            wrong["address"] = f"{address!r}: should be the IP address the other hosts reach it by"
        misspelt = "" if address else _misspelt(name, raw, hosts)
        problems += [misspelt] if misspelt else [f"host {name}: {key} = {text}" for key, text in wrong.items()]
        return Host(name, _right(s.HostSettings, data, set(wrong)))


def _right(model: type[s.Settings], values: dict[str, Any], wrong: set[str]) -> Any:
    """An instance without the fields that are `wrong`: who asks for one of them gets an AttributeError."""
    stand_ins = {name: STAND_INS[name] for name in wrong & STAND_INS.keys()}
    made = model.model_validate({key: value for key, value in values.items() if key not in wrong} | stand_ins)
    for name in wrong:
        del made.__dict__[name]
    return made


def _section(group: str, hosts: dict[str, RawHost], names: list[str], problems: list[str]) -> Any:
    """The settings of one group, each of which must be the same on all of the group's hosts."""
    model, variables = s.VARIABLES[group]
    values: dict[str, Any] = {}
    wrong: set[str] = set()
    for variable, field_name in variables.items():
        found = {name: raw.data[variable] for name, raw in hosts.items() if variable in raw.data}
        if not found:
            continue
        lacking = [name for name in names if name not in found]
        if lacking == names:
            problems.append(f"{variable} is set for {', '.join(found)} only: it belongs in group_data/{group}.py")
            wrong.add(field_name)
        elif lacking or len({repr(value) for value in found.values()}) > 1:
            said = [f"{value!r} on {name}" for name, value in found.items()] + [f"not set on {name}" for name in lacking]
            problems.append(f"{variable} is one setting for the whole cluster, but is {', '.join(said)}")
            wrong.add(field_name)
        else:
            values[field_name] = found[names[0]]
    try:
        model.model_validate(values)
    except ValidationError as error:
        named = {field_name: variable for variable, field_name in variables.items()}
        problems += _section_problems([e for e in error.errors() if e["loc"][0] not in wrong], named, group)
        wrong |= {str(e["loc"][0]) for e in error.errors()}
    return _right(model, values, wrong)


def _section_problems(errors: list[Any], named: dict[str, str], group: str) -> Iterator[str]:
    said = set()
    for e in errors:
        where = named[str(e["loc"][0])]
        inner = [str(part) for part in e["loc"][1:] if str(part) not in ("bool", "int", "float", "str")]
        path = "".join(f"[{part}]" for part in inner if "function" not in part and part != "[key]")
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


def _timing(general: s.AllSettings, problems: list[str]) -> Timing | Any:
    """The timers; where they are wrong by themselves, nothing that has any."""
    if not {"failover_profile", "failover_timing"} <= general.__dict__.keys():
        return None
    profile = PROFILES[general.failover_profile]
    for key in general.failover_timing:
        if key not in Timing.model_fields:
            problems.append(f"failover_timing[{key}] is not a timer{did_you_mean(key, Timing.model_fields)}")
    known = {k: v for k, v in general.failover_timing.items() if k in Timing.model_fields}
    return profile.model_copy(update=known)
