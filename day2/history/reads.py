"""Checks what readers saw against what was acknowledged to writers. Pure.

Times are seconds of the operator's monotonic clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from math import ceil
from statistics import median
from typing import NamedTuple

from .writes import Id, Write, WriteOutcome


class Read(NamedTuple):
    """An answer: the highest number of a writer's rows; 0 where there was none, or the table had not arrived yet."""

    writer: int
    number: int
    began: float
    ended: float
    server: str


@dataclass(frozen=True)
class ReadFailure:
    """A read that failed. `found_server` is False when no connection could be made at all."""

    at: float
    found_server: bool
    why: str


class Acknowledged:
    """The acknowledged writes of each writer, in order. A writer's numbers and times rise together."""

    def __init__(self, writes: Iterable[Write]) -> None:
        self._numbers: dict[int, list[int]] = {}
        self._times: dict[int, list[float]] = {}
        for write in writes:
            if write.outcome is WriteOutcome.ACKNOWLEDGED:
                self._numbers.setdefault(write.writer, []).append(write.number)
                self._times.setdefault(write.writer, []).append(write.ended)

    def staleness(self, read: Read) -> float:
        """How long before the read began the oldest write that it did not see had been acknowledged; 0 if it saw all that
        had been by then."""
        numbers = self._numbers.get(read.writer, [])
        unseen = bisect_right(numbers, read.number)
        return max(0.0, read.began - self._times[read.writer][unseen]) if unseen < len(numbers) else 0.0


@dataclass(frozen=True)
class ReadCheck:
    """What readers saw. `no_server`: failures where not even a connection could be made, the first and the last of them
    `no_server_from` and `no_server_until` seconds after the fault. `reads_of_lost_rows`: those that saw a row which is not there
    afterwards. `stale_*`: how much older than the acknowledged truth an answer was, in seconds (None:
    no reads)."""

    succeeded: int = 0
    failed: int = 0
    no_server: int = 0
    reads_of_lost_rows: int = 0
    stale_median: float | None = None
    stale_p99: float | None = None
    stale_worst: float | None = None
    no_server_from: float | None = None
    no_server_until: float | None = None


def check_reads(
    reads: Iterable[Read], failures: Sequence[ReadFailure], found: AbstractSet[Id], writes: Iterable[Write], fault_at: float
) -> ReadCheck:
    """What the answers and failures of readers come to. `found` are the ids in the table after the trial."""
    acknowledged = Acknowledged(writes)
    reads = list(reads)
    refused = sorted(round(failure.at - fault_at, 3) for failure in failures if not failure.found_server)
    stale = sorted(acknowledged.staleness(read) for read in reads)
    return ReadCheck(
        succeeded=len(reads),
        failed=len(failures),
        no_server=len(refused),
        no_server_from=refused[0] if refused else None,
        no_server_until=refused[-1] if refused else None,
        reads_of_lost_rows=sum(1 for read in reads if read.number and (read.writer, read.number) not in found),
        stale_median=round(median(stale), 4) if stale else None,
        stale_p99=round(percentile(stale, 0.99), 4) if stale else None,
        stale_worst=round(stale[-1], 4) if stale else None,
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least that share of the `ordered` values does not exceed."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)]
