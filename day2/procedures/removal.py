"""Taking a host out of the cluster for good: what stands in the way, and the steps. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from cluster import pooling
from cluster.components import APART_TIMER, BACKUP_TIMERS, DRILL_TIMER, FIREWALL_UNIT, GUARD_UNIT, ONE_PRIMARY_UNIT
from cluster.topology import Cluster
from health.rules import candidates
from health.rules.entry import holders_of
from health.view import ClusterView

from .steps import AwaitSpared, ForgetHost, MoveAddress, MoveEtcdLeader, Plan, RemoveEtcdMember, Step, StopUnits


def objections(view: ClusterView, cluster: Cluster, host: str) -> Iterator[str]:
    """Why `host` can't be taken out now, one sentence each: what is left must be a cluster that works and keeps its promise."""
    if view.dcs is None:
        yield "no etcd member answers (`invoke status`)"
    elif view.leader is None:
        yield "nobody leads (`invoke status`)"
    elif view.dcs.paused:
        yield "the cluster is paused: `invoke resume` first"
    one = cluster.host(host)
    if one in cluster.postgres_hosts:
        yield from _postgres(view, cluster, host)
    if one in cluster.etcd_hosts:
        yield from _etcd(view, cluster, host)
    if one in cluster.haproxy_hosts and len(cluster.haproxy_hosts) == 1:
        yield f"{host} is the only host in group 'haproxy': deploy another one first"


def _postgres(view: ClusterView, cluster: Cluster, host: str) -> Iterator[str]:
    if host == view.leader or host in view.writable:
        yield f"{host} is the primary: `invoke switchover` first"
        return
    left = [other.name for other in cluster.postgres_hosts if other.name != host]
    if cluster.all.durability == "asynchronous":
        return
    if len(left) < 2:
        yield f"durability = {cluster.all.durability!r} needs two hosts in group 'postgres': deploy another one first"
    elif not any(one.able for one in candidates(view, cluster) if one.name in left):
        yield f"without {host} nobody could take over from {view.leader} (`invoke verify`)"


def _etcd(view: ClusterView, cluster: Cluster, host: str) -> Iterator[str]:
    others = [other.name for other in cluster.etcd_hosts if other.name != host]
    healthy = [name for name in others if (etcd := view.hosts[name].etcd) and etcd.quorum]
    needed = len(others) // 2 + 1
    if not others:
        yield f"{host} is the only host in group 'etcd': deploy others first"
    elif len(healthy) < needed:
        yield f"without {host}, etcd would have {len(healthy)} healthy members and needs {needed}"


def steps(view: ClusterView, cluster: Cluster, host: str) -> Plan:
    """The plan: PostgreSQL goes before etcd, without which it could not say goodbye. What is not there is not stopped."""
    return tuple(_steps(view, cluster, host))


def _steps(view: ClusterView, cluster: Cluster, host: str) -> Iterator[Step]:
    seen, one = view.hosts[host], cluster.host(host)
    if seen.reachable and one in cluster.postgres_hosts and seen.runs("patroni"):
        yield AwaitSpared(host)
    if host in holders_of(view, cluster):
        yield MoveAddress(host, str(cluster.haproxy.proxy_address))
    if one in cluster.etcd_hosts and view.etcd_leader == host:
        healthy = (h.name for h in cluster.etcd_hosts if h.name != host and (etcd := view.hosts[h.name].etcd) and etcd.quorum)
        yield MoveEtcdLeader(min(healthy, key=lambda name: (name == view.leader, name)))
    components = [component for component in cluster.components(one) if component.name != "etcd"]
    names = [unit for component in components for unit in (*component.beside, *component.units)]
    if one in cluster.pooler_hosts:
        names = [*(process.unit for process in pooling.processes(cluster)), *names]
    names = list(dict.fromkeys((*names, GUARD_UNIT, ONE_PRIMARY_UNIT)))
    units = tuple(unit for unit in names if seen.units.get(unit, "not-found") != "not-found")
    if "patroni.service" in units and one in cluster.etcd_hosts:
        units = (APART_TIMER, *units)
    if units and one in cluster.backup_hosts:
        drills = (DRILL_TIMER,) if cluster.backup.drill_schedule else ()
        units = (*BACKUP_TIMERS.values(), *drills, *units)
    if units:
        reads = one in cluster.postgres_hosts and seen.reachable and seen.runs("patroni") and len(cluster.postgres_hosts) > 1
        yield StopUnits(host, units, drained=reads)
    if one in cluster.etcd_hosts:
        yield RemoveEtcdMember(host)
        if seen.units.get("etcd.service", "not-found") != "not-found":
            yield StopUnits(host, ("etcd.service",))
    if seen.reachable and cluster.all.firewall:
        yield StopUnits(host, (FIREWALL_UNIT,))
    yield ForgetHost(host, reachable=seen.reachable)
