"""Has what a former primary may not have archived any more archived by the one that takes over.

A replica marks each file of the write-ahead log that it has received as archived (`.done`): the primary sees to that. When that
primary is lost, what it had not archived yet would never be, and nobody could restore beyond (walreceiver.c,
XLogArchiveForceDone). So just before a promotion all of it is marked as waiting (`.ready`). What was archived is archived once
more, with the same content, which pgBackRest takes for done.

Only that may be: a file whose rest somebody else has written differently would be refused, and hold up all that follow. Of a
timeline that was left in the middle of a file, that file is not whole here. So only files that end where the log has gone on from
there are marked: those of this server's own line of timelines, up to where each was left.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agents.timelines import HISTORY, MARK

SEGMENT = re.compile(r"([0-9A-F]{8})([0-9A-F]{8})([0-9A-F]{8})")
LEFT = re.compile(r"^\s*(\d+)\s+([0-9A-F]+)/([0-9A-F]+)", re.MULTILINE)


def left_at(history: str) -> dict[int, int]:
    """From the text of a history file: where (bytes) each earlier timeline of its line was left. The rule is in
    cluster/timelines.py (left), which is not sent along with what uses this."""
    found, end = dict[int, int](), None
    for number, high, low in reversed(LEFT.findall(history)):
        where = (int(high, 16) << 32) + int(low, 16)
        found[int(number)] = end = where if end is None else min(where, end)
    return dict(reversed(found.items()))


def on_the_line(names: Iterable[str], timeline: int, left: Mapping[int, int], segment_size: int) -> list[str]:
    """Those of `names`, files of the write-ahead log, that every server on `timeline` has with the same content: whole files
    (`segment_size` bytes each) up to where each timeline was `left`, and the history files."""
    line = {timeline, *left}
    wanted = []
    for name in sorted(names):
        if found := HISTORY.fullmatch(name):
            if int(found[1], 16) in line:
                wanted.append(name)
        elif found := SEGMENT.fullmatch(name):
            number, high, low = (int(part, 16) for part in found.groups())
            end = (high << 32) + (low + 1) * segment_size
            if number == timeline or end <= left.get(number, 0):
                wanted.append(name)
    return wanted


@dataclass(frozen=True)
class Log:
    """The write-ahead log of a server, as it lies in its directory: the names of its segments, the `timeline` that it is on,
    where it `left` those before (bytes), and the size of a segment (0 without any)."""

    segments: tuple[str, ...]
    timeline: int
    left: dict[int, int]
    size: int

    def whole(self) -> list[tuple[str, int]]:
        """The segments that every server on its timeline has with the same content, each with the position at which it begins."""
        names = on_the_line(self.segments, self.timeline, self.left, self.size)
        return sorted(((name, self._begin(name)) for name in names), key=lambda one: one[1])

    def begins(self, position: int) -> int:
        """From where on nothing is missing here up to `position`, in which it writes or replays."""
        there = {begin for _, begin in self.whole()}
        begin = position - position % self.size if self.size else position
        while begin - self.size in there:
            begin -= self.size
        return begin

    def _begin(self, name: str) -> int:
        return (int(name[8:16], 16) << 32) + int(name[16:24], 16) * self.size


def log_in(pg_wal: Path) -> Log:
    """Raises OSError, and ValueError for a history file that is none."""
    names = [file.name for file in pg_wal.iterdir()]
    segments = [name for name in names if SEGMENT.fullmatch(name)]
    histories = [name for name in names if HISTORY.fullmatch(name) and MARK not in (pg_wal / name).read_bytes()]
    # The newest is the one that this server is on: numbers are never used twice (timelines.py).
    timeline = max((int(name[:8], 16) for name in (*segments, *histories)), default=0)
    history = pg_wal / f"{timeline:08X}.history"
    left = left_at(history.read_text(encoding="utf-8")) if history.name in histories else {}
    size = (pg_wal / max(segments)).stat().st_size if segments else 0
    return Log(tuple(segments), timeline, left, size)


def mark(pg_wal: Path) -> int:
    """Marks what waits in `pg_wal` from now on, on disk. Returns how many files that are. Raises OSError, and ValueError for a
    history file that is none."""
    status, log = pg_wal / "archive_status", log_in(pg_wal)
    done = [file.stem for file in status.iterdir() if file.suffix == ".done"]
    marked = on_the_line(done, log.timeline, log.left, log.size)
    for name in marked:
        ready = (status / f"{name}.done").rename(status / f"{name}.ready")
        # It waits from now on: by the time of its mark it is judged how long it does, and at what rate log piles up. Not before
        # the rename: of a history that still counts as archived, a newer time says that the repositories of now have it.
        os.utime(ready)
    directory = os.open(status, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return len(marked)


def mark_unmarked(pg_wal: Path, log: Log, position: int) -> int:
    """Marks as waiting what a primary at `position` has whole and without any mark: the last file of the copy that it was made
    from, which PostgreSQL itself marks only when it is to be recycled. Returns how many files that are. Raises OSError."""
    status, begins = pg_wal / "archive_status", log.begins(position)
    marked = {file.stem for file in status.iterdir()}
    wanted = [name for name, begin in log.whole() if begins <= begin <= position - log.size and name not in marked]
    for name in wanted:
        (status / f"{name}.ready").touch(mode=0o600)
    return len(wanted)


def mark_histories(pg_wal: Path, log: Log, since: float) -> int:
    """Marks as waiting, on a primary, the history of each timeline of its line that was archived before `since` (seconds since
    1970), or has no mark: a repository that is newer has none of them, and without them nobody can restore from it alone. Returns
    how many files that are. Raises OSError."""
    status, marked = pg_wal / "archive_status", 0
    histories = [file.name for file in pg_wal.iterdir() if HISTORY.fullmatch(file.name)]
    for name in on_the_line(histories, log.timeline, log.left, log.size):
        ready, done = status / f"{name}.ready", status / f"{name}.done"
        if ready.exists() or (done.exists() and done.stat().st_mtime >= since):
            continue
        ready.touch(mode=0o600)
        done.unlink(missing_ok=True)
        marked += 1
    return marked
