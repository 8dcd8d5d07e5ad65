"""The plan of an upgrade of packages, and of the way back. Pure.

What two components of a host need is installed with the first of them. docs/decisions has why the order is as it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from cluster import pooling
from cluster.components import Name
from cluster.topology import Cluster
from health.upgrades import Change, used
from health.view import ClusterView

from .hold import Hold
from .rolling import ETCD, holder_last, without_address
from .steps import (
    FetchPackages,
    InstallPackages,
    MoveEtcdLeader,
    Plan,
    ReloadUnit,
    RestartPatroni,
    RestartPostgres,
    RestartTogether,
    RestartUnit,
    Step,
    SwitchOver,
)
from .switchover import target

BACKUPS, PATRONI = "pgbackrest.service", "patroni.service"
HAPROXY, KEEPALIVED = "haproxy.service", "keepalived.service"
MEMBER: tuple[Name, ...] = ("postgres", "patroni")


@dataclass(frozen=True)
class Work:
    """What is to be done: `changes` of packages, and installations that have come to no end (`unfinished`); by host the
    components that run since before their packages were installed (`due`). `run`: which upgrade this is, None for the way back,
    on which hosts that are `unwell` are mended first. `insist`: go on without a way back where there is none."""

    changes: tuple[Change, ...]
    due: Mapping[str, frozenset[str]]
    run: str | None = None
    unwell: frozenset[str] = frozenset()
    insist: bool = False
    unfinished: tuple[Change, ...] = ()

    def of(self, host: str, *components: Name) -> tuple[Change, ...]:
        """What is to be installed of a host's components."""
        changed = {(change.host, change.package) for change in self.changes}
        ended = (change for change in self.unfinished if (change.host, change.package) not in changed)
        found = (change for change in (*self.changes, *ended) if change.host == host and change.component in components)
        return tuple(found)

    def affected(self, hosts: Collection[str], *components: Name) -> tuple[str, ...]:
        """Those of the hosts where components are changed or wait for a restart; who is not well first."""
        found = [host for host in hosts if self.of(host, *components) or self.due.get(host, frozenset()) & set(components)]
        return tuple(sorted(found, key=lambda host: host not in self.unwell))

    def restarts(self, cluster: Cluster, host: str, *components: Name) -> bool:
        """Whether what runs of these components on a host has to be started anew."""
        in_use = any(change.package in used(cluster, change.component) for change in self.of(host, *components))
        return in_use or bool(self.due.get(host, frozenset()) & set(components)) or host in self.unwell

    def install(self, *hosts: str, of: tuple[Name, ...]) -> Iterator[Step]:
        """The step that installs what is changed of these components on the hosts, if anything is."""
        if changes := tuple(change for host in hosts for change in self.of(host, *of)):
            yield InstallPackages(changes)


def steps(view: ClusterView, cluster: Cluster, work: Work, hold: Hold | None) -> Plan:
    """The steps in order, none when nothing is to be done. `hold`: what waits in a switchover."""
    return tuple(_steps(view, cluster, work, hold))


def _steps(view: ClusterView, cluster: Cluster, work: Work, hold: Hold | None) -> Iterator[Step]:
    if work.run and work.changes:
        yield FetchPackages(work.changes, work.run, work.insist)
    yield from _backups(cluster, work)
    yield from _etcd(view, cluster, work)
    yield from _members(view, cluster, work, hold)
    for host in holder_last(view, cluster, cluster.haproxy_hosts):
        yield from _proxy(view, cluster, work, host)


def _backups(cluster: Cluster, work: Work) -> Iterator[Step]:
    """All hosts at once: pgBackRest of one version does not talk to another. And PostgreSQL's programs where no server runs."""
    hosts = work.affected([host.name for host in cluster.pgbackrest_hosts], "pgbackrest")
    yield from work.install(*hosts, of=("pgbackrest",))
    if restarted := tuple(host for host in hosts if work.restarts(cluster, host, "pgbackrest")):
        yield RestartTogether(restarted, BACKUPS)
    aside = [host.name for host in cluster.hosts if host not in cluster.postgres_hosts]
    yield from work.install(*work.affected(aside, "postgres"), of=("postgres",))


def _etcd(view: ClusterView, cluster: Cluster, work: Work) -> Iterator[Step]:
    """One at a time, the leader last, after its leadership has gone to another, off the primary's host where that can be."""
    hosts = work.affected([host.name for host in cluster.etcd_hosts], "etcd")
    for host in sorted(hosts, key=lambda name: name == view.etcd_leader):
        restarted = work.restarts(cluster, host, "etcd")
        followers = [one.name for one in cluster.etcd_hosts if one.name != host and one.name not in work.unwell]
        if host == view.etcd_leader and followers and restarted:
            yield MoveEtcdLeader(min(followers, key=lambda name: (name == view.leader, name)))
        yield from work.install(host, of=("etcd",))
        if restarted:
            yield RestartUnit(host, ETCD)


def _members(view: ClusterView, cluster: Cluster, work: Work, hold: Hold | None) -> Iterator[Step]:
    """Replicas one at a time, then a switchover to one of them, then the old primary."""
    hosts = work.affected([host.name for host in cluster.postgres_hosts], *MEMBER)
    if hosts and view.leader is None:  # nobody could take over, and nothing is left to be spared
        yield from work.install(*hosts, of=MEMBER)
        yield RestartTogether(hosts, PATRONI)
        return
    several = len(cluster.postgres_hosts) > 1
    for host in sorted(hosts, key=lambda name: name == view.leader):
        if host == view.leader and several and work.restarts(cluster, host, *MEMBER):
            yield SwitchOver(host, target(view, cluster, None), hold)
        yield from work.install(host, of=MEMBER)
        if host in work.unwell:
            yield RestartUnit(host, PATRONI)
        elif work.restarts(cluster, host, "patroni"):  # PostgreSQL goes with it
            yield RestartPatroni(host, drained=several)
        elif work.restarts(cluster, host, "postgres"):
            yield RestartPostgres(host, drained=several)


def _proxy(view: ClusterView, cluster: Cluster, work: Work, host: str) -> Iterator[Step]:
    """HAProxy by a reload, which begins the new program and cuts nobody within 15 minutes. PgBouncer's processes one after the
    other, once clients that come by the virtual address have been moved to a host that is done; a restart of keepalived moves
    it, too."""
    if work.affected([host], "haproxy"):
        yield from work.install(host, of=("haproxy",))
        if work.restarts(cluster, host, "haproxy"):
            yield ReloadUnit(host, HAPROXY) if view.hosts[host].runs("haproxy") else RestartUnit(host, HAPROXY)
    if work.affected([host], "pgbouncer"):
        yield from work.install(host, of=("pgbouncer",))
        if work.restarts(cluster, host, "pgbouncer"):
            yield from without_address(view, cluster, host)
            yield from (RestartUnit(host, process.unit) for process in pooling.processes(cluster))
    if work.affected([host], "keepalived"):
        yield from work.install(host, of=("keepalived",))
        if work.restarts(cluster, host, "keepalived"):
            yield RestartUnit(host, KEEPALIVED)
