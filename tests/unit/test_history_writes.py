"""The check of writes: what an answer means, what was lost, how long nobody was served, who was a primary when."""

from __future__ import annotations

import pytest

from day2.history.writes import (
    Gap,
    Row,
    Write,
    WriteOutcome,
    check_writes,
    longest_gap,
    outcome_of_error,
    split_brain,
    throughput,
)

ACK, FAILED, OPEN = WriteOutcome.ACKNOWLEDGED, WriteOutcome.FAILED, WriteOutcome.INDETERMINATE
ONE, OTHER = "10.0.0.1", "10.0.0.2"


def write(
    writer: int, number: int, outcome: WriteOutcome = ACK, ended: float = 0.0, server: str = ONE, timeline: int = 1
) -> Write:
    return Write(writer, number, outcome, ended - 0.001, ended, server, timeline)


def rows(*ids: tuple[int, int]) -> list[Row]:
    """As they are when each was written after the one before it."""
    return [Row(writer, number, ONE, 1, 1000 + place) for place, (writer, number) in enumerate(ids)]


@pytest.mark.parametrize(
    ("sqlstate", "severity", "outcome"),
    [
        (None, None, OPEN),  # the connection broke
        ("25006", "ERROR", FAILED),  # a read-only server
        ("53100", "ERROR", FAILED),  # its disk is full
        ("57014", "ERROR", OPEN),  # cancelled, maybe while it waited for a replica after its commit
        ("57P01", "FATAL", OPEN),  # the server shut down, maybe in that wait too
        ("57P02", "FATAL", OPEN),
        ("XX000", "PANIC", OPEN),
    ],
)
def test_what_an_error_says_about_the_write(sqlstate: str | None, severity: str | None, outcome: WriteOutcome) -> None:
    assert outcome_of_error(sqlstate, severity) is outcome


def test_every_write_is_accounted_for() -> None:
    writes = [write(0, 1), write(0, 2), write(0, 3, FAILED), write(1, 1, OPEN), write(1, 2, OPEN), write(1, 3)]
    check = check_writes(writes, rows((0, 1), (0, 2), (1, 1), (1, 3)))
    assert (check.acknowledged, check.failed, check.indeterminate, check.recovered) == (3, 1, 2, 1)
    assert check.lost == check.unexpected == check.duplicated == check.out_of_order == check.split_brain == ()
    assert check.consistent


def test_an_acknowledged_write_that_is_not_there_is_lost() -> None:
    check = check_writes([write(0, 1), write(0, 2), write(1, 1)], rows((0, 1)))
    assert check.lost == ((0, 2), (1, 1))
    assert not check.consistent


def test_a_refused_write_that_is_there_is_unexpected_and_so_is_one_that_nobody_sent() -> None:
    check = check_writes([write(0, 1, FAILED)], rows((0, 1), (7, 7)))
    assert check.unexpected == ((0, 1), (7, 7))
    assert not check.consistent


def test_a_write_that_is_there_twice_is_duplicated() -> None:
    check = check_writes([write(0, 1)], [Row(0, 1, ONE, 1, 100), Row(0, 1, ONE, 1, 100)])
    assert (check.duplicated, check.out_of_order) == (((0, 1),), ())
    assert not check.consistent


def test_a_row_that_stands_before_an_earlier_one_of_its_writer_is_out_of_order() -> None:
    writes = [write(0, 1), write(0, 2), write(0, 3), write(1, 1)]
    found = [Row(0, 1, ONE, 1, 300), Row(0, 2, ONE, 1, 300), Row(0, 3, ONE, 1, 301), Row(1, 1, ONE, 1, 5)]
    check = check_writes(writes, found)
    assert check.out_of_order == ((0, 2),)
    assert not check.consistent


