"""Rules about the archive of the write-ahead log, where the inventory has a host for it, or somebody archives on their own."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.archive import SEGMENT_BYTES
from cluster.recovery import moment
from cluster.slots import ARCHIVE
from cluster.timelines import timelines
from cluster.topology import Cluster

from ..backup_states import BackupState, Repository
from ..finding import Finding, finding, ok
from ..states import Archiver, PostgresState
from ..view import ClusterView

# When less time than this is left until the disk of the write-ahead log is full, it is told by itself.
SOON_SECONDS = 86_400
# What is on its way to the archive, and no concern: the file that is being written, and the one before it.
ON_ITS_WAY = 2 * SEGMENT_BYTES
# Where so much of what a replica keeps for the archive is taken, it is told.
NEARLY_ALL_KEPT = 0.75
RUNBOOK = "docs/runbook.md, Write-ahead log piles up"


def archive(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """What the primary writes gets to the archive, and soon; if not, what comes of that, and when."""
    state = view.primary
    if state is None:
        return
    name, archiver, limit = view.writable[0], state.archiver, cluster.backup.max_archive_lag
    if not cluster.backup_hosts:
        yield from _own_archive(name, archiver, cluster)
        return
    last, late, failing = _last(archiver), archiver.oldest is not None and archiver.oldest > limit, _failing(archiver)
    if failing:
        text = f"archiving {archiver.failed_wal} has failed {archiver.failed:.0f} s ago; {last}: `invoke backup.check` says why"
        yield finding("archive.failing", name, text)
    if late:
        text = f"{archiver.waiting} files wait to be archived, the first since {archiver.oldest:.0f} s; {last}"
        yield finding("archive.lagging", name, f"{text}; backup_max_archive_lag is {limit}{outcome(archiver, cluster)}")
        seconds = seconds_left(archiver, cluster)
        if seconds is not None and seconds < SOON_SECONDS:
            text = f"in {duration(seconds)} its disk is full of write-ahead log that waits to be archived, and PostgreSQL stops"
            yield finding("archive.fills-disk", name, f"{text}: {RUNBOOK}")
    if gives_up(archiver, cluster):
        text = f"{gib(waits(archiver))} of write-ahead log wait, and the oldest is given up (backup_when_stuck is drop)"
        yield finding("archive.dropping", name, f"{text}: nothing goes back to a moment since, until a backup is made: {RUNBOOK}")
    elif not (failing or late):
        yield ok("archive", name, f"{archiver.waiting} files wait to be archived; {last}")


def _own_archive(name: str, archiver: Archiver, cluster: Cluster) -> Iterator[Finding]:
    """Without a host that keeps backups the command does nothing, and nothing ever waits; one of somebody's own is not known
    here, but what it leaves undone piles up all the same."""
    if not archiver.waiting:
        return
    late = archiver.oldest is not None and archiver.oldest > cluster.backup.max_archive_lag
    seconds = seconds_left(archiver, cluster)
    piles_up = f"{archiver.waiting} files ({gib(waits(archiver))}) wait to be archived, and stay in pg_wal"
    full = f"; at this rate its disk is full in {duration(seconds)}" if late and seconds is not None else ""
    own = "archive_command is one of your own"
    if _failing(archiver):
        text = f"archiving {archiver.failed_wal} has failed {archiver.failed:.0f} s ago; {_last(archiver)}; {piles_up}{full}"
        yield finding("archive.failing", name, f"{text}: {own}, and `invoke logs --component postgres` has what it says")
    elif late:
        since = f"the first since {archiver.oldest:.0f} s"
        text = f"{piles_up}, {since}; {_last(archiver)}{full}: {own}, and hangs, is empty, or takes too long"
        yield finding("archive.lagging", name, text)
    if late and seconds is not None and seconds < SOON_SECONDS:
        text = f"in {duration(seconds)} its disk is full of write-ahead log that waits to be archived, and PostgreSQL stops"
        yield finding("archive.fills-disk", name, f"{text}: {RUNBOOK}")


def _last(archiver: Archiver) -> str:
    return f"the last that got there is {archiver.archived_wal}" if archiver.archived_wal else "nothing ever got there"


def _failing(archiver: Archiver) -> bool:
    return archiver.failed is not None and (archiver.archived is None or archiver.failed < archiver.archived)


def kept(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """What is not archived yet is on a replica, too: whoever takes over archives it. A slot there keeps it, no more than
    max_slot_wal_keep_size; beyond that PostgreSQL ends the slot, and a new one begins later (agents/archive_slot.py)."""
    best = view.best_etcd
    primary, archived_to = view.primary, best.archived_to if best else None
    if not cluster.backup_hosts or primary is None or primary.lsn is None or archived_to is None:
        return
    # PostgreSQL's own word goes first: the note stands still where the program that writes it does not run.
    name, waiting = view.writable[0], min(primary.lsn - archived_to, waits(primary.archiver))
    if waiting <= ON_ITS_WAY:
        return
    replicas = [view.hosts[host.name].postgres for host in cluster.postgres_hosts if host.name != name]
    begins = [keeps_from(state) for state in replicas if state]
    if not begins:  # there is no replica, or none that says anything
        return
    if not any(begin is not None and begin <= archived_to + ON_ITS_WAY for begin in begins):
        text = f"no replica has all of the {gib(waiting)} of write-ahead log that are not archived (max_slot_wal_keep_size)"
        yield finding("archive.unkept", name, f"{text}: if {name} were lost now, the archive would have a hole: {RUNBOOK}")
        return
    slot = next((one for one in primary.slots if one.name == ARCHIVE), None)
    # The same limit holds on replicas, whose own PostgreSQL does not say how near it is. Of the primary's own slot alone it can't
    # be said: one that was lost has begun anew, and keeps nothing of what waits.
    if slot and slot.room is not None and max(slot.retained, waiting) > NEARLY_ALL_KEPT * (most := slot.retained + slot.room):
        text = f"{gib(waiting)} of write-ahead log are not archived, and replicas keep {gib(most)} (max_slot_wal_keep_size)"
        yield finding("archive.nearly-unkept", name, f"{text}: beyond that a failover leaves a hole in the archive: {RUNBOOK}")


def keeps_from(replica: PostgresState) -> int | None:
    """From which position on a replica keeps what may have to be archived; None where it keeps nothing for that."""
    slot = next((one for one in replica.slots if one.name == ARCHIVE), None)
    if slot is None or replica.replayed is None or slot.wal_status in ("lost", "unreserved"):
        return None
    return replica.replayed - slot.retained


def waits(archiver: Archiver) -> int:
    """The bytes that wait to be archived."""
    return archiver.waiting * SEGMENT_BYTES


def gives_up(archiver: Archiver, cluster: Cluster) -> bool:
    """Whether what waits has reached the limit from which on the oldest is given up: the next file passes it."""
    return cluster.backup.when_stuck == "drop" and waits(archiver) + SEGMENT_BYTES > cluster.backup.drop_above


def rate(archiver: Archiver) -> float:
    """How many bytes a second come to wait, since the first of them does; 0 where that can't be said."""
    return waits(archiver) / archiver.oldest if archiver.oldest else 0.0


