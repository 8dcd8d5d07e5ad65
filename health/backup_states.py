"""What the host that keeps the backups says of them, as it was when it was asked. Pure.

Sizes are bytes, durations seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from cluster.archive import SEGMENT_BYTES, Archived, segment_of


@dataclass(frozen=True)
class Backup:
    """One backup. `kind` is one of BACKUP_TYPES; `started`, `ended`: seconds since 1970, `age` since the end. `size` is that of
    the data, `stored` what of it this backup has itself. It needs the write-ahead log from `wal_first` to `wal_last`, in which it
    ends at `lsn` (bytes since 0/0). `damaged`: pages in it have wrong checksums. `repository`: the name of the one that has
    it."""

    label: str
    kind: str
    started: int
    ended: int
    age: float
    size: int
    stored: int
    wal_first: str
    wal_last: str
    damaged: bool
    repository: str = "local"
    lsn: int = 0

    @property
    def timeline(self) -> int:
        """The one on which it ended."""
        return int(self.wal_last[:8], 16)

    @property
    def wal_end(self) -> int:
        """A position (bytes) in the last file that it needs."""
        return segment_of(self.wal_last) * SEGMENT_BYTES


@dataclass(frozen=True)
class Repository:
    """One place of backups: `problem` is why it could not be seen, else empty. `first` and `last` are files of the write-ahead
    log in its archive. `archived`: what is there from the position `start` on, since the newest backup there, None where that was
    not seen; `history`: the number of the newest timeline there, and the text of its history file."""

    name: str
    problem: str = ""
    first: str | None = None
    last: str | None = None
    archived: Archived | None = None
    history: tuple[int, str] = (1, "")
    start: int = 0


@dataclass(frozen=True)
class BackupRun:
    """What systemd knows of the last run of one kind of backup. `began`, `ended`: seconds since 1970, None for never, as far as
    it remembers: until a reboot. One that has come to no good end before that has `failed`, and has `ended` when it began."""

    kind: str
    running: bool
    failed: bool
    ended: int | None
    began: int | None = None


@dataclass(frozen=True)
class Drill:
    """A drill of a backup on a host. `ended`: seconds since 1970, `age` since then. `failures`: why it has not `passed`. `rto`:
    seconds from the beginning of the restore to a server that answers. `compared`: with a replica, table by table."""

    backup: str
    host: str
    passed: bool
    ended: float
    age: float
    failures: tuple[str, ...]
    rto: float | None
    compared: bool
    repository: str = ""  # of one from before there could be several, none


@dataclass(frozen=True)
class Clone:
    """The cluster as it was at a moment (`to`), in a directory (`path`). `age`: seconds since it was begun. `state`: that of its
    unit; `ready`: whether its server has answered; `problem`: why there is none, else empty."""

    to: str
    path: str
    age: float
    state: str
    ready: bool = True
    problem: str = ""


@dataclass(frozen=True)
class BackupState:
    """The backups of the cluster, oldest first, as the host says that keeps them, and the `repositories` that they are in.
    `timers`: by unit, its state. `drills`, oldest first, as far as they have come to an end; `drilling`: what systemd knows of
    the last one on that host. `clone`: None for none."""

    version: str
    backups: tuple[Backup, ...]
    runs: tuple[BackupRun, ...]
    timers: dict[str, str]
    repositories: tuple[Repository, ...]
    drills: tuple[Drill, ...] = ()
    drilling: BackupRun | None = None
    clone: Clone | None = None

    @property
    def archive_last(self) -> str | None:
        """The last file of the write-ahead log that is in any archive."""
        return max((one.last for one in self.repositories if one.last), default=None)

    @property
    def archive_first(self) -> str | None:
        """The first file of the write-ahead log that is in any archive."""
        return min((one.first for one in self.repositories if one.first), default=None)

    def repository(self, name: str) -> Repository | None:
        """The repository of that name."""
        return next((one for one in self.repositories if one.name == name), None)

    def of(self, repository: str) -> tuple[Backup, ...]:
        """The backups in one repository, oldest first."""
        return tuple(one for one in self.backups if one.repository == repository)

    def with_drills(self, more: Iterable[Drill]) -> BackupState:
        """The same with further drills, some of which may be among those that it has."""
        there = {(one.backup, one.host, one.ended) for one in self.drills}
        others = [one for one in more if (one.backup, one.host, one.ended) not in there]
        return replace(self, drills=tuple(sorted((*self.drills, *others), key=lambda one: one.ended)))

    @property
    def proven(self) -> dict[str, Drill]:
        """By the label of a backup, the last drill of it, whatever has come of that."""
        return {one.backup: one for one in self.drills}
