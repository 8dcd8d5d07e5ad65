"""Which timeline a promotion begins, and the files that see to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agents.timelines import UNUSED_SECONDS, Timelines

BEGUN = "1\t0/3000060\tno recovery target specified\n"


def names(directory: Path) -> list[str]:
    return sorted(file.name for file in directory.iterdir())


def begun(directory: Path, *numbers: int) -> None:
    for number in numbers:
        (directory / f"{number:08X}.history").write_text(BEGUN)


def age(directory: Path, number: int, seconds: float) -> None:
    file = directory / f"{number:08X}.history"
    then = file.stat().st_mtime - seconds
    os.utime(file, (then, then))


@pytest.mark.parametrize(
    ("there", "own", "last", "chosen"),
    [
        ((), 1, 0, 2),
        ((), 1, 1, 2),
        ((), 1, 2, 3),
        ((), 1, 4, 5),
        ((2,), 1, 0, 3),  # PostgreSQL goes on from the newest that it finds
        ((2, 3), 1, 2, 4),
        ((3,), 1, 0, 2),  # and looks no further than the first gap
        ((3,), 1, 2, 4),
        ((2, 3), 3, 3, 4),
    ],
)
def test_the_one_after_all_that_were_begun(tmp_path: Path, there: tuple[int, ...], own: int, last: int, chosen: int) -> None:
    begun(tmp_path, *there)
    assert Timelines(tmp_path).next(own, last) == chosen


def test_a_number_that_can_not_be_true_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="timeline 4000000000 can't have been begun while this server is on 1"):
        Timelines(tmp_path).next(1, 4_000_000_000)


def test_what_lies_between_is_reserved_and_nothing_that_is_there_is_touched(tmp_path: Path) -> None:
    begun(tmp_path, 3)
    Timelines(tmp_path).reserve(1, 5)
    assert names(tmp_path) == ["00000002.history", "00000003.history", "00000004.history"]
    assert (tmp_path / "00000003.history").read_text() == BEGUN
    assert (tmp_path / "00000002.history").read_text().startswith("1\t0/1\tpgquorum: ")


def test_what_was_reserved_is_released_when_no_promotion_came(tmp_path: Path) -> None:
    begun(tmp_path, 2)
    timelines = Timelines(tmp_path)
    timelines.reserve(2, 5)
    assert timelines.release() == []
    age(tmp_path, 3, UNUSED_SECONDS + 1)
    age(tmp_path, 4, UNUSED_SECONDS + 1)
    assert timelines.release() == [4, 3]
    assert names(tmp_path) == ["00000002.history"]


def test_what_was_used_stays(tmp_path: Path) -> None:
    """Whoever follows asks for the history of each number up to the new one."""
    timelines = Timelines(tmp_path)
    timelines.reserve(1, 3)
    begun(tmp_path, 3)
    age(tmp_path, 2, 3600)
    assert timelines.release() == []
    assert names(tmp_path) == ["00000002.history", "00000003.history"]


def test_without_a_server_there_is_nothing_to_release(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        Timelines(tmp_path / "pg_wal").release()


def test_what_is_taken_up_has_the_whole_descent_of_its_parent(tmp_path: Path) -> None:
    """A server whose last restartpoint is on timeline 1 has to find it among the ancestors, or it waits for ever."""
    begun(tmp_path, 2)
    Timelines(tmp_path).reserve(2, 5)
    for number in (3, 4):
        lines = (tmp_path / f"{number:08X}.history").read_text().splitlines(keepends=True)
        assert lines[0] == BEGUN and lines[1].startswith("2\t0/1\t") and len(lines) == 2
