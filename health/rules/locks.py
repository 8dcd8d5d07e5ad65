"""Rules about PostgreSQL's table of locks, which all of its sessions share."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.topology import Cluster

from ..finding import Finding, finding
from ..states import LockTable
from ..view import ClusterView

NEARLY_FULL = 0.8
# It is looked at every five seconds (agents/lock_table.py).
STALE_SECONDS = 15.0
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
    """Who has the most of them, to be put after a sentence; and how that one is ended, where it is surely the one."""
    if table is None or not table.holders:
        return ""
    if table.age > STALE_SECONDS:
        return f"; who held them was last seen {table.age:.0f} s ago, and may be others now"
    most = table.holders[0]
    had = f"; {most.locks} of {table.used} were held {table.age:.0f} s ago by"
    if most.pid is None:
        return f"{had} a prepared transaction (pg_prepared_xacts)"
    since = "" if most.since is None else f", which has been at it for {most.since:.0f} s"
    end = f": `kill -TERM {most.pid}` there ends it" if 2 * most.locks > table.used else ""
    return f"{had} process {most.pid} ({most.session}){since}{end}"
