"""What a cluster's settings and hosts may not be beside each other, each right by itself. Pure."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

from . import entry, package_files, pooling, repositories
from . import settings as s
from .components import COMPONENTS
from .errors import did_you_mean
from .parameters import LOGICAL, normalize, parameter_problems
from .slots import slot_name
from .topology import Cluster


def contradictions(cluster: Cluster, *, whole: bool = True) -> Iterator[str]:
    """A sentence for each, which names the setting, its value and what would be right.

    Unless `whole`, the cluster lacks what is wrong by itself: a rule that asks for it can't judge, and says no more.
    """
    for rule in RULES:
        with suppress(*[] if whole else [AttributeError]):
            yield from rule(cluster)


def _backup_problems(cluster: Cluster) -> Iterator[str]:
    if len(cluster.backup_hosts) > 1:
        names = ", ".join(host.name for host in cluster.backup_hosts)
        yield f"group 'backup' has {len(cluster.backup_hosts)} hosts ({names}): should be one, or none"
    for host in cluster.backup_hosts:
        if host in cluster.postgres_hosts:
            yield f"host {host.name} is in groups 'backup' and 'postgres': backups should lie where the data does not"
    yield from repositories.problems(cluster.backup.repositories)
    for name in sorted(OF_ARCHIVING & cluster.postgres.parameters.keys()) if cluster.backup_hosts else ():
        value = cluster.postgres.parameters[name]
        why = "group 'backup' has a host, to which pgBackRest archives: take one of both out"
        yield f"postgres_parameters[{name}] = {value!r}: {why}"


def _timing_problems(cluster: Cluster) -> Iterator[str]:
    yield from (f"failover timing: {problem}" for problem in cluster.timing.problems())


def _member_problems(cluster: Cluster) -> Iterator[str]:
    count = len(cluster.etcd_hosts)
    if (count and count % 2 == 0) or count > 7:
        names = ", ".join(h.name for h in cluster.etcd_hosts)
        yield f"group 'etcd' has {count} members ({names}): should be 1, 3, 5 or 7, so that a majority survives"
    if len(cluster.postgres_hosts) == 1 and cluster.all.durability != "asynchronous":
        yield f"durability = {cluster.all.durability!r}: needs at least two hosts in group 'postgres', or 'asynchronous'"


def _fast_problems(cluster: Cluster) -> Iterator[str]:
    if not cluster.all.fast_failover:
        return
    if cluster.all.durability not in ("quorum", "all"):
        yield f"fast_failover = True: needs durability 'quorum' or 'all', and durability is {cluster.all.durability!r}"
    if len(cluster.postgres_hosts) < 3:
        count = len(cluster.postgres_hosts)
        yield f"fast_failover = True: needs three hosts in group 'postgres' or more, so that a majority agrees; it has {count}"


def _address_problems(cluster: Cluster) -> Iterator[str]:
    for address, times in Counter(h.address for h in cluster.hosts).items():
        if times > 1:
            names = ", ".join(h.name for h in cluster.hosts if h.address == address)
            yield f"address {address} is given to {names}: every host needs its own"
    families = {h.settings.address.version for h in cluster.hosts}
    if len(families) > 1:
        yield "addresses: all hosts should be of one kind, IPv4 or IPv6"


def _client_problems(cluster: Cluster) -> Iterator[str]:
    if not cluster.all.client_networks:
        yield "client_networks = (): name at least one network, such as '10.0.0.0/24', or nobody can connect"


def _filter_problems(cluster: Cluster) -> Iterator[str]:
    if cluster.all.operator_networks and not cluster.all.firewall:
        named = ", ".join(str(network) for network in cluster.all.operator_networks)
        yield f"operator_networks has {named}, but firewall = False: should be True, or SSH is open to everybody"


def _parameter_problems(cluster: Cluster) -> Iterator[str]:
    durable, given = cluster.all.durability != "asynchronous", cluster.postgres.parameters
    yield from parameter_problems(given, durable=durable, version=cluster.postgres.version)
    if durable and _normal(cluster, "wal_receiver_status_interval", 10) == 0:
        yield (
            f"postgres_parameters[wal_receiver_status_interval] = {given['wal_receiver_status_interval']!r}: replicas would say"
            " how far they are only when they are asked, and each write wait for that: should be at least 1"
        )
    if cluster.weaker_commits == "refuse" and _normal(cluster, "event_triggers", True) is False:
        yield f"postgres_parameters[event_triggers] = {given['event_triggers']!r}: weaker_commits = 'refuse' is one: should be on"


def _normal(cluster: Cluster, name: str, default: object) -> object:
    """A parameter's value in its base unit; the default, too, for one that is wrong by itself."""
    with suppress(ValueError):
        return normalize(name, cluster.postgres.parameters.get(name, default), cluster.postgres.version)
    return default


