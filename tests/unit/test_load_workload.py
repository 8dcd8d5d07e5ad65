"""What the writers' table tells: its rows as COPY sends them."""

from __future__ import annotations

from day2.history.writes import Row
from day2.load.workload import lines_of, row_of


def test_rows_arrive_in_blocks_that_need_not_end_where_rows_do() -> None:
    blocks = [memoryview(b"0\t1\t10.0.0.1\t1\t83886080\n1\t1\t10.0"), memoryview(b".0.2\t2\t"), memoryview(b"83886144\n")]
    assert [row_of(line) for line in lines_of(blocks)] == [
        Row(0, 1, "10.0.0.1", 1, 83886080),
        Row(1, 1, "10.0.0.2", 2, 83886144),
    ]
    assert list(lines_of([])) == []
