"""The plan of a rolling restart. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cluster import pooling
from cluster.components import NAMES, Name
from cluster.errors import ClusterError, did_you_mean
from cluster.topology import Cluster, Host
from health.rules.entry import holders_of
from health.view import ClusterView

from .hold import Hold
from .steps import MoveAddress, MoveEtcdLeader, Plan, ReloadUnit, RestartPatroni, RestartPostgres, RestartUnit, Step, SwitchOver
from .switchover import target

Component = Name  # each of them can be restarted
COMPONENTS = NAMES
ETCD = "etcd.service"

# PostgreSQL refuses to start a replica with less of these than its primary has had (hot standby), so there the primary
# goes first when one is lowered.
REPLICAS_NEED_AS_MUCH = {
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
}


def component_of(name: str) -> Component:
    """The component of that name. Raises ClusterError."""
    for component in COMPONENTS:
        if component == name:
            return component
    raise ClusterError(f"--component {name}{did_you_mean(name, COMPONENTS)}: should be one of {', '.join(COMPONENTS)}")


def steps(view: ClusterView, cluster: Cluster, component: Component, hold: Hold | None = None, *, pending_only: bool) -> Plan:
    """The steps for a healthy cluster, in order; none when nothing is to be done. `hold`: what waits in a switchover."""
    match component:
        case "etcd":
            return tuple(_etcd(view, cluster))
        case "haproxy":
            return tuple(ReloadUnit(host.name, "haproxy.service") for host in cluster.haproxy_hosts)
        case "pgbouncer":
            return tuple(_pools(view, cluster))
        case "keepalived":
            return tuple(RestartUnit(name, "keepalived.service") for name in holder_last(view, cluster, cluster.entry_hosts))
        case "pgbackrest":
            return tuple(RestartUnit(host.name, "pgbackrest.service") for host in cluster.pgbackrest_hosts)
        case "postgres":
            return tuple(_members(view, cluster, RestartPostgres, hold, pending_only=pending_only))
        case "patroni":
            return tuple(_members(view, cluster, RestartPatroni, hold, pending_only=False))


def _etcd(view: ClusterView, cluster: Cluster) -> Iterator[Step]:
    """The leader last, after its leadership has gone to a member that is done, off the primary's host where that can be."""
    followers = [h.name for h in cluster.etcd_hosts if h.name != view.etcd_leader]
    yield from (RestartUnit(name, ETCD) for name in followers)
    if view.etcd_leader:
        if followers:
            yield MoveEtcdLeader(min(followers, key=lambda name: (name == view.leader, name)))
        yield RestartUnit(view.etcd_leader, ETCD)


def _pools(view: ClusterView, cluster: Cluster) -> Iterator[Step]:
    """Clients that come by the virtual address are moved once: to a host that is done."""
    for name in holder_last(view, cluster, cluster.pooler_hosts):
        yield from without_address(view, cluster, name)
        yield from (RestartUnit(name, one.unit) for one in pooling.processes(cluster))


def holder_last(view: ClusterView, cluster: Cluster, hosts: Iterable[Host]) -> list[str]:
    """Proxy hosts, whichever has the virtual address last."""
    holders = holders_of(view, cluster)
    return sorted((host.name for host in hosts), key=lambda name: (name in holders, name))


def without_address(view: ClusterView, cluster: Cluster, host: str) -> Iterator[MoveAddress]:
    """The step after which a proxy host has no virtual address that another could have."""
    if len(cluster.entry_hosts) > 1 and host in holders_of(view, cluster):
        yield MoveAddress(host, str(cluster.haproxy.proxy_address))


def _members(
    view: ClusterView,
    cluster: Cluster,
    restart: type[RestartPostgres | RestartPatroni],
    hold: Hold | None,
    *,
    pending_only: bool,
) -> Iterator[Step]:
    """Replicas first, then a switchover to one of them, then the old primary."""
    names = [h.name for h in cluster.postgres_hosts if not pending_only or waits(view, h.name)]
    replicas = [name for name in names if name != view.leader]
    with_leader = view.leader if view.leader in names else None
    if with_leader and (lowered(view, with_leader) or len(cluster.postgres_hosts) == 1):
        yield restart(with_leader, drained=False)
        with_leader = None
    yield from (restart(name) for name in replicas)
    if with_leader:
        yield SwitchOver(with_leader, target(view, cluster, None), hold)
        yield restart(with_leader)


def waits(view: ClusterView, name: str) -> bool:
    """Whether a member has a setting that waits for a restart."""
    patroni = view.hosts[name].patroni
    return patroni is not None and patroni.pending_restart


def lowered(view: ClusterView, leader: str) -> tuple[str, ...]:
    """The settings that wait for the primary's restart with a lower value, and that replicas can't have before it."""
    reasons = view.dcs.members.get(leader, {}).get("pending_restart_reason", {}) if view.dcs else {}
    return tuple(
        name
        for name, values in reasons.items()
        if name in REPLICAS_NEED_AS_MUCH and int(values["new_value"]) < int(values["old_value"])
    )
