"""The `Cluster`: hosts and settings as one frozen, checked object, and the rules that hold between them.

`build` is the only constructor. It takes what an inventory says, from pyinfra or from inventory_files.py alike, and
reports every mistake at once.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Any

from pydantic import ValidationError

from . import settings as s
from .components import COMPONENTS, GROUPS, Component
from .errors import SettingsError, did_you_mean
from .parameters import LOGICAL, parameter_problems
from .slots import slot_name
from .timing import PROFILES, Timing

# A name as in DNS; pyinfra's connector for rehearsals puts `@fake/` before it.
LONGEST_NAME = 63  # of a certificate's subject, and of a slot of PostgreSQL's
HOST_NAME = re.compile(r"(@fake/)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


@dataclass(frozen=True)
class RawHost:
    """A host as an inventory has it: its groups, and its data merged by pyinfra's precedence (host, groups, all)."""

    groups: frozenset[str]
    data: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Host:
    """One server. `address` is what the cluster's own programs use; `ssh_hostname` is what the operator connects to."""

    name: str
    settings: s.HostSettings

    @property
    def address(self) -> str:
        return str(self.settings.address)

    @property
    def url_address(self) -> str:
        """The address as it stands in a URL or before a port: IPv6 in brackets."""
        return f"[{self.address}]" if isinstance(self.settings.address, IPv6Address) else self.address

    @property
    def ssh_hostname(self) -> str:
        return self.settings.ssh_hostname or self.name


@dataclass(frozen=True)
class Cluster:
    """Everything the cluster is. Hosts are ordered by name, so that every choice by order is the same in every run."""

    name: str
    all: s.AllSettings
    timing: Timing
    etcd: s.EtcdSettings
    postgres: s.PostgresSettings
    haproxy: s.HaproxySettings
    etcd_hosts: tuple[Host, ...]
    postgres_hosts: tuple[Host, ...]
    haproxy_hosts: tuple[Host, ...]
    # For messages: the file that describes it, as pyinfra is given it.
    inventory: str = "inventory.py"

    @property
    def hosts(self) -> tuple[Host, ...]:
        by_name = {h.name: h for h in (*self.etcd_hosts, *self.postgres_hosts, *self.haproxy_hosts)}
        return tuple(by_name[name] for name in sorted(by_name))

    @property
    def waits_without_replica(self) -> bool:
        """Whether no write is acknowledged while no replica is there."""
        return self.all.durability != "asynchronous" and self.all.without_replica == "wait"

    @property
    def decodes(self) -> bool:
        """Whether PostgreSQL writes what logical slots need."""
        return bool(self.postgres.slots) or self.postgres.parameters.get("wal_level") == "logical"

    @property
    def gated_slots(self) -> bool:
        """Whether consumers of logical slots wait until replicas have a change, as acknowledged writes do."""
        return bool(self.postgres.slots) and self.all.durability != "asynchronous"

    def members(self, group: str) -> tuple[Host, ...]:
        """The hosts of a group of the inventory."""
        return {"etcd": self.etcd_hosts, "postgres": self.postgres_hosts, "haproxy": self.haproxy_hosts}[group]

    def components(self, host: Host) -> tuple[Component, ...]:
        """What a host carries."""
        return tuple(component for component in COMPONENTS if host in self.members(component.group))

    def setting(self, variable: str) -> Any:
        """The value of a setting by its name in group_data, such as `etcd_client_port`. Raises KeyError for another name."""
        for group, (_, fields) in s.VARIABLES.items():
            if variable in fields:
                return getattr(getattr(self, group), fields[variable])
        raise KeyError(variable)

    def host(self, name: str) -> Host:
        """The host called `name`. Raises SettingsError, with the nearest name, when there is none."""
        for host in self.hosts:
            if host.name == name:
                return host
        names = [h.name for h in self.hosts]
        raise SettingsError([f"no host is called {name!r}{did_you_mean(name, names)}: there are {', '.join(names)}"])


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
    problems += _contradictions(cluster)
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
    seen = {key for raw in hosts.values() for key in raw.data if not key.startswith("_")}
    for key in sorted(seen - known):
        if key in s.RENAMED:
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
        else:
            text = f"{where}{path} = {e['input']!r}: {s.explain(dict(e))}"
        # A union reports one error for each of its types: the first is enough.
        if (where, path) not in said:
            said.add((where, path))
            yield text


def _timing(general: s.AllSettings, problems: list[str]) -> Timing:
    profile = PROFILES[general.failover_profile]
    for key in general.failover_timing:
        if key not in Timing.model_fields:
            problems.append(f"failover_timing[{key}] is not a timer{did_you_mean(key, Timing.model_fields)}")
    known = {k: v for k, v in general.failover_timing.items() if k in Timing.model_fields}
    return profile.model_copy(update=known)


