"""What a drill of a backup has to find to prove it, and what it needs to begin. Pure.

A drill restores a backup beside the living cluster, starts PostgreSQL on the copy, and checks it. This module lies on the hosts
too (agents/drill.py): the standard library alone, for Python 3.10.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from cluster.archive import SEGMENT_BYTES, segment_of
from cluster.timelines import position

# By database, by table: how many rows there are, and the sum of their hashes; None for a table that there was no time for.
Contents = dict[str, dict[str, tuple[int, str] | None]]

# Beside the data: write-ahead log that is being replayed, what recovery writes, and indexes' sorts of the checks.
SHARE_BESIDE, BESIDE = 0.1, 256 * 1024**2
# A disk that is fuller is a problem by itself (health/rules/machines.py, disks.full); a drill is not to be the cause.
KEPT_FREE = 0.05
MOST_TOLD = 20  # differences and complaints, in a result


def needed(size: int) -> int:
    """Bytes that a drill of `size` bytes of data takes."""
    return size + int(size * SHARE_BESIDE) + BESIDE


def no_room(size: int, free: int, disk: int, what: str = "drill") -> str | None:
    """Why a drill, or `what` takes the same, of `size` bytes of data finds no room on a disk of `disk` bytes, `free` of which are
    so; None where it does."""
    keeps = int(disk * KEPT_FREE)
    if free - keeps >= needed(size):
        return None
    return (
        f"the {what} needs {needed(size):,} bytes for {size:,} of data, and {max(0, free - keeps):,} are free"
        f" ({free:,} without the twentieth of the disk that is kept free)"
    )


@dataclass(frozen=True)
class Marker:
    """Two rows that were acknowledged, one just before the moment that the copy is recovered to and one just after."""

    run: str
    before: bool  # whether the copy has it
    after: bool


@dataclass(frozen=True)
class Measured:
    """What a drill has seen. `stopped`: why it came to no end. `complaints`: what pg_amcheck has said. `bad_pages`: pages with
    wrong checksums, None where the cluster has no checksums, or that was not reached. `differences`: from the replica, None
    where nothing was compared. `early`: that recovery did not come to the end of the archive, where it should have."""

    stopped: str = ""
    marker: Marker | None = None
    complaints: tuple[str, ...] = ()
    bad_pages: int | None = None
    differences: tuple[str, ...] | None = None
    early: str = ""


def ends_early(reached: str, last: str) -> str:
    """Why a recovery that came to an end at the position `reached` did not read the log as far as the file `last` of the archive,
    along whose timeline it went; empty where it did.

    PostgreSQL takes a file that is missing for the end of the log. Of the last one, which is whole, it has read something, or it
    has ended before: no more is asked, since a record that goes on in the next file is not there yet. (One that is so large that
    it begins before the last file, and does not end in it, is taken for a gap.)
    """
    if reached and position(reached) > segment_of(last) * SEGMENT_BYTES:
        return ""
    where = f"recovery has ended at {reached}" if reached else "it can't be seen where recovery has ended"
    return f"{where}, and the archive went on to {last}: between them a file is missing in it, or can't be read"


def failures(measured: Measured) -> list[str]:
    """Why a drill does not prove its backup, a sentence for each; none where it does."""
    return list(_failures(measured))


def _failures(measured: Measured) -> Iterator[str]:
    if measured.stopped:
        yield measured.stopped
    if measured.marker and not measured.marker.before:
        yield "a row is not there that was acknowledged before the moment that the copy was recovered to"
    if measured.marker and measured.marker.after:
        yield "a row is there that was written after the moment that the copy was recovered to"
    if measured.early:
        yield measured.early
    if measured.complaints:
        yield f"pg_amcheck complains: {told(measured.complaints)}"
    if measured.bad_pages:
        yield f"{measured.bad_pages} pages have wrong checksums"
    if measured.differences:
        yield f"the copy differs from the replica at the same moment: {told(measured.differences)}"


def told(texts: tuple[str, ...]) -> str:
    """The first ones, and how many more there are."""
    more = f"; and {len(texts) - MOST_TOLD} more" if len(texts) > MOST_TOLD else ""
    return "; ".join(texts[:MOST_TOLD]) + more


@dataclass
class Comparison:
    """How the contents of two servers compare: tables and rows that are the same, tables that there was no time for, and what
    differs."""

    tables: int = 0
    rows: int = 0
    left_out: int = 0
    differences: list[str] = field(default_factory=list)


def compare(expected: Contents, found: Contents) -> Comparison:
    """Compares what a replica has with what the copy has. A table that only one of them has is a difference."""
    result = Comparison()
    for database in sorted(expected.keys() | found.keys()):
        here, there = expected.get(database), found.get(database)
        if here is None or there is None:
            result.differences.append(f"database {database} is on the {'replica' if there is None else 'copy'} alone")
            continue
        for table in sorted(here.keys() | there.keys()):
            _compare_table(result, f"{database}: {table}", table in here, table in there, here.get(table), there.get(table))
    return result


def _compare_table(
    result: Comparison,
    name: str,
    on_replica: bool,
    on_copy: bool,
    wanted: tuple[int, str] | None,
    has: tuple[int, str] | None,
) -> None:
    if not (on_replica and on_copy):
        result.differences.append(f"{name} is on the {'replica' if on_replica else 'copy'} alone")
    elif wanted is None or has is None:
        result.left_out += 1
    elif wanted[0] != has[0]:
        result.differences.append(f"{name} has {has[0]:,} rows, and {wanted[0]:,} on the replica")
    elif wanted[1] != has[1]:
        result.differences.append(f"{name} has {has[0]:,} rows as on the replica, with other contents")
    else:
        result.tables += 1
        result.rows += has[0]


def contents_of(document: dict[str, dict[str, list[object] | None]]) -> Contents:
    """Contents as they are in JSON."""
    return {
        database: {table: None if pair is None else (int(str(pair[0])), str(pair[1])) for table, pair in tables.items()}
        for database, tables in document.items()
    }
