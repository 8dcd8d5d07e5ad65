"""Pooled connections: PgBouncer's processes on the proxy hosts, and how many of PostgreSQL's connections each may take. Pure.

A client of a pooled port shares PostgreSQL's connections with others, one for each transaction. There is a pool for each role and
database in each process, and each process has its limit for a database: so all together never take more than PostgreSQL has.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from . import paths
from .settings import Role
from .topology import Cluster

Route = Literal["write", "read"]
ROUTES: tuple[Route, ...] = get_args(Route)
# Of each process: what the tool's own test takes (its database), and what asks for the verifiers of roles made by hand.
PROBE_CONNECTIONS, AUTH_CONNECTIONS = 8, 2
# The database of PgBouncer's, not of PostgreSQL's, by which it asks for those.
AUTH_DATABASE = "pgquorum_verifiers"
# What PgBouncer's console is called, and who comes into it.
CONSOLE = "pgbouncer"
# The share of what applications have that pools take together, where the settings do not say.
SHARE = 0.5


@dataclass(frozen=True)
class Process:
    """One process of PgBouncer, on every proxy host. `number` is from 1, apart for each route."""

    route: Route
    number: int

    @property
    def name(self) -> str:
        """What systemd's template unit calls its instance."""
        return f"{self.route}-{self.number}"

    @property
    def unit(self) -> str:
        return f"pgquorum-pool@{self.name}.service"

    @property
    def directory(self) -> str:
        """Where its socket is."""
        return f"{paths.POOL_RUNTIME}/{self.name}"


def processes(cluster: Cluster) -> tuple[Process, ...]:
    """Those of each proxy host; none where the settings do without."""
    if not cluster.haproxy.pooling:
        return ()
    return tuple(Process(route, n) for n in range(1, cluster.haproxy.pooling_processes + 1) for route in ROUTES)


def port(cluster: Cluster, route: Route) -> int:
    """Where clients find the pools of a route."""
    return cluster.haproxy.pooling_write_port if route == "write" else cluster.haproxy.pooling_read_port


def behind(cluster: Cluster, route: Route) -> int:
    """HAProxy's port that these go on to."""
    return cluster.haproxy.write_port if route == "write" else cluster.haproxy.read_port


def pool_size(cluster: Cluster) -> int:
    """How many connections one process may have to one database of the settings, whoever's they are. Where the settings do not
    say: so many that all together take SHARE of what applications have. Less than one where that is not enough, but for the time
    until PostgreSQL has been restarted with what is."""
    given = cluster.haproxy.pooling_pool_size
    size = _largest(cluster, int(cluster.for_applications * SHARE)) if given is None else given
    return size if cluster.running is None else max(1, min(size, _largest(cluster, cluster.for_applications)))


def clients(cluster: Cluster) -> int:
    """How many clients one port of a proxy host is to have."""
    return cluster.haproxy.pooling_processes * cluster.haproxy.pooling_max_clients


def places(cluster: Cluster) -> int:
    """How many connections one process takes, of clients and of who has not logged in: as many again as it is to have clients, so
    that strangers who say nothing take nobody's place."""
    return 2 * cluster.haproxy.pooling_max_clients


def taken(cluster: Cluster) -> int:
    """How many connections the pools may have to one PostgreSQL: to the primary, when no replica is fit to be read."""
    return _count(cluster) * (pool_size(cluster) * len(cluster.postgres.databases) + PROBE_CONNECTIONS + AUTH_CONNECTIONS)


def most_of_role(cluster: Cluster, role: Role) -> int | None:
    """How many of one process's connections may be a role's, so that its connection_limit is never met; None: as many as there
    are. Less than one where its limit is too low for that."""
    limit = cluster.share_of_sessions if role.connection_limit is None else role.connection_limit
    share = limit // _count(cluster)
    if cluster.running and limit > 0:
        share = max(1, share)  # in the settings it is enough for that
    return None if limit < 0 or share >= pool_size(cluster) * len(cluster.postgres.databases) else share


def contradictions(cluster: Cluster) -> Iterator[str]:
    """What the settings of pools may not be beside the others."""
    if not cluster.haproxy.pooling:
        return
    databases, roles = ([one.name for one in found] for found in (cluster.postgres.databases, cluster.postgres.roles))
    for what, names in (("postgres_databases", databases), ("postgres_roles", roles)):
        yield from (f"{what}: {name!r} is what PgBouncer calls its console: pooling = True" for name in names if name == CONSOLE)
    if AUTH_DATABASE in databases:
        yield f"postgres_databases: {AUTH_DATABASE!r} is a name that this tool keeps for itself"
    size, most = cluster.haproxy.pooling_pool_size, _largest(cluster, cluster.for_applications)
    if most < 1 or pool_size(cluster) < 1:
        least = _count(cluster) * (len(cluster.postgres.databases) + PROBE_CONNECTIONS + AUTH_CONNECTIONS)
        room = cluster.for_applications if size else int(cluster.for_applications * SHARE)
        yield (
            f"pooling = True: {_in_words(cluster)} need at least {least} connections, and may have {room} (max_connections ="
            f" {cluster.sessions}): raise max_connections in postgres_parameters, or have fewer pooling_processes"
        )
        return
    if size is not None and size > most:
        yield (
            f"pooling_pool_size = {size}: {_in_words(cluster)} would take {taken(cluster)} connections, and PostgreSQL has"
            f" {cluster.for_applications} for applications (max_connections = {cluster.sessions}): should be at most {most}"
        )
        return
    through = taken(cluster) // (len(ROUTES) * len(cluster.haproxy_hosts))
    if through > cluster.haproxy.max_connections:
        yield (
            f"haproxy_max_connections = {cluster.haproxy.max_connections}: the pools of one port may take {through} of them"
            " (pooling = True): should be at least as many, or pooling_pool_size lower"
        )
    for role in cluster.postgres.roles:
        if most_of_role(cluster, role) == 0:
            yield (
                f"postgres_roles: {role.name!r} has connection_limit = {role.connection_limit}: should be at least"
                f" {_count(cluster)}, one for each of {_in_words(cluster)}, or -1 (pooling = True)"
            )


def _count(cluster: Cluster) -> int:
    """How many processes there are on all proxy hosts."""
    return len(ROUTES) * cluster.haproxy.pooling_processes * len(cluster.haproxy_hosts)


def _largest(cluster: Cluster, room: int) -> int:
    """The largest pools that fit into `room` connections."""
    each = room // max(1, _count(cluster)) - PROBE_CONNECTIONS - AUTH_CONNECTIONS
    return each // max(1, len(cluster.postgres.databases))


def _in_words(cluster: Cluster) -> str:
    count, databases = _count(cluster), len(cluster.postgres.databases)
    with_them = "1 database" if databases == 1 else f"{databases} databases"
    return f"{count} processes of PgBouncer (2 ports, pooling_processes, hosts) with {with_them}"
