"""The plan of a rolling reboot. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from cluster.topology import Cluster
from health.rules.entry import holders_of
from health.view import ClusterView

from .hold import Hold
from .rolling import without_address
from .steps import MoveEtcdLeader, Plan, RebootHost, Step, SwitchOver
from .switchover import target


def steps(view: ClusterView, cluster: Cluster, hosts: Collection[str], hold: Hold | None) -> Plan:
    """The steps for a healthy cluster, in order: `hosts` one at a time, those on which no client depends first, then replicas,
    the old primary after a switchover, and proxies last."""
    return tuple(_steps(view, cluster, hosts, hold))


def _steps(view: ClusterView, cluster: Cluster, hosts: Collection[str], hold: Hold | None) -> Iterator[Step]:
    proxies = {host.name for host in cluster.haproxy_hosts}
    holders = holders_of(view, cluster)
    members = {host.name for host in cluster.postgres_hosts}
    voters = {host.name for host in cluster.etcd_hosts}
    several = len(members) > 1

    def order(name: str) -> tuple[bool, ...]:
        # A proxy host that is a member, too, comes before the primary, which may go to it: nobody is rebooted who leads.
        alone = name in proxies and name not in members
        return alone, name == view.leader, name in proxies, name in holders, name == view.etcd_leader, name in members | voters

    leader = view.etcd_leader
    for name in sorted(sorted(hosts), key=order):
        if name == view.leader and several:
            yield SwitchOver(name, target(view, cluster, None), hold)
        if name == leader and len(voters) > 1:
            leader = min(voters - {name}, key=lambda other: (other == view.leader, other))
            yield MoveEtcdLeader(leader)
        yield from without_address(view, cluster, name)
        yield RebootHost(name, drained=name in members and several)
