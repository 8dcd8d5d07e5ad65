"""The check of reads: rows that were seen and are gone, and how old answers were."""

from __future__ import annotations

from day2.history.reads import Acknowledged, Read, ReadCheck, ReadFailure, check_reads, percentile
from day2.history.writes import Write, WriteOutcome

WRITES = [
    Write(writer, number, outcome, ended - 0.001, ended, "10.0.0.1", 1)
    for writer, number, outcome, ended in (
        (0, 1, WriteOutcome.ACKNOWLEDGED, 10.0),
        (0, 2, WriteOutcome.INDETERMINATE, 11.0),
        (0, 3, WriteOutcome.ACKNOWLEDGED, 12.0),
        (0, 4, WriteOutcome.ACKNOWLEDGED, 13.0),
        (1, 1, WriteOutcome.ACKNOWLEDGED, 12.5),
    )
]
FOUND = {(0, 1), (0, 2), (0, 3), (0, 4), (1, 1)}


def read(writer: int, number: int, began: float) -> Read:
    return Read(writer, number, began, began + 0.001, "10.0.0.2")


def test_a_read_is_as_stale_as_the_oldest_acknowledged_write_it_missed() -> None:
    acknowledged = Acknowledged(WRITES)
    assert acknowledged.staleness(read(0, 4, 20.0)) == 0
    assert acknowledged.staleness(read(0, 3, 20.0)) == 7  # missed number 4
    assert acknowledged.staleness(read(0, 1, 20.0)) == 8  # missed 3: nobody was told that 2 is there
    assert acknowledged.staleness(read(0, 2, 20.0)) == 8
    assert acknowledged.staleness(read(0, 0, 20.0)) == 10  # an empty table


def test_what_was_acknowledged_after_the_read_began_is_not_missed() -> None:
    acknowledged = Acknowledged(WRITES)
    assert acknowledged.staleness(read(0, 3, 12.9)) == 0
    assert acknowledged.staleness(read(0, 0, 9.0)) == 0
    assert acknowledged.staleness(read(5, 0, 9.0)) == 0  # a writer who has not come to write


def test_a_row_that_was_seen_and_is_not_there_afterwards_is_a_read_of_a_lost_row() -> None:
    reads = [read(0, 0, 9.0), read(0, 3, 12.5), read(0, 4, 13.5)]
    assert check_reads(reads, [], FOUND, WRITES, 0).reads_of_lost_rows == 0
    assert check_reads(reads, [], FOUND - {(0, 4)}, WRITES, 0).reads_of_lost_rows == 1


def test_every_read_is_accounted_for() -> None:
    reads = [read(0, 4, 20.0)] * 98 + [read(0, 3, 20.0), read(0, 0, 20.0)]
    failures = [ReadFailure(15.0, found_server=True, why="cut")]
    failures += [ReadFailure(at, found_server=False, why="refused") for at in (17.5, 16.0)]
    assert check_reads(reads, failures, FOUND, WRITES, fault_at=14.0) == ReadCheck(
        succeeded=100, failed=3, no_server=2, no_server_from=2.0, no_server_until=3.5, reads_of_lost_rows=0,
        stale_median=0.0, stale_p99=7.0, stale_worst=10.0,
    )  # fmt: skip


def test_without_reads_nothing_is_said_of_their_age() -> None:
    assert check_reads([], [], FOUND, WRITES, 0) == ReadCheck()


def test_percentiles() -> None:
    assert percentile([1.0], 0.99) == 1.0
    assert percentile([float(n) for n in range(1, 201)], 0.99) == 198.0
