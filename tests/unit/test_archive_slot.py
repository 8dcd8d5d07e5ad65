"""How far archiving has come, what keeps write-ahead log until then, and who archives what whoever leads lacks."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from agents.archive_note import GIVE_UP_SECONDS, ArchiveNotes, Progress, handed_in, led, of_leader, on_line
from agents.archive_slot import CREATE, DROP_LOST, WAITING, ArchiveSlot, archived_to, push_by
from agents.etcd import Compare, Value
from agents.unarchived import Log
from cluster.slots import ARCHIVE

SIZE = 16 * 1024 * 1024
FIFTH = "000000030000000000000005"
KEY, LEADER = "/pgquorum/shop/archived", "/service/shop/leader"


def segment(timeline: int, number: int) -> str:
    return f"{timeline:08X}{number // 256:08X}{number % 256:08X}"


@pytest.mark.parametrize(
    ("written", "waiting", "place"),
    [
        (7 * SIZE + 40, [], 7 * SIZE),
        (7 * SIZE, [], 7 * SIZE),
        (7 * SIZE + 40, ["000000030000000000000006", FIFTH], 5 * SIZE),
        (7 * SIZE + 40, ["00000003.history", "000000030000000000000006.partial"], 7 * SIZE),
        (0x1_0000_0000 + SIZE, ["0000000300000001" + "00000000"], 0x1_0000_0000),
    ],
)
def test_what_waits_and_the_file_that_is_being_written_are_kept(written: int, waiting: list[str], place: int) -> None:
    assert archived_to(written, waiting, SIZE) == place


def at(to: int, lacks: int | None = None, beyond: int = 0, since: float = 0.0, timeline: int = 3) -> Progress:
    """In segments."""
    return Progress(to * SIZE, timeline, "", None if lacks is None else lacks * SIZE, beyond * SIZE, since)


def test_a_leader_that_has_all_since_notes_how_far_it_has_archived_and_never_less() -> None:
    assert led(at(5), 3 * SIZE, 8 * SIZE, 0.0) == at(8)
    assert led(at(5), 5 * SIZE, 4 * SIZE, 0.0) == at(5)  # what was archived is to be archived once more
    assert led(at(5, lacks=7, beyond=9), 4 * SIZE, 6 * SIZE, 0.0) == at(6)  # another leads, who lacks nothing


def test_one_that_was_made_anew_says_what_it_lacks_until_that_is_archived() -> None:
    gap = led(at(5), 9 * SIZE, 11 * SIZE, 100.0)
    assert gap == at(5, lacks=9, beyond=11, since=100.0)
    later = led(gap, 10 * SIZE, 14 * SIZE, 200.0)  # it recycles what it has archived itself
    assert later == at(5, lacks=9, beyond=14, since=100.0)
    assert led(handed_in(later, 7 * SIZE), 10 * SIZE, 14 * SIZE, 300.0) == at(7, lacks=9, beyond=14, since=100.0)
    assert led(handed_in(later, 9 * SIZE), 10 * SIZE, 15 * SIZE, 300.0) == at(15)


def test_a_second_leader_that_lacks_more_says_so_and_one_that_lacks_less_goes_on() -> None:
    gap = at(5, lacks=9, beyond=11, since=100.0)
    assert led(gap, 13 * SIZE, 14 * SIZE, 200.0) == at(5, lacks=13, beyond=14, since=100.0)
    assert led(gap, 11 * SIZE, 14 * SIZE, 200.0) == at(5, lacks=9, beyond=14, since=100.0)


def test_a_gap_that_nobody_fills_though_archiving_works_is_given_up() -> None:
    gap, late = at(5, lacks=9, beyond=11, since=100.0), 100.0 + GIVE_UP_SECONDS + 1
    assert led(gap, 10 * SIZE, 14 * SIZE, late - 2) == at(5, lacks=9, beyond=14, since=100.0)
    assert led(gap, 10 * SIZE, 14 * SIZE, late) == at(14)
    stuck = at(5, lacks=9, beyond=9, since=100.0)
    assert led(stuck, 9 * SIZE, 9 * SIZE, late) == stuck  # the repository is still away


def test_what_an_earlier_timeline_had_archived_beyond_the_fork_is_not_archived_on_this_one() -> None:
    left = {3: 6 * SIZE + 40}
    assert on_line(at(8), 4, left, SIZE) == at(6, timeline=4)
    assert on_line(at(5), 4, left, SIZE) == at(5, timeline=4)
    assert on_line(at(4, lacks=8, beyond=9), 4, left, SIZE) == at(4, lacks=6, beyond=6, timeline=4)
    assert on_line(at(7, lacks=8, beyond=9), 4, left, SIZE) == at(6, beyond=6, timeline=4)
    assert on_line(at(8), 3, left, SIZE) == at(8) and on_line(at(8), 5, {}, SIZE) == at(8)


def test_what_was_noted_by_one_whom_nobody_followed_counts_as_far_as_this_one_has_archived() -> None:
    assert of_leader(at(8, timeline=2), 3, {1: 7 * SIZE}, SIZE, 7 * SIZE) == at(7, timeline=3)
    assert of_leader(at(5, timeline=2), 3, {1: 7 * SIZE}, SIZE, 7 * SIZE) == at(5, timeline=3)
    assert of_leader(at(8, timeline=1), 3, {1: 7 * SIZE}, SIZE, 9 * SIZE) == at(7, timeline=3)
    assert on_line(at(8, timeline=2), 3, {1: 7 * SIZE}, SIZE) == at(8, timeline=2)  # a replica leaves it to whoever leads


def test_from_where_on_nothing_is_missing_on_a_server() -> None:
    names = (segment(1, 3), segment(1, 4), segment(1, 5), segment(2, 5), segment(2, 6), segment(2, 9))
    log = Log(names, 2, {1: 5 * SIZE + 40}, SIZE)
    assert [name for name, _ in log.whole()] == [names[0], names[1], names[3], names[4], names[5]]
    assert log.begins(6 * SIZE + 8) == 3 * SIZE  # a file beyond is one that is to be used again
    assert log.begins(9 * SIZE + 8) == 9 * SIZE
    assert Log((), 0, {}, 0).begins(77) == 77


class Server:
    """A PostgreSQL, and the files of its log."""

    def __init__(self, position: int, slot: int | None, *, recovering: bool, waiting: tuple[str, ...] = ()) -> None:
        self.state = {
            "recovering": recovering, "position": position, "slot": slot, "segment_size": SIZE, "archives": True,
        }  # fmt: skip
        self.waiting, self.asked = waiting, []  # type: ignore[var-annotated]

    def ask(self, statement: str) -> Any:
        self.asked.append(statement)
        return list(self.waiting) if statement == WAITING else self.state

    @property
    def moved(self) -> list[str]:
        return [one for one in self.asked if "advance" in one]


class Store:
    """etcd with the leader `db1`."""

    def __init__(self, noted: Progress | None, leader: str = "db1") -> None:
        self.values = {KEY: Value(json.dumps(asdict(noted)), 1, 7)} if noted else {}
        self._leader = leader

    def read(self, keys: tuple[str, ...]) -> tuple[int, dict[str, Value | None]]:
        return 9, {key: self.values.get(key) for key in keys}

    def put_if(self, conditions: list[Compare], values: dict[str, str]) -> bool:
        for one in conditions:
            there = self.values.get(one.key)
            if one.key == LEADER and one.text != self._leader:
                return False
            if one.key == KEY and one.revision != (there.revision if there else 0):
                return False
        self.values |= {key: Value(text, 1, 8) for key, text in values.items()}
        return True

    @property
    def noted(self) -> Progress:
        return Progress(**json.loads(self.values[KEY].text))


def wal(place: Path, *names: str, history: str = "") -> Path:
    (place / "archive_status").mkdir()
    for name in names:
        with (place / name).open("xb") as file:
            file.truncate(SIZE)
    if history:
        (place / "00000003.history").write_text(history)
    return place


def slot(server: Server, store: Store, pg_wal: Path, pushed: list[str], name: str = "db1", works: int = 99) -> ArchiveSlot:
    def push(file: Path) -> bool:
        pushed.append(file.name)
        return len(pushed) <= works

    return ArchiveSlot(server, ArchiveNotes(store, "shop", name), pg_wal, push, pg_wal / "config")  # type: ignore[arg-type]


def advanced(to: int) -> str:
    return f"SELECT to_json(pg_replication_slot_advance('{ARCHIVE}', '0/0'::pg_lsn + {to})::text);"


def test_every_server_has_the_slot_and_one_that_has_lost_something_gets_it_anew(tmp_path: Path) -> None:
    server, pushed = Server(7 * SIZE, None, recovering=True), []  # type: ignore[var-annotated]
    slot(server, Store(None), tmp_path, pushed).settle()
    assert server.asked[:2] == [DROP_LOST, CREATE] and server.moved == []
    silent = Server(7 * SIZE, None, recovering=True)
    silent.state["position"] = None
    slot(silent, Store(at(5)), tmp_path, pushed).settle()
    assert silent.moved == []


def test_the_leader_notes_how_far_it_has_come_and_moves_its_slot_there(tmp_path: Path) -> None:
    here = wal(tmp_path, *(segment(3, n) for n in range(3, 9)))
    server, store = Server(8 * SIZE + 5, 3 * SIZE, recovering=False, waiting=(segment(3, 6),)), Store(at(4))
    slot(server, store, here, []).settle()
    assert store.noted == replace(at(6), by="db1")
    assert server.moved == [advanced(6 * SIZE)]
    first = Store(None)
    slot(Server(8 * SIZE + 5, 3 * SIZE, recovering=False), first, here, []).settle()
    assert first.noted == replace(at(8), by="db1")


def test_one_that_does_not_hold_the_leader_key_notes_nothing_and_moves_nothing(tmp_path: Path) -> None:
    here = wal(tmp_path, *(segment(3, n) for n in range(3, 9)))
    server, store = Server(8 * SIZE, 3 * SIZE, recovering=False), Store(at(4), leader="db2")
    slot(server, store, here, []).settle()
    assert store.noted == at(4) and server.moved == []


def test_a_replica_keeps_what_the_leader_lacks_archives_it_and_says_so(tmp_path: Path) -> None:
    here = wal(tmp_path, *(segment(2, n) for n in (3, 4, 5)), *(segment(3, n) for n in (5, 6, 7)), history="2\t0/5800000\tx\n")
    gap = replace(at(4, lacks=7, beyond=9, since=1.0), by="db1")
    server, store, pushed = Server(9 * SIZE, 3 * SIZE, recovering=True), Store(gap), []  # type: ignore[var-annotated]
    slot(server, store, here, pushed, "db3").settle()
    assert pushed == [segment(2, 4), segment(3, 5), segment(3, 6)]
    assert store.noted == replace(gap, to=7 * SIZE)
    assert server.moved == [advanced(7 * SIZE)]


def test_what_it_can_not_archive_stays(tmp_path: Path) -> None:
    here, gap = wal(tmp_path, *(segment(3, n) for n in (4, 5, 6))), at(4, lacks=7, beyond=9, since=1.0)
    for works, to in ((0, 4), (2, 6)):
        server, store, pushed = Server(9 * SIZE, 3 * SIZE, recovering=True), Store(gap), []  # type: ignore[var-annotated]
        slot(server, store, here, pushed, "db3", works).settle()
        assert len(pushed) == works + 1 if works else pushed
        assert store.noted == replace(gap, to=to * SIZE)
        assert server.moved == [advanced(to * SIZE)]


def test_one_that_lacks_it_too_archives_nothing(tmp_path: Path) -> None:
    here, gap, pushed = wal(tmp_path, segment(3, 5), segment(3, 6)), at(4, lacks=7, beyond=9), []  # type: ignore[var-annotated]
    slot(Server(9 * SIZE, 5 * SIZE, recovering=True), Store(gap), here, pushed, "db3").settle()
    assert pushed == []


def test_a_replica_s_slot_is_not_moved_beyond_what_it_has_itself(tmp_path: Path) -> None:
    server = Server(6 * SIZE + 9, 3 * SIZE, recovering=True)
    slot(server, Store(at(8)), wal(tmp_path, segment(3, 6)), [], "db3").settle()
    assert server.moved == [advanced(6 * SIZE + 9)]


def test_after_a_failover_it_stays_where_the_timelines_part_until_the_new_leader_has_noted(tmp_path: Path) -> None:
    here = wal(tmp_path, segment(2, 6), segment(3, 6), history="2\t0/6800000\tx\n")
    server = Server(8 * SIZE, 3 * SIZE, recovering=True)
    slot(server, Store(at(8, timeline=2)), here, [], "db3").settle()
    assert server.moved == [advanced(6 * SIZE)]


@pytest.mark.parametrize(("command", "works"), [("/bin/true", True), ("/bin/false", False), ("/bin/none", False)])
def test_a_file_is_archived_when_the_program_says_so(command: str, works: bool, tmp_path: Path) -> None:
    assert push_by(command)(tmp_path / segment(3, 4)) is works


def test_a_primary_has_archived_what_came_with_its_copy_and_has_no_mark(tmp_path: Path) -> None:
    here = wal(tmp_path, *(segment(3, n) for n in (2, 4, 5, 6, 7, 8)))
    (here / "archive_status" / f"{segment(3, 5)}.done").touch()
    (here / "archive_status" / f"{segment(3, 6)}.ready").touch()
    slot(Server(7 * SIZE + 5, 3 * SIZE, recovering=False), Store(at(4)), here, []).settle()
    there = {file.name for file in (here / "archive_status").iterdir()}
    # Not the file that is being written, nor those that are to be used again, nor what lies alone before.
    assert there == {f"{segment(3, 4)}.ready", f"{segment(3, 5)}.done", f"{segment(3, 6)}.ready"}


@pytest.mark.parametrize(
    ("recovering", "archives", "since", "marked"),
    [
        (False, True, 1_000, ["00000002.history", "00000003.history"]),
        (False, True, 500, ["00000003.history"]),  # the repositories are older than what was archived; of one there is no mark
        (False, False, 1_000, []),  # archive_command does nothing yet
        (True, True, 1_000, []),
    ],
)
def test_the_histories_of_its_line_are_archived_anew_where_there_may_be_a_new_repository(
    tmp_path: Path, recovering: bool, archives: bool, since: int, marked: list[str]
) -> None:
    pg_wal = wal(tmp_path, segment(3, 6), segment(3, 7), history="1\t0/1000000\tx\n\n2\t0/5000000\tx\n")
    for number in (2, 4):  # the fourth is what a promotion that did not come has left
        (pg_wal / f"{number:08X}.history").write_text("1\t0/1000000\tx\n" if number == 2 else "3\t0/1\tpgquorum: begun\n")
        done = pg_wal / "archive_status" / f"{number:08X}.history.done"
        done.touch()
        os.utime(done, (700, 700))
    (pg_wal / "config").touch()
    os.utime(pg_wal / "config", (since, since))
    server = Server(7 * SIZE + 40, None, recovering=recovering)
    server.state["archives"] = archives
    slot(server, Store(None), pg_wal, []).settle()
    waiting = sorted(file.stem for file in (pg_wal / "archive_status").glob("*.history.ready"))
    assert waiting == marked
    slot(server, Store(None), pg_wal, []).settle()
    assert sorted(file.stem for file in (pg_wal / "archive_status").glob("*.history.ready")) == marked
