"""Which files have a part of the log, and how pg_waldump is asked for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.wal import PAGE, beginning, is_begun, lsn, of_timeline, position, waldump

SEGMENT = 16 * 1024**2
NAMES = [f"0000000{timeline}000000000000000{number}" for timeline in (2, 3) for number in range(1, 6)]


def test_positions_and_files() -> None:
    assert (position("1/A000000"), lsn(position("1/A000000"))) == (2**32 + 10 * SEGMENT, "1/A000000")
    assert beginning("00000003000000010000000A", SEGMENT) == position("1/A000000")


@pytest.mark.parametrize(
    ("begin", "end", "numbers"),
    [
        (2 * SEGMENT, None, "2345"),
        (2 * SEGMENT + 1, 3 * SEGMENT, "2"),
        (3 * SEGMENT - 1, 3 * SEGMENT + 1, "23"),
        (6 * SEGMENT, None, ""),
    ],
)
def test_files_of_a_part_of_a_timeline(begin: int, end: int | None, numbers: str) -> None:
    others = ["00000003.history", "archive_status", "000000030000000000000003.partial"]
    found = of_timeline([*reversed(NAMES), *others], 3, begin, end, SEGMENT)
    assert found == [f"00000003000000000000000{number}" for number in numbers]


def test_a_file_that_is_only_reserved_has_no_log(tmp_path: Path) -> None:
    file = tmp_path / NAMES[7]
    for content, begun in (
        (PAGE.pack(0xD118, 2, 3, 3 * SEGMENT), True),
        (PAGE.pack(0xD118, 2, 3, 2 * SEGMENT), False),
        (bytes(PAGE.size), False),
        (b"", False),
    ):
        file.write_bytes(content)
        assert is_begun(file, SEGMENT) == begun


def test_pg_waldump_is_told_which_files_to_open_and_starts_where_they_do() -> None:
    files = NAMES[7:9]
    assert waldump("/bin", "/wal", files, 3 * SEGMENT + 40, None, SEGMENT) == [
        "/bin/pg_waldump", "--path=/wal", "--rmgr=Transaction", "--start=0/3000028", *files,
    ]  # fmt: skip
    command = waldump("/bin", "/wal", files, SEGMENT, 4 * SEGMENT, SEGMENT)
    assert command[-4:-2] == ["--start=0/3000000", "--end=0/4000000"]
