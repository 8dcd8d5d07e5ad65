"""What is right and wrong with a cluster, judged from one ClusterView. Pure: `status` and `verify` only show it.

The invariant everything hangs on: the holder of the leader key = the only PostgreSQL not in recovery = the only server
to which HAProxy sends writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from cluster.components import GROUPS
from cluster.topology import Cluster

from ..finding import Finding, finding, healthy
from ..view import ClusterView
from . import (
    archive,
    backups,
    entry,
    holders,
    locks,
    machines,
    packages,
    pooling,
    roles,
    service,
    settings,
    slots,
    transactions,
    weaker_commits,
)
from .takeover import Candidate, blockers, candidates, obstacles, takeover

__all__ = ["Candidate", "Finding", "blockers", "blocking", "candidates", "findings", "healthy", "obstacles"]

Rule = Callable[[ClusterView, Cluster], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    machines.hosts,
    machines.unfinished,
    machines.missed,
    machines.unseen,
    machines.clocks,
    machines.services,
    packages.held,
    packages.running,
    packages.libraries,
    packages.one_pgbackrest,
    machines.guards,
    machines.watchdog,
    machines.firewall,
    machines.disks,
    machines.failed_starts,
    machines.etcd,
    service.one_primary,
    service.routing,
    service.replicas,
    service.patroni,
    service.strangers,
    service.connections,
    pooling.pools,
    roles.own_roles,
    roles.there,
    entry.entry,
    locks.locks,
    transactions.transactions,
    service.pending_restart,
    backups.backups,
    archive.archive,
    archive.kept,
    archive.holes,
    backups.restores,
    settings.as_deployed,
    settings.drift,
    settings.by_hand,
    settings.without_replica,
    weaker_commits.weaker_commits,
    settings.files,
    service.durability,
    holders.holders,
    slots.physical,
    slots.logical,
    service.leaders_apart,
    machines.certificates,
    takeover,
)


# Problems on which neither a write of today nor a failover depends, nor a restart's success.
ASIDE = ("backups.", "archive.", "transactions.")


def findings(view: ClusterView, cluster: Cluster) -> tuple[Finding, ...]:
    """Every rule's verdicts, the good ones too. Where nothing is deployed or no host answers, only that."""
    answering = [host for host in view.hosts.values() if host.reachable]
    if all(host.blank for host in answering):
        unreachable = machines.unreachable(view)
        blank = finding("deploy.missing", "deploy", f"nothing is deployed yet: run `pyinfra {cluster.inventory} deploy.py`")
        begun = [*machines.unfinished(view, cluster)]
        return (*unreachable, *(begun or ([blank] if answering else [])))
    return tuple(found for rule in RULES for found in rule(view, cluster))


def blocking(found: Iterable[Finding], cluster: Cluster) -> tuple[Finding, ...]:
    """The problems for which a planned change is refused, and for whose end each of its steps waits: all but those of backups,
    and those that only vacuuming ends."""
    serving = {host.name for group in GROUPS if group != "backup" for host in cluster.members(group)}
    aside = {host.name for host in cluster.backup_hosts} - serving
    return tuple(f for f in found if f.level == "problem" and f.about not in aside and not f.rule.startswith(ASIDE))
