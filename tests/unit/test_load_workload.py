"""What the writers' table tells: its rows as COPY sends them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from day2.history.writes import Row
from day2.load.workload import is_left, lines_of, row_of


def test_rows_arrive_in_blocks_that_need_not_end_where_rows_do() -> None:
    blocks = [memoryview(b"0\t1\t10.0.0.1\t1\t83886080\n1\t1\t10.0"), memoryview(b".0.2\t2\t"), memoryview(b"83886144\n")]
    assert [row_of(line) for line in lines_of(blocks)] == [
        Row(0, 1, "10.0.0.1", 1, 83886080),
        Row(1, 1, "10.0.0.2", 2, 83886144),
    ]
    assert list(lines_of([])) == []


@pytest.mark.parametrize(
    ("table", "left"),
    [
        ("write_20261130_190000_ab12", True),  # of a test that was interrupted
        ("evidence_20260901_235959_ab12", True),
        ("evidence_20260902_000000_ab12", False),  # 90 days ago
        ("evidence_20261130_190000_ab12", False),
        ("evidence_of_somebody", False),
    ],
)
def test_a_test_removes_what_nobody_needs_any_more_and_no_evidence_of_the_last_months(table: str, left: bool) -> None:
    now = datetime(2026, 12, 1, 12, tzinfo=UTC).timestamp()
    assert is_left(table, now) == left
