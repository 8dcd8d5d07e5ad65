"""What write-ahead log a data directory has, and where that ends: of a server that is stopped, has crashed, or follows nobody.

Sent along with agents/sent/restore.py, which runs PostgreSQL's own programs. Positions are bytes since 0/0, times seconds since
1970.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from agents.unarchived import Log, log_in
from agents.wal import LSN, beginning, of_timeline, position, waldump

# What pg_waldump says where it comes to the end, unless it says a position in which there is no log.
NO_FILE = re.compile(r"could not find file \"([0-9A-F]{24})\"")
# What a recovery to a moment stops before, where it is later than that.
ENDED = re.compile(r"desc: (?:COMMIT|ABORT)[A-Z_]* .*?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.?\d*) UTC")
# Which record was the last whole one, by its beginning.
LAST_RECORD = re.compile(r"error in WAL record at ([0-9A-F]+/[0-9A-F]+)")
FILES_BEFORE = 4
# Of pg_controldata's lines: a place in the log, and the one that has its timeline.
PLACES = {
    "Latest checkpoint location": "Latest checkpoint's TimeLineID",
    "Minimum recovery ending location": "Min recovery ending loc's timeline",
}


@dataclass(frozen=True)
class There:
    """The log in the directory, and the timelines that it has come along: by number, the text and the time of the history."""

    log: Log
    histories: dict[int, tuple[str, float]]


def look(pg_wal: Path) -> There:
    """Raises OSError."""
    log = log_in(pg_wal)
    files = {number: pg_wal / f"{number:08X}.history" for number in (*log.left, log.timeline)}
    return There(log, {n: (file.read_text(), file.stat().st_mtime) for n, file in files.items() if file.exists()})


def begin(state: Mapping[str, str], there: There) -> int:
    """From where it is read: some files before the last place that is known in it, where they are of its timeline; a server that
    was stopped has ended no transaction since its last checkpoint. `state` is what pg_controldata says."""
    log = there.log
    known = [position(state[place]) for place, timeline in PLACES.items() if int(state[timeline]) == log.timeline]
    fork = max(log.left.values(), default=0)
    last = max([*known, fork])
    return max(fork, log.begins(last), last - last % log.size - FILES_BEFORE * log.size) if log.size else last


def reading(binaries: str, pg_wal: Path, there: There, begin: int) -> list[str]:
    """The command that prints all transactions from there to the end, and then complains, unless the last file is full of them;
    one that prints nothing where there is no file to read."""
    files = _files(there, begin)
    return waldump(binaries, pg_wal, files, begin, None, there.log.size) if files else ["true"]


def last_ended(lines: Iterable[str]) -> float | None:
    """When the last transaction ended, from what pg_waldump prints in UTC; None for none."""
    ended = [found[1] for line in lines if (found := ENDED.search(line))]
    if not ended:
        return None
    form = "%Y-%m-%d %H:%M:%S.%f" if "." in ended[-1] else "%Y-%m-%d %H:%M:%S"
    return datetime.strptime(ended[-1], form).replace(tzinfo=timezone.utc).timestamp()  # noqa: UP017 - Python 3.10


def end(said: str, there: There, begin: int) -> int:
    """Where the log ends, by what pg_waldump complains of in the end."""
    if not said.strip():
        return max([begin, *(beginning(name, there.log.size) + there.log.size for name in _files(there, begin))])
    places = [position(found[0]) for found in LSN.finditer(said)]
    files = [beginning(name, there.log.size) for name in NO_FILE.findall(said)]
    return max([begin, *places, *files])


def last_record(said: str) -> int:
    """Where the last record begins that is whole, by what pg_waldump complains of in the end; 0 where it does not say."""
    found = LAST_RECORD.search(said)
    return position(found[1]) if found else 0


def _files(there: There, begin: int) -> list[str]:
    return of_timeline(there.log.segments, there.log.timeline, begin, None, there.log.size)


def told(there: There, end: int) -> dict[str, Any]:
    """As JSON has it. `whole`: the files that every server on its timeline has with the same content; `part`: the one in which it
    ends, empty where it ends with a whole one."""
    log = there.log
    whole = [name for name, start in log.whole() if start + log.size <= end]
    part = [name for name, start in log.whole() if start < end < start + log.size]
    return {"timeline": log.timeline, "end": end, "whole": whole, "part": max(part, default=""), "histories": there.histories}
