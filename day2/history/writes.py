"""Checks the writes of a workload: what was acknowledged, what was found, what was lost, and by whom. Pure.

Times are seconds of the operator's monotonic clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum
from itertools import combinations
from math import ceil
from typing import NamedTuple

# A write's identity: which writer, and its how-manieth.
Id = tuple[int, int]

QUERY_CANCELED = "57014"
SPAN_SECONDS = 0.1


class WriteOutcome(Enum):
    """What a writer may conclude from how its statement ended."""

    ACKNOWLEDGED = "acknowledged"
    FAILED = "failed"  # the server refused it: it must not be there
    INDETERMINATE = "indeterminate"  # may be there or not: the answer was lost, or came with a warning


@dataclass(frozen=True, slots=True)
class Write:
    """One attempt. `server` and `timeline` are those of the connection it went through."""

    writer: int
    number: int
    outcome: WriteOutcome
    began: float
    ended: float
    server: str
    timeline: int
    why: str = ""

    @property
    def id(self) -> Id:
        return self.writer, self.number


class Row(NamedTuple):
    """A write as it is found in the table: with the server and the timeline it was sent to, and where in the WAL it began."""

    writer: int
    number: int
    server: str
    timeline: int
    lsn: int

    @property
    def id(self) -> Id:
        return self.writer, self.number


def outcome_of_error(sqlstate: str | None, severity: str | None) -> WriteOutcome:
    """The outcome of a statement that raised. `sqlstate` is None when no answer came, `severity` is PostgreSQL's word.

    An ERROR undoes the statement. With FATAL the server ended the session, which it may do while a commit that is already
    on its disk waits for a replica; a cancelled statement may have been in that wait too.
    """
    if sqlstate is None or sqlstate == QUERY_CANCELED or severity != "ERROR":
        return WriteOutcome.INDETERMINATE
    return WriteOutcome.FAILED


@dataclass(frozen=True)
class WriteCheck:
    """What became of every write. `lost` were acknowledged and are not there, `recovered` are indeterminate ones that are,
    `unexpected` are there though they had been refused or never sent, `duplicated` are there more than once, `out_of_order`
    stand before an earlier one of the same writer in the WAL, `split_brain` says which servers acknowledged at the same time."""

    acknowledged: int
    failed: int
    indeterminate: int
    lost: tuple[Id, ...]
    recovered: int
    unexpected: tuple[Id, ...]
    duplicated: tuple[Id, ...]
    out_of_order: tuple[Id, ...] = ()
    split_brain: tuple[str, ...] = ()

    @property
    def consistent(self) -> bool:
        """Whether nothing is there that must not be, and nothing is missing."""
        return not (self.lost or self.unexpected or self.duplicated or self.out_of_order or self.split_brain)


def check_writes(writes: Iterable[Write], found: Sequence[Row]) -> WriteCheck:
    """Compares the answers that the writers got with the rows that are in the table afterwards."""
    writes = list(writes)
    by_outcome: dict[WriteOutcome, set[Id]] = {outcome: set() for outcome in WriteOutcome}
    for write in writes:
        by_outcome[write.outcome].add(write.id)
    times = Counter(row.id for row in found)
    there = times.keys()
    acknowledged, indeterminate = by_outcome[WriteOutcome.ACKNOWLEDGED], by_outcome[WriteOutcome.INDETERMINATE]
    return WriteCheck(
        acknowledged=len(acknowledged),
        failed=len(by_outcome[WriteOutcome.FAILED]),
        indeterminate=len(indeterminate),
        lost=tuple(sorted(acknowledged - there)),
        recovered=len(indeterminate & there),
        unexpected=tuple(sorted(there - acknowledged - indeterminate)),
        duplicated=tuple(sorted(id for id, count in times.items() if count > 1)),
        out_of_order=out_of_order(found, acknowledged),
        split_brain=split_brain(writes),
    )


def out_of_order(found: Iterable[Row], acknowledged: AbstractSet[Id]) -> tuple[Id, ...]:
    """The rows that do not stand behind every earlier acknowledged one of their writer in the WAL.

    A writer sends the next row only after the answer to the last one. Where no answer came, the server may still carry out
    the statement later (a process that was stopped does), so nothing follows from the place of an indeterminate row for
    those after it.
    """
    reached: dict[int, int] = {}
    wrong = []
    for row in sorted({row.id: row for row in found}.values()):  # a row that is there twice counts as duplicated
        if row.lsn <= reached.get(row.writer, -1):
            wrong.append(row.id)
        elif row.id in acknowledged:
            reached[row.writer] = row.lsn
    return tuple(wrong)


def split_brain(writes: Iterable[Write]) -> tuple[str, ...]:
    """Where two servers were primaries at the same time, as sentences: split brain.

    Once a timeline has acknowledged a write, no write that begins later may be acknowledged on an older one; and on one
    timeline there is one server only.
    """
    spans: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for write in writes:
        if write.outcome is WriteOutcome.ACKNOWLEDGED:
            spans.setdefault((write.timeline, write.server), []).append((write.began, write.ended))
    found = []
    for (old, one), (new, other) in combinations(sorted(spans), 2):
        earlier, later = spans[old, one], spans[new, other]
        since = min(ended for _, ended in later)
        if old == new:
            until = min(max(ended for _, ended in span) for span in (earlier, later))
            both = max(0.0, until - max(since, min(ended for _, ended in earlier)))
            found.append(f"{one} and {other} both acknowledged on timeline {old}, at the same time for {both:.1f} s")
        elif late := [ended for began, ended in earlier if began > since]:
            found.append(
                f"{one} on timeline {old} acknowledged {len(late)} writes up to {max(late) - since:.1f} s after"
                f" {other} had begun to on timeline {new}"
            )
    return tuple(found)


@dataclass(frozen=True)
class Throughput:
    """How many writes were acknowledged in each `width` seconds, the first span beginning at `start` (negative: before the
    fault)."""

    start: float
    width: float
    counts: tuple[int, ...]


def throughput(writes: Iterable[Write], fault_at: float, until: float) -> Throughput:
    """From the first acknowledgement to the monotonic time `until`. One of the spans ends with the fault: an acknowledgement
    that came at that very moment is before it."""
    spans = Counter(ceil((w.ended - fault_at) / SPAN_SECONDS) for w in writes if w.outcome is WriteOutcome.ACKNOWLEDGED)
    if not spans:
        return Throughput(0.0, SPAN_SECONDS, ())
    first, last = min(spans), max(*spans, ceil((until - fault_at) / SPAN_SECONDS))
    counts = tuple(spans[n] for n in range(first, last + 1))
    return Throughput(round((first - 1) * SPAN_SECONDS, 3), SPAN_SECONDS, counts)


def longest_wait(writes: Iterable[Write], since: float = 0.0) -> float | None:
    """How long a writer waited at most for a write that was acknowledged after `since`: from its first attempt after the last
    that was, those that failed in between included. None where none was."""
    began: dict[int, float] = {}
    longest = None
    for write in sorted(writes, key=lambda write: write.began):
        first = began.setdefault(write.writer, write.began)
        if write.outcome is WriteOutcome.ACKNOWLEDGED:
            del began[write.writer]
            if write.ended >= since:
                longest = max(longest or 0.0, write.ended - first)
    return longest


@dataclass(frozen=True)
class Gap:
    """A span without an acknowledgement to anybody, in seconds of the monotonic clock."""

    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.ended - self.began


def longest_gap(writes: Iterable[Write], until: float, since: float = 0.0) -> Gap | None:
    """The longest span between consecutive acknowledgements, whoever got them. None if there was none at all.

    `until` is when the writers were stopped: an outage that never ended counts up to there. Spans that ended before `since`,
    the fault, are not its doing.
    """
    times = sorted(write.ended for write in writes if write.outcome is WriteOutcome.ACKNOWLEDGED)
    if not times:
        return None
    gaps = (Gap(a, b) for a, b in zip(times, [*times[1:], max(until, times[-1])], strict=True))
    return max((gap for gap in gaps if gap.ended >= since), key=lambda gap: gap.seconds, default=None)
