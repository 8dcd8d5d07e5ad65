"""Rules about backups, where the inventory has a host for them."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.components import BACKUP_TYPES
from cluster.topology import Cluster

from ..backup_states import BackupRun, BackupState, Drill, Repository
from ..finding import Finding, finding, ok
from ..view import ClusterView, HostView

UNIT = "pgbackrest.service"


def backups(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """There is a backup that is not too old, the last that was tried has come to its end, and more will follow."""
    for host in (view.hosts[one.name] for one in cluster.pgbackrest_hosts):
        if host.reachable and not host.blank and not host.runs("pgbackrest"):
            yield finding("backups.not-serving", host.name, f"{UNIT} is {host.units.get(UNIT, 'unknown')}")
    for host in (view.hosts[one.name] for one in cluster.backup_hosts):
        if state := view.backups_of(host.name):
            wrong = [
                *_silent(host, state),
                *_backups(host, state, cluster.backup.max_age_hours),
                *_drills(host, state, cluster.backup.max_proven_days),
            ]
            yield from _clone(host, state)
            yield from wrong or [ok("backups", host.name, text) for text in _told(state)]
        elif "pgbackrest" in host.problems:
            text = f"what backups there are could not be seen: {host.problems['pgbackrest']}"
            yield finding("backups.silent", host.name, text)


def _told(state: BackupState) -> Iterator[str]:
    """What there is in each repository."""
    for repository in state.repositories:
        there, where = state.of(repository.name), _where(state, repository)
        if not there:
            yield f"the first backup{where} is being made"
            continue
        newest = there[-1]
        proven = [one for one in _drills_of(state, repository) if one.passed]
        drilled = f"; {proven[-1].backup} was proven {proven[-1].age / 3600:.1f} hours ago" if proven else ""
        yield f"{len(there)} there{where}, the newest ({newest.kind}) {newest.age / 3600:.1f} hours old{drilled}"


def _where(state: BackupState, repository: Repository) -> str:
    """Which repository that is, where there are several."""
    return f" in repository {repository.name}" if len(state.repositories) > 1 else ""


def _drills_of(state: BackupState, repository: Repository) -> list[Drill]:
    """The drills of backups in a repository, the oldest first; those that do not say were of the only one there was."""
    only = len(state.repositories) == 1
    return [one for one in state.drills if one.repository == repository.name or (only and not one.repository)]


def _last_drills(state: BackupState) -> list[Drill]:
    """The last drill in each repository, and the last of all, which may not have come so far as to say where."""
    lasts = [drills[-1] for one in state.repositories if (drills := _drills_of(state, one))]
    return list(dict.fromkeys([*lasts, *state.drills[-1:]]))


def _silent(host: HostView, state: BackupState) -> Iterator[Finding]:
    """Each repository can be read."""
    others = [one.name for one in state.repositories if not one.problem]
    for repository in state.repositories:
        if repository.problem:
            goes_on = f"; backups and the archive go on in {', '.join(others)}" if others else ""
            text = f"repository {repository.name} can't be read: {repository.problem}{goes_on}"
            yield finding("backups.no-repository", host.name, text)


def _backups(host: HostView, state: BackupState, hours: int) -> Iterator[Finding]:
    running = any(run.running for run in state.runs)
    for repository in state.repositories:
        there, where = state.of(repository.name), _where(state, repository)
        if repository.problem:  # what is there was told to be unknown
            continue
        if not there and not running:
            yield finding("backups.none", host.name, f"there is no backup{where}: `invoke backup`")
        elif there and there[-1].age > hours * 3600:
            text = f"the newest backup{where} is {there[-1].age / 3600:.0f} hours old; backup_max_age_hours is {hours}"
            yield finding("backups.too-old", host.name, f"{text}: `invoke backup`")
        if there and there[-1].damaged:
            text = f"the backup {there[-1].label}{where} has pages with wrong checksums: look at it with `pgbackrest info --set`"
            yield finding("backups.damaged", host.name, text)
    for run in state.runs:
        if run.failed and (lacking := _not_made_up_for(run, state)):
            where = f" ({', '.join(lacking)})" if len(state.repositories) > 1 else ""
            text = f"the last backup of type {run.kind} has failed, or was cut off{where}"
            yield finding("backups.failed", host.name, f"{text}: `invoke logs --component pgbackrest`, then `invoke backup`")
    for timer, word in state.timers.items():
        if word != "active":
            yield finding("backups.not-scheduled", host.name, f"{timer} is {word}: a deploy starts it")


def _drills(host: HostView, state: BackupState, days: int | None) -> Iterator[Finding]:
    """The last drill in each repository has proven its backup, and that is not too long ago. A repository that is younger has
    time to be proven."""
    failed = [one for one in _last_drills(state) if not one.passed]
    for one in failed:
        which = f" in repository {one.repository}" if one.repository and len(state.repositories) > 1 else ""
        text = f"the last drill{which} has not proven {one.backup or 'a backup'} (on {one.host}): {one.failures[0]}"
        yield finding("backups.drill-failed", host.name, f"{text}: docs/runbook.md, A drill fails")
    if _cut_short(state) and not any(one in failed for one in state.drills[-1:]):
        text = "the last drill came to no end: `invoke logs --component pgbackrest`, then `invoke backup.drill`"
        yield finding("backups.drill-failed", host.name, text)
    for repository in state.repositories if days is not None else ():
        there, where = state.of(repository.name), _where(state, repository)
        proven = [one.age for one in _drills_of(state, repository) if one.passed]
        since = min(proven) if proven else there[0].age if there else 0.0
        if there and days is not None and since > days * 86_400:
            text = f"for {since / 86_400:.0f} days no drill has proven a backup{where}; backup_max_proven_days is {days}"
            yield finding("backups.not-proven", host.name, f"{text}: `invoke backup.drill`")


def _clone(host: HostView, state: BackupState) -> Iterator[Finding]:
    """Nobody has forgotten one."""
    if one := state.clone:
        how = one.problem or ("" if one.state == "active" else f"its server is {one.state}")
        text = f"a clone of the cluster as it was at {one.to} is in {one.path} since {one.age / 3600:.1f} hours"
        yield finding(
            "backups.clone", host.name, f"{text}{f' ({how})' if how else ''}: `invoke backup.clone --remove` deletes it"
        )


def _cut_short(state: BackupState) -> bool:
    """Whether a drill on that host has failed and left no result, and none has passed since: whoever is killed leaves none."""
    run = state.drilling
    if run is None or not run.failed or run.ended is None:
        return False
    # One run may make several, and fails with any of them.
    if run.began is not None and any(not one.passed and run.began <= one.ended <= run.ended + 1 for one in state.drills):
        return False
    return not any(one.passed and one.ended > run.ended for one in state.drills)


def _not_made_up_for(run: BackupRun, state: BackupState) -> list[str]:
    """The repositories in which no backup that is at least as full has ended since. One run makes one in each: where there are
    several, those that it has made count."""
    as_full = BACKUP_TYPES[: BACKUP_TYPES.index(run.kind) + 1]

    def lacking(since: int) -> list[str]:
        ended = {one.repository for one in state.backups if one.kind in as_full and one.ended >= since}
        return [one.name for one in state.repositories if one.name not in ended]

    after = lacking(run.ended or 0)
    # Where it has made one in each, something else has failed, such as the removal of old ones: of that any may tell.
    return (lacking(run.began or 0) or after) if after else []


def restores(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """No restore is half done."""
    best = view.best_etcd
    # etcd that was lost and made anew knows of none; the hosts that are held for one do.
    on_hosts = [host.restoring for host in view.hosts.values() if host.restoring]
    if noted := (best.restore if best else {}) or max(on_hosts, key=lambda one: one.get("done", -1), default={}):
        to, began, host = (noted.get(name) for name in ("to", "began", "host"))
        if to is None:  # it was cut off before more was noted there
            text = "Patroni is held for a restore of which nothing more is known: `invoke restore` to its end lets it go"
            yield finding("restore.unfinished", "restore", text)
            return
        text = f"a restore to {to} on {host}, begun at {began}, is under way or was interrupted"
        yield finding(
            "restore.unfinished", "restore", f"{text}: `invoke restore --to {to!r}` goes on with it, --cancel calls it off"
        )
