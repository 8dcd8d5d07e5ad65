"""Keeping clients waiting while the primary changes: what is held, for how long at most, and who stands in the way. Pure.

A hold is made by agents/sent/hold.py on each proxy host. docs/decisions has why it is as it is.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from cluster import paths, pooling
from cluster.errors import ClusterError
from cluster.printable import printable
from cluster.topology import Cluster, Host

# Seconds: how long transactions in the pools have to end, what may be asked for, and what is left for the rest.
PATIENCE, LEAST_PATIENCE, MOST_PATIENCE = 5, 1, 15
HANDOVER_SECONDS = 15
FRONTEND, BACKEND = "writes", "write"
# How many sessions that stand in the way are named.
NAMED = 5


@dataclass(frozen=True)
class Hold:
    """What waits while the primary's role changes hands: on the proxy `hosts`, new connections to port `port` and PgBouncer's
    processes `pools`, where there are any. Those are paused within `patience` seconds or not at all, and after `bound` seconds
    all flows again by itself."""

    hosts: tuple[str, ...]
    port: int
    pools: tuple[str, ...]
    patience: int
    bound: int

    def __str__(self) -> str:
        paused = f"{', '.join(self.pools)} paused within {self.patience} s, and " if self.pools else ""
        return f"with {paused}new connections to port {self.port} held on {', '.join(self.hosts)}, for {self.bound} s at most"


@dataclass(frozen=True)
class Session:
    """A session of PostgreSQL's in a transaction: `client` is whose it is, `since` when the transaction began (UTC) and `seconds`
    how long ago that was, as PostgreSQL tells."""

    pid: int
    role: str
    database: str
    client: str
    state: str
    since: str
    seconds: float

    def __str__(self) -> str:
        who = f"pid {self.pid} of role {self.role} in database {self.database} from {self.client}"
        return printable(f"{who} ({self.state}), in a transaction since {self.since} UTC ({self.seconds:.0f} s)")


class HoldGivenUpError(ClusterError):
    """Clients could not be held in time. All flows again, and nothing else was done."""


def hold_for(cluster: Cluster, patience: int = PATIENCE) -> Hold:
    """What is held in a handover, on every proxy host."""
    return Hold(
        hosts=tuple(host.name for host in cluster.haproxy_hosts),
        port=cluster.haproxy.write_port,
        pools=tuple(one.name for one in pooling.processes(cluster) if one.route == "write"),
        patience=patience,
        bound=patience + HANDOVER_SECONDS,
    )


def patience_of(seconds: int) -> int:
    """What was asked for, where that can be. Raises ClusterError."""
    if not LEAST_PATIENCE <= seconds <= MOST_PATIENCE:
        raise ClusterError(f"--patience {seconds}: should be from {LEAST_PATIENCE} to {MOST_PATIENCE} (seconds)")
    return seconds


def pools_of(cluster: Cluster, *routes: pooling.Route) -> dict[str, dict[str, Any]]:
    """PgBouncer's processes of these routes, by name, as programs on proxy hosts are told of them."""
    return {
        one.name: {"socket": one.directory, "port": pooling.port(cluster, one.route), "unit": one.unit}
        for one in pooling.processes(cluster) if one.route in routes
    }  # fmt: skip


def program(cluster: Cluster, host: Host, owner: str, hold: Hold | None = None) -> dict[str, Any]:
    """The argument of agents/sent/hold.py on a proxy host. Without a hold it is for letting go, of all processes there."""
    routes: tuple[pooling.Route, ...] = ("write",) if hold else pooling.ROUTES
    pools = pools_of(cluster, *routes) if host in cluster.pooler_hosts else {}
    return {
        "haproxy": paths.HAPROXY_SOCKET,
        "frontend": FRONTEND,
        "backend": BACKEND,
        "limit": cluster.haproxy.max_connections,
        "through": [host.address, cluster.haproxy.write_port] if pools else None,
        "pools": pools,
        "user": paths.POOL_USER,
        "patience": hold.patience if hold else 0,
        "bound": hold.bound if hold else 0,
        "timer": paths.HOLD_TIMER,
        "note": paths.HOLD_NOTE,
        "owner": owner,
    }


def too_long(sessions: Iterable[Session], patience: float) -> tuple[Session, ...]:
    """Those of the sessions whose transactions are not of the kind that ends within `patience` seconds, the oldest first."""
    return tuple(sorted((one for one in sessions if one.seconds > patience), key=lambda one: -one.seconds))


def given_up(sessions: Iterable[Session], patience: float) -> HoldGivenUpError:
    """The refusal that names who stood in the way."""
    found = sorted(sessions, key=lambda one: -one.seconds)
    lines = [f"  - {one}" for one in found[:NAMED]]
    more = [f"  - and {len(found) - NAMED} more"] if len(found) > NAMED else []
    nobody = [] if found else ["  - whoever it was has ended by now: try again"]
    said = f"the pools could not be paused within {patience:g} s, and go on; nothing was changed. In a transaction:"
    return HoldGivenUpError("\n".join([said, *lines, *more, *nobody]))


def sessions_of(busy: Iterable[dict[str, Any]], told: Iterable[dict[str, Any]]) -> tuple[Session, ...]:
    """What the pools say of who is at work (agents/sent/hold.py), with what PostgreSQL tells of each (QUERY)."""
    clients = {int(one["pid"]): str(one["client"]) or "?" for one in busy}
    return tuple(
        Session(
            pid=int(one["pid"]), role=str(one["role"]), database=str(one["database"]), client=clients[int(one["pid"])],
            state=str(one["state"]), since=str(one["since"]), seconds=float(one["seconds"]),
        )
        for one in told if int(one["pid"]) in clients
    )  # fmt: skip


def query(pids: Iterable[int]) -> str:
    """What the primary is asked for about sessions with these process ids: one line of JSON."""
    numbers = ", ".join(str(int(pid)) for pid in pids) or "null"
    return (
        "select coalesce(json_agg(json_build_object('pid', pid, 'role', usename, 'database', datname, 'state', state,"  # noqa: S608
        " 'since', to_char(xact_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS'),"
        " 'seconds', extract(epoch from clock_timestamp() - xact_start)::float)), '[]') from pg_stat_activity"
        f" where xact_start is not null and pid in ({numbers})"
    )  # fmt: skip
