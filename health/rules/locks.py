"""Rules about PostgreSQL's table of locks, which all of its sessions share."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.topology import Cluster

from ..finding import Finding, finding
from ..states import LockTable
from ..view import ClusterView

NEARLY_FULL = 0.8
# With what PostgreSQL refuses whoever comes then (dynahash finds no room for one more lock).
OUT_OF_LOCKS = "out of shared memory"


def locks(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """There are locks for who needs one. PostgreSQL limits nobody: one session can take them all."""
    for host in (view.hosts[h.name] for h in cluster.postgres_hosts):
        if OUT_OF_LOCKS in host.problems.get("postgres", ""):
            text = f"the table of locks is full, and PostgreSQL lets nobody in{_by(host.locks)}"
            yield finding("locks.full", host.name, f"{text} (docs/runbook.md, The table of locks is full)")
        elif host.postgres and host.locks and host.locks.used >= NEARLY_FULL * host.locks.capacity:
            text = f"{host.locks.used} locks are held, and PostgreSQL promises {host.locks.capacity}{_by(host.locks)}"
            yield finding("locks.nearly-full", host.name, f"{text} (max_locks_per_transaction)")


def _by(table: LockTable | None) -> str:
    """Who has the most of them, to be put after a sentence."""
    if table is None or not table.holders:
        return ""
    most = table.holders[0]
    return (
        f"; {most.locks} were held {table.age:.0f} s ago by process {most.pid} ({most.session}), which has been at it for"
        f" {most.since:.0f} s: `kill -TERM {most.pid}` there ends it"
    )