def seconds_left(archiver: Archiver, cluster: Cluster) -> float | None:
    """When the disk of the write-ahead log is full, at the rate at which it comes to wait; None where it never is, because files
    are given up before, or where that can't be said."""
    if not rate(archiver) or archiver.room is None:
        return None
    drops = bool(cluster.backup_hosts) and cluster.backup.when_stuck == "drop"
    if drops and cluster.backup.drop_above - waits(archiver) < archiver.room:
        return None
    return archiver.room / rate(archiver)


def outcome(archiver: Archiver, cluster: Cluster) -> str:
    """What comes of it if it goes on so, to be put after a sentence; empty where that can't be said."""
    choice = cluster.backup.when_stuck
    seconds = seconds_left(archiver, cluster)
    if seconds is not None:
        return f"; backup_when_stuck is {choice}: at this rate the disk of pg_wal is full in {duration(seconds)}"
    if choice == "drop" and rate(archiver) and not gives_up(archiver, cluster):
        until = duration((cluster.backup.drop_above - waits(archiver)) / rate(archiver))
        return f"; backup_when_stuck is drop: at this rate the oldest is given up in {until}"
    return ""


def duration(seconds: float) -> str:
    """How long, in the unit that says most."""
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{max(seconds, 0):.0f} seconds"


def gib(count: float) -> str:
    """Bytes for a person."""
    return f"{count / 1024**3:.1f} GiB"


def holes(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """From the newest backup on nothing is missing in the archive of any repository. What was missing before, that backup has
    closed."""
    for host in (view.hosts[one.name] for one in cluster.backup_hosts):
        if host.backups:
            for repository in host.backups.repositories:
                yield from _holes(host.name, host.backups, repository)


def _holes(name: str, state: BackupState, repository: Repository) -> Iterator[Finding]:
    backups = state.of(repository.name)
    if repository.archived is None or not backups:
        return
    newest = backups[-1]
    number, text = repository.history
    line = timelines({number: (text, 0.0)} if number > 1 else {})[number].line
    where = f" of repository {repository.name}" if len(state.repositories) > 1 else ""
    for hole in repository.archived.holes(line, since=max(newest.wal_end, repository.start)):
        until = f" after {moment(hole.before)}" if hole.before is not None else f" after the backup {newest.label}"
        text = f"{hole.files} is missing in the archive{where}: nothing goes back to a moment{until} until a backup is made"
        yield finding("archive.hole", name, f"{text}: `invoke backup`, once archiving works")
