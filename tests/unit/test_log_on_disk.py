"""The write-ahead log that hosts have and the archive lacks: where it ends, and what of it is handed in before a restore."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from agents import log_on_disk
from cluster.archive import archived, name_of
from cluster.recovery import Archive, parse_target, timeline_of
from cluster.timelines import timelines
from day2.recovery.logs import Log, completed, furthest, lacking

SIZE = 16 * 1024**2
HISTORY = "1\t0/3000060\tno recovery target specified\n"


def written(pg_wal: Path, *names: str) -> Path:
    for name in names:
        with (pg_wal / name).open("xb") as file:
            file.truncate(SIZE)
    return pg_wal


def test_of_a_log_that_has_gone_on_to_another_timeline_all_whole_files_count(tmp_path: Path) -> None:
    """The file in which a timeline was left is no whole one, and later ones are only reserved."""
    written(tmp_path, *(name_of(1, n) for n in (2, 3)), *(name_of(2, n) for n in (3, 4, 5, 6)))
    (tmp_path / "00000002.history").write_text(HISTORY)
    there = log_on_disk.look(tmp_path)
    told = log_on_disk.told(there, 5 * SIZE + 100)
    assert told["timeline"] == 2 and told["histories"][2][0] == HISTORY
    assert told["whole"] == [name_of(1, 2), name_of(2, 3), name_of(2, 4)] and told["part"] == name_of(2, 5)
    assert log_on_disk.told(there, 5 * SIZE)["part"] == ""


def test_it_is_read_from_the_last_place_that_is_known_on_its_timeline(tmp_path: Path) -> None:
    written(tmp_path, name_of(2, 5))
    (tmp_path / "00000002.history").write_text(HISTORY)
    there = log_on_disk.look(tmp_path)
    state = {
        "Latest checkpoint location": "0/2000028", "Latest checkpoint's TimeLineID": "1",
        "Minimum recovery ending location": "0/0", "Min recovery ending loc's timeline": "0",
    }  # fmt: skip
    assert log_on_disk.begin(state, there) == 0x3000060, "its last checkpoint is of the timeline before"
    state |= {"Minimum recovery ending location": "0/5000400", "Min recovery ending loc's timeline": "2"}
    assert log_on_disk.begin(state, there) == 0x5000000, "what is there before that on this timeline is read, too"
    command = log_on_disk.reading("/bin", tmp_path, there, 0x5000400)
    assert command[-3:] == ["--start=0/5000400", name_of(2, 5), name_of(2, 5)]
    assert log_on_disk.reading("/bin", tmp_path, there, 0x6000000) == ["true"]


def test_where_it_ends_is_what_pg_waldump_complains_of(tmp_path: Path) -> None:
    there = log_on_disk.look(written(tmp_path, name_of(1, 5)))
    for said, end in (
        ("error in WAL record at 0/5000100: invalid record length at 0/5000128: expected at least 24, got 0", 0x5000128),
        ("unexpected pageaddr 0/2000000 in WAL segment 000000010000000000000006, LSN 0/6000000, offset 0", 0x6000000),
        ('pg_waldump: error: could not find file "000000010000000000000006": No such file or directory', 0x6000000),
        ("could not find a valid record after 0/5000000", 0x5000000),
        ("", 0x6000000),
    ):
        assert log_on_disk.end(said, there, 0x5000000) == end, said


def log(timeline: int, end: int, whole: tuple[str, ...] = (), part: str = "", system: str = "7") -> Log:
    return Log(system, timeline, end, whole, part, {2: (HISTORY, 1_500.0)} if timeline == 2 else {})


ARCHIVE = Archive((), timelines({}), "7", {"local": archived({"0000000100000000": [[2, 3, 900.0]]})}, {})


def test_a_timeline_that_only_hosts_know_of_is_the_newest_there_is() -> None:
    known = completed(ARCHIVE, {"db1": log(1, 100), "db2": log(2, 200)}).timelines
    assert timeline_of(known, parse_target("latest"), None, None).number == 2
    assert known[2].parent == 1 and known[2].began == 1_500.0
    assert set(completed(ARCHIVE, {"db2": log(2, 200, system="8")}).timelines) == {1}, "of another cluster"


def test_the_host_whose_log_goes_furthest_is_on_the_newest_timeline() -> None:
    assert furthest({"db1": log(1, 900), "db2": log(2, 200), "db3": log(2, 300)}) == "db3"
    assert furthest({}) is None


def test_what_the_archive_lacks_is_handed_in_once_and_the_last_file_by_who_has_most_of_it() -> None:
    whole = tuple(name_of(1, n) for n in (1, 2, 3, 4))
    logs = {"db1": log(1, 5 * SIZE + 5, whole, name_of(1, 5)), "db2": log(1, 5 * SIZE + 9, whole[1:], name_of(1, 5))}
    logs["db3"] = log(1, 10 * SIZE, (name_of(1, 9),), system="8")
    # The first is older than all that is archived: no backup needs it any more.
    assert lacking(ARCHIVE, logs) == {"db2": [name_of(1, 4), name_of(1, 5)], "db1": []}
    assert lacking(ARCHIVE, {"db1": log(2, 9 * SIZE)}) == {"db1": ["00000002.history"]}


def test_a_file_that_one_repository_has_is_handed_in_whole_or_not_at_all() -> None:
    """The whole one is the same everywhere. The last one of a host is not what somebody else has archived by that name."""
    both = replace(ARCHIVE, files={**ARCHIVE.files, "s3": archived({"0000000100000000": [[2, 5, 900.0]]})})
    logs = {"db1": log(1, 5 * SIZE + 5, (name_of(1, 4),), name_of(1, 5))}
    assert lacking(both, logs) == {"db1": [name_of(1, 4)]}
