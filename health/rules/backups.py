"""Rules about backups, where the inventory has a host for them."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.components import BACKUP_TYPES
from cluster.topology import Cluster

from ..finding import Finding, finding, ok
from ..states import BackupRun, BackupState
from ..view import ClusterView, HostView

UNIT = "pgbackrest.service"


def backups(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """There is a backup that is not too old, the last that was tried has come to its end, and more will follow."""
    for host in (view.hosts[one.name] for one in cluster.pgbackrest_hosts):
        if host.reachable and not host.blank and not host.runs("pgbackrest"):
            yield finding("backups.not-serving", host.name, f"{UNIT} is {host.units.get(UNIT, 'unknown')}")
    for host in (view.hosts[one.name] for one in cluster.backup_hosts):
        if host.backups:
            wrong = [
                *_backups(host, host.backups, cluster.backup.max_age_hours),
                *_drills(host, host.backups, cluster.backup.max_proven_days),
            ]
            yield from wrong or [ok("backups", host.name, _told(host.backups))]
        elif "pgbackrest" in host.problems:
            text = f"what backups there are could not be seen: {host.problems['pgbackrest']}"
            yield finding("backups.silent", host.name, text)


def _told(state: BackupState) -> str:
    if not state.backups:
        return "the first backup is being made"
    newest = state.backups[-1]
    proven = [one for one in state.drills if one.passed]
    drilled = f"; {proven[-1].backup} was proven {proven[-1].age / 3600:.1f} hours ago" if proven else ""
    return f"{len(state.backups)} there, the newest ({newest.kind}) {newest.age / 3600:.1f} hours old{drilled}"


def _backups(host: HostView, state: BackupState, hours: int) -> Iterator[Finding]:
    running = any(run.running for run in state.runs)
    if not state.backups and not running:
        yield finding("backups.none", host.name, "there is no backup: `invoke backup`")
    elif state.backups and (newest := state.backups[-1]).age > hours * 3600:
        text = f"the newest backup is {newest.age / 3600:.0f} hours old; backup_max_age_hours is {hours}"
        yield finding("backups.too-old", host.name, f"{text}: `invoke backup`")
    if state.backups and state.backups[-1].damaged:
        text = f"the backup {state.backups[-1].label} has pages with wrong checksums: look at it with `pgbackrest info --set`"
        yield finding("backups.damaged", host.name, text)
    for run in state.runs:
        if run.failed and not _made_up_for(run, state):
            text = f"the last backup of type {run.kind} has failed: `invoke logs --component pgbackrest`, then `invoke backup`"
            yield finding("backups.failed", host.name, text)
    for timer, word in state.timers.items():
        if word != "active":
            yield finding("backups.not-scheduled", host.name, f"{timer} is {word}: a deploy starts it")


def _drills(host: HostView, state: BackupState, days: int | None) -> Iterator[Finding]:
    """The last drill has proven its backup, and that is not too long ago. A repository that is younger has time to be proven."""
    last = state.drills[-1] if state.drills else None
    if last and not last.passed:
        text = f"the last drill has not proven {last.backup or 'a backup'} (on {last.host}): {last.failures[0]}"
        yield finding("backups.drill-failed", host.name, f"{text}: docs/runbook.md, A drill fails")
    elif _cut_short(state):
        text = "the last drill came to no end: `invoke logs --component pgbackrest`, then `invoke backup.drill`"
        yield finding("backups.drill-failed", host.name, text)
    if days is None or not state.backups:
        return
    proven = [one.age for one in state.drills if one.passed]
    since = min(proven) if proven else state.backups[0].age
    if since > days * 86_400:
        text = f"for {since / 86_400:.0f} days no drill has proven a backup; backup_max_proven_days is {days}"
        yield finding("backups.not-proven", host.name, f"{text}: `invoke backup.drill`")


def _cut_short(state: BackupState) -> bool:
    """Whether a drill on that host has failed and left no result, and none has passed since: whoever is killed leaves none."""
    run = state.drilling
    if run is None or not run.failed or run.ended is None:
        return False
    return not any(one.passed and one.ended > run.ended for one in state.drills)


def _made_up_for(run: BackupRun, state: BackupState) -> bool:
    """Whether a backup that is at least as full has ended since."""
    as_full = BACKUP_TYPES[: BACKUP_TYPES.index(run.kind) + 1]
    return any(one.kind in as_full and one.ended >= (run.ended or 0) for one in state.backups)


def restores(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """No restore is half done."""
    notes = [etcd for host in view.hosts.values() if (etcd := host.etcd)]
    best = max(notes, key=lambda etcd: (etcd.quorum, etcd.revision), default=None)
    if best and best.restore:
        to, began, host = (best.restore.get(name) for name in ("to", "began", "host"))
        text = f"a restore to {to} on {host}, begun at {began}, is under way or was interrupted"
        yield finding(
            "restore.unfinished", "restore", f"{text}: `invoke restore --to {to!r}` goes on with it, --cancel calls it off"
        )
