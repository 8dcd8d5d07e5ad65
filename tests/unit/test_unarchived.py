"""Which files a server has archived when it takes over, and that it does not touch any other."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from agents.unarchived import left_at, mark, on_the_line

MIB = 1024 * 1024
SIZE = 16 * MIB
HISTORY = "1\t0/5000060\tno recovery target specified\n\n2\t0/9A00000\tno recovery target specified\n"


def segment(timeline: int, number: int) -> str:
    return f"{timeline:08X}{number // 256:08X}{number % 256:08X}"


def write(pg_wal: Path, done: list[str], others: tuple[str, ...] = (), size: int = SIZE) -> None:
    (pg_wal / "archive_status").mkdir()
    for name in (*done, *others):
        with (pg_wal / name).open("xb") as file:
            file.truncate(size)
    for name in done:
        (pg_wal / "archive_status" / f"{name}.done").touch()


def marks(pg_wal: Path) -> set[str]:
    return {file.name for file in (pg_wal / "archive_status").iterdir()}


def test_a_history_file_says_where_each_timeline_was_left() -> None:
    assert left_at(HISTORY) == {1: 0x5000060, 2: 0x9A00000}
    stopped_before_it_began = "1\t0/3000000\tx\n\n2\t0/6000000\tx\n\n3\t0/5000000\tbefore 2026-11-29 07:00:00+00\n"
    assert left_at(stopped_before_it_began) == {1: 0x3000000, 2: 0x5000000, 3: 0x5000000}
    assert left_at("3\tA/FF000000\tbefore 2026-11-29 07:00:00+00\n") == {3: 0xAFF000000}


def test_on_the_first_timeline_all_that_was_received_waits(tmp_path: Path) -> None:
    received = [segment(1, number) for number in (4, 5, 255, 256)]
    write(tmp_path, received, (segment(1, 257),))
    assert mark(tmp_path) == 4
    assert marks(tmp_path) == {f"{name}.ready" for name in received}
    assert mark(tmp_path) == 0


def test_what_waits_from_now_on_has_not_waited_since_it_was_received(tmp_path: Path) -> None:
    """`status` says by the age of the mark how long a file has waited."""
    write(tmp_path, [segment(1, 4), segment(1, 5)])
    done = tmp_path / "archive_status" / f"{segment(1, 4)}.done"
    os.utime(done, (1000.0, 1000.0))
    mark(tmp_path)
    assert time.time() - done.with_suffix(".ready").stat().st_mtime < 600


def test_of_a_timeline_that_was_left_in_the_middle_of_a_file_that_file_is_left_alone(tmp_path: Path) -> None:
    """Another server may have written, and archived, another rest of it."""
    whole, cut = [segment(1, 3), segment(1, 4), segment(2, 5), segment(2, 8)], [segment(1, 5), segment(2, 9)]
    write(tmp_path, [*whole, *cut, segment(3, 10), "00000003.history"])
    (tmp_path / "00000003.history").write_text(HISTORY)
    mark(tmp_path)
    assert {name for name in marks(tmp_path) if name.endswith(".done")} == {f"{name}.done" for name in cut}


def test_so_it_is_before_the_first_file_of_the_new_timeline_is_received(tmp_path: Path) -> None:
    write(tmp_path, [segment(1, 4), segment(1, 5)], (segment(2, 5),))
    (tmp_path / "00000002.history").write_text("1\t0/5000060\tno recovery target specified\n")
    mark(tmp_path)
    assert marks(tmp_path) == {f"{segment(1, 4)}.ready", f"{segment(1, 5)}.done"}


def test_a_timeline_that_is_only_reserved_is_not_the_one_it_is_on(tmp_path: Path) -> None:
    write(tmp_path, [segment(1, 4)])
    (tmp_path / "00000002.history").write_text("1\t0/1\tpgquorum: begun by a server that nobody followed\n")
    assert mark(tmp_path) == 1


def test_a_line_that_was_abandoned_is_left_alone() -> None:
    names = [segment(1, 4), segment(2, 5), segment(3, 6), "00000002.history", "00000003.history"]
    assert on_the_line(names, 3, {1: 5 * SIZE}, SIZE) == [segment(1, 4), "00000003.history", segment(3, 6)]


@pytest.mark.parametrize("name", ["000000010000000000000005.partial", "000000010000000000000005.00000028.backup", "xlogtemp.7"])
def test_what_is_no_whole_file_of_the_log_is_left_alone(name: str) -> None:
    assert on_the_line([name], 1, {}, SIZE) == []


def test_the_size_of_files_is_what_it_is(tmp_path: Path) -> None:
    write(tmp_path, [f"{1:08X}{0:08X}{1:08X}", "00000002.history"], (f"{2:08X}{0:08X}{2:08X}",), size=64 * MIB)
    (tmp_path / "00000002.history").write_text(f"1\t0/{2 * 64 * MIB:X}\tno recovery target specified\n")
    mark(tmp_path)
    assert marks(tmp_path) == {f"{1:08X}{0:08X}{1:08X}.ready", "00000002.history.ready"}


def test_an_empty_directory_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "archive_status").mkdir()
    assert mark(tmp_path) == 0
