"""The tree of timelines that the write-ahead log of a cluster is, and where on it its backups lie. Pure; hosts have it, too.

Each promotion begins a timeline: after a failover it goes on from the end of the one before, after a restore from somewhere in
the middle of it. Positions are bytes since 0/0, times seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.archive import Line

# What PostgreSQL writes into a history file about a timeline that was begun where a recovery was told to stop.
STOPPED = ("before ", "after ", "at restore point ")


def position(lsn: str) -> int:
    """`0/5F6ADF0` in bytes."""
    high, low = lsn.split("/")
    return int(high, 16) * 2**32 + int(low, 16)


def lsn(where: int) -> str:
    """Bytes as PostgreSQL writes a position."""
    return f"{where >> 32:X}/{where & 0xFFFFFFFF:X}"


@dataclass(frozen=True)
class Fork:
    """Where a timeline was left for the next one, and why, in PostgreSQL's words."""

    timeline: int
    lsn: int
    reason: str


@dataclass(frozen=True)
class Timeline:
    """A timeline and those it comes from (`forks`, the oldest first). `began`: when its history got to the archive."""

    number: int
    forks: tuple[Fork, ...] = ()
    began: float = 0.0

    @property
    def parent(self) -> int:
        return self.forks[-1].timeline if self.forks else 0

    @property
    def goes_back(self) -> bool:
        """Whether a restore to an earlier moment has begun it: it lacks what its parent has after the fork."""
        return bool(self.forks) and self.forks[-1].reason.startswith(STOPPED)

    @property
    def line(self) -> Line:
        """It and those it comes from, each with the position at which it begins."""
        numbers = (*(fork.timeline for fork in self.forks), self.number)
        return tuple(zip(numbers, (0, *(fork.lsn for fork in self.forks)), strict=True))

    def has(self, timeline: int, where: int) -> bool:
        """Whether the log of `timeline` up to `where` is part of this one's."""
        return timeline == self.number or any(fork.timeline == timeline and where <= fork.lsn for fork in self.forks)


def left(rows: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Where each timeline of a line was left for the next one, from the rows of a history file: timeline and position, the oldest
    first.

    A recovery along a timeline may be told to stop before that has begun, on one that it comes from. PostgreSQL then writes the
    position into its row, and leaves those before it as they were, with later ones (writeTimeLineHistory).
    """
    found, end = list[tuple[int, int]](), None
    for timeline, where in reversed(rows):
        end = where if end is None else min(where, end)
        found.append((timeline, end))
    return found[::-1]


def timelines(histories: Mapping[int, tuple[str, float]]) -> dict[int, Timeline]:
    """All timelines there are, by number, from the archive's history files: number to text, and when that was archived."""
    found = {1: Timeline(1)}
    for number, (text, at) in sorted(histories.items()):
        rows = [line.split(None, 2) for line in text.splitlines() if line.strip() and not line.startswith("#")]
        ends = left([(int(row[0]), position(row[1])) for row in rows])
        reasons = [row[2].strip() if len(row) > 2 else "" for row in rows]
        forks = tuple(Fork(*end, reason) for end, reason in zip(ends, reasons, strict=True))
        found[number] = Timeline(number, forks, at)
    return found


def goes_on(known: Mapping[int, Timeline], number: int) -> Timeline:
    """The timeline `number`, or the last of those that go on from where it, and whatever followed it, ended."""
    while True:
        following = [one.number for one in known.values() if one.parent == number and not one.goes_back]
        if not following:
            return known[number]
        number = max(following)


@dataclass(frozen=True)
class Base:
    """A backup: when it `ended`; where, on which timeline, its log ends that it needs; the data's `size` in bytes. `damaged`:
    pages in it have wrong checksums. `repository`: the name of the one that has it."""

    label: str
    kind: str
    ended: float
    timeline: int
    lsn: int
    size: int
    damaged: bool
    repository: str = "local"


def bases(info: Iterable[Mapping[str, Any]], repository: str) -> tuple[Base, ...]:
    """The backups of `pgbackrest info --output=json` of a repository, the oldest first, but for those of a major version that was
    left. Raises KeyError and ValueError."""
    return tuple(
        base_of(one, repository)
        for stanza in info
        for one in stanza.get("backup", ())
        if one["database"]["id"] == stanza["db"][-1]["id"]
    )


def base_of(said: Mapping[str, Any], repository: str) -> Base:
    """A backup as `pgbackrest info` has it. Raises KeyError and ValueError."""
    return Base(
        label=said["label"],
        kind=said["type"],
        ended=float(said["timestamp"]["stop"]),
        timeline=int(said["archive"]["stop"][:8], 16),
        lsn=position(said["lsn"]["stop"]),
        size=int(said["info"]["size"]),
        damaged=bool(said["error"]),
        repository=repository,
    )