def _port_problems(cluster: Cluster) -> Iterator[str]:
    ports = [(port, _port(cluster, port), cluster.carriers(c)) for c in COMPONENTS for port in c.ports]
    for (one, number, hosts), (other, number_too, hosts_too) in itertools.combinations(ports, 2):
        shared = {h.name for h in hosts} & {h.name for h in hosts_too}
        if number is not None and number == number_too and shared:
            yield f"{one} and {other} are both {number} on {', '.join(sorted(shared))}: choose different ports"


def _port(cluster: Cluster, variable: str) -> int | None:
    """None for one that is wrong by itself: the others are judged all the same."""
    with suppress(AttributeError):
        return int(cluster.setting(variable))
    return None


def _role_problems(cluster: Cluster) -> Iterator[str]:
    postgres = cluster.postgres
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
            yield from _member_problem(cluster, role.name, group, roles)
    of = {role.name: role.member_of for role in postgres.roles}
    yield from (f"postgres_roles: {name!r} is a member of itself, by its member_of" for name in of if name in _groups(of, name))
    for what, names in (("postgres_roles", roles), ("postgres_databases", [d.name for d in postgres.databases])):
        yield from (f"{what}: {name!r} is there {times} times" for name, times in Counter(names).items() if times > 1)


def _member_problem(cluster: Cluster, role: str, group: str, roles: list[str]) -> Iterator[str]:
    """Why a role can't be a member of another: the server would stop a deploy with that half way."""
    is_member, version = f"postgres_roles: {role!r} is a member of {group!r}", cluster.postgres.version
    own = [name for name, since in OF_POSTGRESQL.items() if since <= version]
    if group == "pg_database_owner":
        yield f"{is_member}, of which PostgreSQL lets nobody be one: whoever owns a database is"
    elif group.startswith("pg_") and group not in own:
        yield f"{is_member}, which PostgreSQL {version} does not have{did_you_mean(group, own)}"
    elif not group.startswith("pg_") and group not in roles:
        yield f"{is_member}, which is not in postgres_roles{did_you_mean(group, [*roles, *own])}"


def _groups(of: dict[str, tuple[str, ...]], name: str) -> set[str]:
    """What a role is a member of, also by way of others."""
    found: set[str] = set()
    new = [*of[name]]
    while new:
        found.add(group := new.pop())
        new += [one for one in of.get(group, ()) if one not in found]
    return found


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
    most = _normal(cluster, "max_replication_slots", 10)
    count = len(members) + len(postgres.slots) + len(cluster.backup_hosts)
    if isinstance(most, int) and count > most:
        yield f"postgres_parameters[max_replication_slots] = {most}: the hosts, postgres_slots and backups need {count}"


def _sender_problems(cluster: Cluster) -> Iterator[str]:
    most, replicas, slots = _normal(cluster, "max_wal_senders", 10), len(cluster.postgres_hosts) - 1, len(cluster.postgres.slots)
    if isinstance(most, int) and most < (least := replicas + slots + OF_A_COPY):
        yield (
            f"postgres_parameters[max_wal_senders] = {most}: {replicas} replicas, {slots} postgres_slots and {OF_A_COPY} for the"
            f" copy of a new replica need {least}: should be at least that"
        )


# The roles that PostgreSQL has by itself, each with the version from which on (no other may begin with pg_).
OF_POSTGRESQL = dict.fromkeys(
    (
        "pg_checkpoint", "pg_create_subscription", "pg_database_owner", "pg_execute_server_program", "pg_maintain", "pg_monitor",
        "pg_read_all_data", "pg_read_all_settings", "pg_read_all_stats", "pg_read_server_files", "pg_signal_backend",
        "pg_stat_scan_tables", "pg_use_reserved_connections", "pg_write_all_data", "pg_write_server_files",
    ),
    17,
) | {"pg_signal_autovacuum_worker": 18}  # fmt: skip
# What one copy by pg_basebackup takes: for the data, and for what is written meanwhile.
OF_A_COPY = 2
# What pgBackRest needs as it is, where it archives.
OF_ARCHIVING = {"archive_mode", "archive_command", "archive_library"}

# What asks for one setting alone is a rule of its own, so that it is judged whatever is wrong with others.
RULES: tuple[Callable[[Cluster], Iterator[str]], ...] = (
    _timing_problems,
    _member_problems,
    _fast_problems,
    _address_problems,
    _port_problems,
    _parameter_problems,
    _role_problems,
    _slot_problems,
    _sender_problems,
    package_files.contradictions,
    _client_problems,
    _filter_problems,
    _backup_problems,
    pooling.contradictions,
    entry.contradictions,
)
