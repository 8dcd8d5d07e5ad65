"""Which files of the write-ahead log an archive has, and which are missing between them. Pure.

A file is called by its timeline and its number; a segment is a number alone: which bytes of the log it has. Positions are bytes
since 0/0, times seconds since 1970.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# As initdb makes it. A deploy asks for no other, and nothing changes it later.
SEGMENT_BYTES = 16 * 1024**2
PER_LOG = 2**32 // SEGMENT_BYTES
# Each timeline of a line, the oldest first, with the position at which it begins.
Line = Sequence[tuple[int, int]]


def name_of(timeline: int, segment: int) -> str:
    """What PostgreSQL calls the file."""
    return f"{timeline:08X}{segment // PER_LOG:08X}{segment % PER_LOG:08X}"


def segment_of(name: str) -> int:
    """The segment of the file with this name."""
    return int(name[8:16], 16) * PER_LOG + int(name[16:24], 16)


@dataclass(frozen=True)
class Hole:
    """The segments from `first` to `last` of a timeline are missing. `before`: when the file before them got to the archive."""

    timeline: int
    first: int
    last: int
    before: float | None

    @property
    def start(self) -> int:
        """The position from which nothing is there."""
        return self.first * SEGMENT_BYTES

    @property
    def files(self) -> str:
        """Which files those are, in words."""
        names = [name_of(self.timeline, one) for one in dict.fromkeys((self.first, self.last))]
        return " to ".join(names)


@dataclass(frozen=True)
class Archived:
    """The segments that are there, by timeline: for each when it got there, or a later one that follows it."""

    found: Mapping[int, Mapping[int, float]]

    def has(self, name: str) -> bool:
        """Whether the file with this name is there."""
        return segment_of(name) in self.found.get(int(name[:8], 16), {})

    def holes(self, line: Line, since: int) -> list[Hole]:
        """What is missing along a line of timelines between the position `since` and the last file that is there.

        A segment in which a timeline was left is needed from the one that begins in it: that has both parts.
        """
        begins = [(timeline, begin // SEGMENT_BYTES) for timeline, begin in line]
        ends = [*(begin - 1 for _, begin in begins[1:]), None]
        wanted: list[tuple[int, int, int]] = []
        for (timeline, begin), end in zip(begins, ends, strict=True):
            there = [one for one in self.found.get(timeline, {}) if one >= begin and (end is None or one <= end)]
            wanted.append((timeline, max(begin, since // SEGMENT_BYTES), end if end is not None else max(there, default=-1)))
        # Of the last timelines nothing may be there yet, and then nobody can say what is missing of those before.
        while wanted and not any(self.found.get(wanted[-1][0], {}).keys() & range(wanted[-1][1], wanted[-1][2] + 1)):
            timeline, begin, _ = wanted.pop()
            if wanted:
                before, first, last = wanted.pop()
                there = [one for one in self.found.get(before, {}) if first <= one <= last]
                wanted.append((before, first, max(there, default=-1)))
        return [hole for timeline, first, last in wanted for hole in self._missing(timeline, first, last)]

    def _missing(self, timeline: int, first: int, last: int) -> Iterable[Hole]:
        there = self.found.get(timeline, {})
        gone = [one for one in range(first, last + 1) if one not in there]
        for _, group in itertools.groupby(enumerate(gone), key=lambda pair: pair[1] - pair[0]):
            numbers = [number for _, number in group]
            yield Hole(timeline, numbers[0], numbers[-1], self._time(numbers[0] - 1))

    def _time(self, segment: int) -> float | None:
        return max((there[segment] for there in self.found.values() if segment in there), default=None)


def together(several: Iterable[Archived]) -> Archived:
    """What one of them or another has."""
    found: dict[int, dict[int, float]] = {}
    for one in several:
        for timeline, there in one.found.items():
            known = found.setdefault(timeline, {})
            known.update({segment: min(at, known.get(segment, at)) for segment, at in there.items()})
    return Archived(found)


def archived(told: Mapping[str, Iterable[Sequence[Any]]]) -> Archived:
    """From what a host tells of its archive (agents/archived.py): by the first 16 digits of their names, stretches of files: the
    last 8 of the first and of the last one, as numbers, and when the last one got there. Raises ValueError and TypeError."""
    found: dict[int, dict[int, float]] = {}
    for prefix, stretches in told.items():
        there = found.setdefault(int(prefix[:8], 16), {})
        for first, last, at in stretches:
            begin = int(prefix[8:16], 16) * PER_LOG
            there.update(dict.fromkeys(range(begin + int(first), begin + int(last) + 1), float(at)))
    return Archived(found)