def _contradictions(cluster: Cluster) -> Iterator[str]:
    yield from (f"failover timing: {problem}" for problem in cluster.timing.problems())
    yield from _topology_problems(cluster)
    yield from _port_problems(cluster)
    yield from parameter_problems(cluster.postgres.parameters, durable=cluster.all.durability != "asynchronous")
    yield from _role_problems(cluster.postgres)
    yield from _slot_problems(cluster)
    if not cluster.all.client_networks:
        yield "client_networks = (): name at least one network, such as '10.0.0.0/24', or nobody can connect"


def _topology_problems(cluster: Cluster) -> Iterator[str]:
    count = len(cluster.etcd_hosts)
    if count % 2 == 0 or count > 7:
        names = ", ".join(h.name for h in cluster.etcd_hosts)
        yield f"group 'etcd' has {count} members ({names}): should be 1, 3, 5 or 7, so that a majority survives"
    for address, times in Counter(h.address for h in cluster.hosts).items():
        if times > 1:
            names = ", ".join(h.name for h in cluster.hosts if h.address == address)
            yield f"address {address} is given to {names}: every host needs its own"
    if cluster.all.durability != "asynchronous" and len(cluster.postgres_hosts) < 2:
        yield f"durability = {cluster.all.durability!r}: needs at least two hosts in group 'postgres', or 'asynchronous'"
    families = {h.settings.address.version for h in cluster.hosts}
    if len(families) > 1:
        yield "addresses: all hosts should be of one kind, IPv4 or IPv6"


def _port_problems(cluster: Cluster) -> Iterator[str]:
    ports = [(port, cluster.setting(port), cluster.members(c.group)) for c in COMPONENTS for port in c.ports]
    for (one, number, hosts), (other, number_too, hosts_too) in itertools.combinations(ports, 2):
        shared = {h.name for h in hosts} & {h.name for h in hosts_too}
        if number == number_too and shared:
            yield f"{one} and {other} are both {number} on {', '.join(sorted(shared))}: choose different ports"


def _role_problems(postgres: s.PostgresSettings) -> Iterator[str]:
    roles = [role.name for role in postgres.roles]
    for name in roles:
        if name in s.RESERVED_ROLES or name.startswith("pg_"):
            yield f"postgres_roles: {name!r} is a name that PostgreSQL or this tool keeps for itself"
    for name in (d.name for d in postgres.databases):
        if name in s.RESERVED_DATABASES:
            yield f"postgres_databases: {name!r} is a name that PostgreSQL or this tool keeps for itself"
    for database in postgres.databases:
        if database.owner not in roles:
            yield (
                f"postgres_databases: {database.name!r} is owned by {database.owner!r}, which is not in"
                f" postgres_roles{did_you_mean(database.owner, roles)}"
            )
    for role in postgres.roles:
        for group in role.member_of:
            if group not in roles and not group.startswith("pg_"):
                yield f"postgres_roles: {role.name!r} is a member of {group!r}, which is not in postgres_roles"
    for what, names in (("postgres_roles", roles), ("postgres_databases", [d.name for d in postgres.databases])):
        yield from (f"{what}: {name!r} is there {times} times" for name, times in Counter(names).items() if times > 1)


def _slot_problems(cluster: Cluster) -> Iterator[str]:
    postgres = cluster.postgres
    members = {slot_name(host.name): host.name for host in cluster.postgres_hosts}
    for name, times in Counter(slot.name for slot in postgres.slots).items():
        if times > 1:
            yield f"postgres_slots: {name!r} is there {times} times"
        if name in members:
            yield f"postgres_slots: {name!r} is the name of {members[name]}'s own slot"
        if name.startswith("pgquorum"):
            yield f"postgres_slots: {name!r} is a name that this tool keeps for itself"
    databases = [database.name for database in postgres.databases]
    for slot in postgres.slots:
        if slot.database not in databases:
            hint = did_you_mean(slot.database, databases)
            yield f"postgres_slots: {slot.name!r} is of database {slot.database!r}, which is not in postgres_databases{hint}"
    for name, needed in LOGICAL.items() if postgres.slots else ():
        value = postgres.parameters.get(name, needed)
        if value not in (needed, needed == "on"):
            yield f"postgres_parameters[{name}] = {value!r}: with postgres_slots it is {needed!r}"
    most, count = postgres.parameters.get("max_replication_slots", 10), len(members) + len(postgres.slots)
    if isinstance(most, int) and count > most:
        yield f"postgres_parameters[max_replication_slots] = {most}: the hosts and postgres_slots need {count}"
