"""Gives each promotion a timeline of its own, as Raft gives each leader a term.

PostgreSQL numbers the timeline that it begins by what it finds in pg_wal: one more than the newest that has a history file there
(findNewestTimeLine in xlogrecovery.c). A server that was promoted and lost before anybody followed it has left such a file
nowhere else. So the next one would take the same number, and nobody could tell the two apart: neither Patroni, which would let
the first one follow without a rewind, nor the promotion gate. Here the number that is gone is taken up by a file that says so.

While such a file is the newest, PostgreSQL does not start; it only runs on (the log says "forked off ... before current recovery
point"). When the promotion that it was for has not come, it is removed again. It has the whole descent of its parent before its
own line: a server whose last restartpoint is on an earlier timeline would else look for its checkpoint on timelines that never
held it, and wait for ever instead of failing (XLogFileReadAnyTLI).
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

HISTORY = re.compile(r"([0-9A-F]{8})\.history")
# Parent timeline, where it was left, why. No server is still as far back, so none takes it for its future.
RESERVED = "{parent}\t0/1\tpgquorum: begun by a server that nobody followed\n"
MARK = b"\tpgquorum: "
# A promotion follows the gate at once.
UNUSED_SECONDS = 30.0
# More of them were not begun without anybody following.
MOST = 10_000


class Timelines:
    """The history files in `pg_wal`, the directory of this host's write-ahead log. All methods raise OSError."""

    def __init__(self, pg_wal: Path) -> None:
        self._directory = pg_wal

    def next(self, own: int, begun: int) -> int:
        """The one that a server on timeline `own` shall begin, where the last promotion was to begin `begun`.

        Raises ValueError for numbers that are too far apart to be true.
        """
        number = own + 1
        while number <= begun or self._file(number).exists():
            number += 1
            if number > own + MOST:
                raise ValueError(f"timeline {begun} can't have been begun while this server is on {own}")
        return number

    def reserve(self, own: int, chosen: int) -> None:
        """Sees to it that PostgreSQL chooses what `next` has said. What was written is on disk."""
        missing = [number for number in range(own + 1, chosen) if not self._file(number).exists()]
        descent = self._file(own).read_text(encoding="utf-8") if self._file(own).exists() else ""
        for number in missing:
            with self._file(number).open("x", encoding="utf-8") as file:
                file.write(descent + RESERVED.format(parent=own))
                file.flush()
                os.fsync(file.fileno())
        if missing:
            directory = os.open(self._directory, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    def release(self) -> list[int]:
        """Removes what was reserved for a promotion that has not come. Returns the numbers."""
        there = sorted(int(found[1], 16) for file in self._directory.iterdir() if (found := HISTORY.fullmatch(file.name)))
        unused = []
        for number in reversed(there):
            file = self._file(number)
            if MARK not in file.read_bytes():  # a timeline that was begun: what is older is part of what has been
                break
            if time.time() - file.stat().st_mtime > UNUSED_SECONDS:
                file.unlink()
                unused.append(number)
        return unused

    def _file(self, number: int) -> Path:
        return self._directory / f"{number:08X}.history"
