"""Rules about the archive of the write-ahead log, where the inventory has a host for it."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.archive import SEGMENT_BYTES
from cluster.recovery import moment
from cluster.timelines import timelines
from cluster.topology import Cluster

from ..backup_states import BackupState, Repository
from ..finding import Finding, finding, ok
from ..states import Archiver
from ..view import ClusterView

# When less time than this is left until the disk of the write-ahead log is full, it is told by itself.
SOON_SECONDS = 86_400
RUNBOOK = "docs/runbook.md, Write-ahead log piles up"


def archive(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """What the primary writes gets to the archive, and soon; if not, what comes of that, and when."""
    state = view.primary
    if not cluster.backup_hosts or state is None:
        return
    name, archiver, limit = view.writable[0], state.archiver, cluster.backup.max_archive_lag
    last = f"the last that got there is {archiver.archived_wal}" if archiver.archived_wal else "nothing ever got there"
    late = archiver.oldest is not None and archiver.oldest > limit
    failing = archiver.failed is not None and (archiver.archived is None or archiver.failed < archiver.archived)
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
    if cluster.backup.when_stuck == "drop" and cluster.backup.drop_above - waits(archiver) < archiver.room:
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
