"""The files of a write-ahead log, and how pg_waldump is asked for a part of it.

Without the names of files pg_waldump opens any one of the directory, to learn how large they are, and gives up if that is one
which is only reserved: it holds zeroes. Positions are bytes since 0/0.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from pathlib import Path

SEGMENT_NAME = re.compile("[0-9A-F]{24}")
# Positions in what PostgreSQL's programs say.
LSN = re.compile(r"\b([0-9A-F]{1,8})/([0-9A-F]{1,8})\b")
# What a page begins with (XLogPageHeaderData of xlog_internal.h): two numbers, its timeline, and its position.
PAGE = struct.Struct("=HHIQ")


def position(lsn: str) -> int:
    """`0/5F6ADF0` in bytes."""
    high, low = lsn.split("/")
    return int(high, 16) * 2**32 + int(low, 16)


def lsn(where: int) -> str:
    return f"{where >> 32:X}/{where & 0xFFFFFFFF:X}"


def beginning(name: str, segment: int) -> int:
    """Where a file begins; each has `segment` bytes."""
    return int(name[8:16], 16) * 2**32 + int(name[16:], 16) * segment


def is_begun(file: Path, segment: int) -> bool:
    """Whether a file has any log: its first page says where it lies. One that is only reserved has zeroes there, or what it was
    used for before. Raises OSError."""
    with file.open("rb") as opened:
        header = opened.read(PAGE.size)
    return len(header) == PAGE.size and PAGE.unpack(header)[-1] == beginning(file.name, segment)


def of_timeline(names: Iterable[str], timeline: int, begin: int, end: int | None, segment: int) -> list[str]:
    """Those of the files that have some of a timeline between two positions, in order; without `end`, all from `begin` on."""
    ours = sorted(name for name in names if SEGMENT_NAME.fullmatch(name) and int(name[:8], 16) == timeline)
    return [
        name for name in ours
        if beginning(name, segment) + segment > begin and (end is None or beginning(name, segment) < end)
    ]  # fmt: skip


def waldump(
    binaries: str | Path, directory: str | Path, files: list[str], begin: int, end: int | None, segment: int
) -> list[str]:
    """The command that prints the transactions in `files`, which follow each other, from a position on, to another or to where
    the log ends. What the first file does not reach back to is left out."""
    start = max(begin, beginning(files[0], segment))
    until = [] if end is None else [f"--end={lsn(end)}"]
    what = [f"--path={directory}", "--rmgr=Transaction", f"--start={lsn(start)}", *until]
    return [f"{binaries}/pg_waldump", *what, files[0], files[-1]]
