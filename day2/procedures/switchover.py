"""Who should take over in a planned switchover, and what stands in its way. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.errors import ClusterError
from cluster.topology import Cluster
from health.finding import Finding
from health.rules import blocking
from health.rules.slots import lost_with
from health.rules.takeover import candidates
from health.view import ClusterView

from .hold import Hold
from .steps import AwaitSpared, Checkpoint, HandOver, Plan

# A transaction that has been open for longer than this is not one that ends by itself in the next moment.
LONG_SECONDS = 60


def target(view: ClusterView, cluster: Cluster, wanted: str | None) -> str:
    """The host called `wanted`, or else the best one: able, with all logical slots, the least behind, not leading etcd. Raises
    ClusterError."""
    if view.leader is None:
        raise ClusterError("nobody leads, so there is nothing to switch over")
    if wanted:
        if cluster.host(wanted, "--to") not in cluster.postgres_hosts:
            raise ClusterError(f"--to {wanted}: should be a PostgreSQL host")
        if wanted == view.leader:
            raise ClusterError(f"--to {wanted}: leads already")
        return wanted
    able = [one.name for one in candidates(view, cluster) if one.able]
    if not able:
        return next(iter(c.name for c in candidates(view, cluster)), view.leader)

    def rank(name: str) -> tuple[int, int, bool, str]:
        sender = view.sender(name)
        return len([*lost_with(view, name)]), sender.replayed_lag if sender else 0, name == view.etcd_leader, name

    return min(able, key=rank)


def steps(cluster: Cluster, leader: str, to: str, hold: Hold | None) -> Plan:
    """The plan of a switchover: with a `hold` not before all replicas have what the primary has, and so that nobody notices;
    without one, at once."""
    if hold is None:
        return (HandOver(leader, to),)
    # Reads go to the others meanwhile, where there are any.
    drained = len(cluster.postgres_hosts) > 2
    return (AwaitSpared(leader), Checkpoint(leader), HandOver(leader, to, hold, drained))


def objections(view: ClusterView, cluster: Cluster, found: tuple[Finding, ...], to: str) -> Iterator[str]:
    """Everything that speaks against a switchover to `to` now, one sentence each."""
    if len(cluster.postgres_hosts) < 2:
        yield "there is only one PostgreSQL host"
    yield from map(str, blocking(found, cluster))
    yield from (f"{to} {reason}" for c in candidates(view, cluster) if c.name == to for reason in c.reasons)
    if view.primary and view.primary.oldest_transaction > LONG_SECONDS:
        yield f"a transaction has been open for {view.primary.oldest_transaction:.0f} s on {view.leader}: it would be lost"
    yield from lost_with(view, to)
    if view.primary and view.primary.base_backups:
        yield f"{view.primary.base_backups} base backups are being taken from {view.leader}: they would fail"