def test_a_statement_that_was_carried_out_after_its_writer_had_given_it_up_is_not_out_of_order() -> None:
    writes = [write(0, 1), write(0, 2, OPEN), write(0, 3)]
    assert check_writes(writes, [Row(0, 1, ONE, 1, 100), Row(0, 2, ONE, 1, 300), Row(0, 3, ONE, 1, 200)]).consistent
    assert check_writes(writes, [Row(0, 1, ONE, 1, 100), Row(0, 2, ONE, 1, 90), Row(0, 3, ONE, 1, 200)]).out_of_order == ((0, 2),)


def test_a_failover_is_no_split_brain() -> None:
    before = [write(0, 1, ended=10), write(1, 1, ended=10.5)]
    after = [write(0, 3, ended=30, server=OTHER, timeline=2)]
    # Sent while nobody else acknowledged, answered late; and refused ones say nothing.
    late = Write(2, 1, ACK, 10.2, 30.5, ONE, 1)
    refused = write(1, 2, FAILED, ended=31)
    assert split_brain([*before, late, refused, *after]) == ()


def test_an_old_primary_that_acknowledges_after_the_new_one_did_is_split_brain() -> None:
    writes = [
        write(0, 1, ended=10),
        write(1, 1, ended=20, server=OTHER, timeline=2),
        write(0, 2, ended=21),
        write(0, 3, ended=23.5),
    ]
    (text,) = split_brain(writes)
    assert text == "10.0.0.1 on timeline 1 acknowledged 2 writes up to 3.5 s after 10.0.0.2 had begun to on timeline 2"
    assert not check_writes(writes, rows((0, 1), (1, 1), (0, 2), (0, 3))).consistent


def test_two_servers_on_one_timeline_are_split_brain() -> None:
    apart = [write(0, 1, ended=10, timeline=2), write(1, 1, ended=20, server=OTHER, timeline=2)]
    (text,) = split_brain(apart)
    assert text == "10.0.0.1 and 10.0.0.2 both acknowledged on timeline 2, at the same time for 0.0 s"
    (text,) = split_brain([*apart, write(0, 2, ended=24, timeline=2), write(1, 2, ended=22.5, server=OTHER, timeline=2)])
    assert text.endswith("at the same time for 2.5 s")


def test_acknowledgements_are_counted_in_spans_that_meet_at_the_fault() -> None:
    writes = [write(0, n, ended=at) for n, at in enumerate((99.85, 99.95, 100.0, 100.05, 100.31))]
    found = throughput([*writes, write(1, 1, FAILED, ended=100.15)], fault_at=100.0, until=100.55)
    assert (found.start, found.width) == (-0.2, 0.1)
    assert found.counts == (1, 2, 1, 0, 0, 1, 0, 0)
    assert throughput([], 100.0, 101.0).counts == ()


def test_the_longest_gap_is_between_acknowledgements_of_anybody() -> None:
    writes = [write(0, 1, ended=10), write(0, 2, ended=20), write(1, 1, ended=17), write(1, 2, FAILED, ended=13)]
    assert longest_gap(writes, until=21) == Gap(10, 17)


def test_a_gap_from_before_the_fault_is_not_its_doing() -> None:
    writes = [Write(0, n, WriteOutcome.ACKNOWLEDGED, at, at, "a", 1) for n, at in enumerate((1.0, 6.0, 6.5, 8.5, 9.0))]
    assert longest_gap(writes, 9.0) == Gap(1.0, 6.0)
    assert longest_gap(writes, 9.0, since=6.2) == Gap(6.5, 8.5)
    assert longest_gap(writes, 9.0, since=20.0) is None


def test_an_outage_that_does_not_end_counts_until_the_writers_stopped() -> None:
    assert longest_gap([write(0, 1, ended=10), write(0, 2, ended=11)], until=40) == Gap(11, 40)


def test_without_any_acknowledgement_there_is_no_gap_to_measure() -> None:
    assert longest_gap([write(0, 1, FAILED)], until=40) is None
    assert longest_gap([write(0, 1, ended=5)], until=5) == Gap(5, 5)
