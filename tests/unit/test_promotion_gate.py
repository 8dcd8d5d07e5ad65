"""The gate before a promotion: what it asks, whom it believes, when it waits, and what it leaves in etcd."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from stores import Store, sync

from agents.keys import ClusterKeys
from agents.promotion_gate import Answer, decide, microseconds, understood
from agents.promotion_gate import Members as Real
from agents.timelines import Timelines
from cluster.quorum import Position

QUORUM = {"synchronous_mode": "quorum"}
HOSTS = ("db1", "db2", "db3")


# When all servers were started, in microseconds since 1970; and one that was started since, which still reads its own log.
STARTED, STARTED_SINCE = 1795996800123456, 1795996860000000


def at(lsn: int, timeline: int = 1, *, whole: bool = True) -> Answer:
    return Answer(Position(timeline, lsn), STARTED if whole else STARTED_SINCE)


def soon() -> float:
    """The deadline of a gate with some patience."""
    return time.monotonic() + 30


class Members:
    """What members answer, one set of answers after the other; the last again and again. A number is a position."""

    def __init__(self, *answers: dict[str, int | Answer | None]) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, ...]] = []

    def ask(self, names: Iterable[str], enough: Callable[[dict[str, Answer]], bool]) -> dict[str, Answer]:
        self.asked.append(tuple(names))
        now = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        full = {name: at(one) if isinstance(one, int) else one or Answer() for name, one in now.items()}
        return {name: full.get(name, Answer()) for name in self.asked[-1]}


def store(**differs: Any) -> Store:
    """db1 has led, its configuration with both others was confirmed, and db2 has taken the leader key."""
    kept = Store()
    kept.put(**{f"log_end_{host}": str(STARTED) for host in HOSTS})
    revision = kept.put(sync=sync("db1", "db2", "db3", quorum=1))
    kept.put(confirmed={"revision": revision, "by": "db1"}, config=QUORUM, promoted={"name": "db1"})
    kept.put(sync=sync("db1", "db2", "db3", quorum=1))
    kept.put(confirmed={"revision": kept.revision, "by": "db1"})
    kept.put(**{"leader": "db2", **differs})
    return kept


def shrunk() -> Store:
    """The same, after db3 left and nobody confirmed that db2 has what only db3 had."""
    kept = store(leader="db1")
    kept.put(sync=sync("db1", "db2", quorum=0))
    kept.put(leader="db2")
    return kept


@pytest.fixture(autouse=True)
def pg_wal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which the candidate's PostgreSQL keeps its log."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def verdict(kept: Store, members: Members, name: str, deadline: float) -> tuple[bool, str]:
    return decide(name, ClusterKeys(kept, "shop", HOSTS), members, Timelines(Path()), deadline)


def judged(kept: Store, members: Members, name: str = "db2") -> tuple[bool, str]:
    """The gate's verdict, with no patience."""
    return verdict(kept, members, name, deadline=0.0)


def test_with_a_vote_in_the_confirmed_configuration_it_is_let_through() -> None:
    kept, members = store(), Members({"db2": 100, "db3": 100})
    assert judged(kept, members) == (True, "it holds every acknowledged write")
    assert members.asked == [("db1", "db2", "db3")]


def test_who_is_let_through_claims_sync_and_is_noted() -> None:
    kept = store()
    before = kept.read(["/service/shop/sync"])[1]["/service/shop/sync"]
    judged(kept, Members({"db2": 100, "db3": 100}))
    after = kept.read(["/service/shop/sync"])[1]["/service/shop/sync"]
    assert before and after and before.text == after.text and after.revision > before.revision
    assert json.loads(kept.text("promoted") or "") == {"name": "db2", "timeline": 2}


def test_it_begins_a_timeline_after_the_one_that_was_begun_last(pg_wal: Path) -> None:
    """db1 was promoted to timeline 3, and nobody has followed it."""
    kept = store()
    kept.put(promoted={"name": "db1", "timeline": 3})
    assert judged(kept, Members({"db2": 100, "db3": 100}))[0]
    assert sorted(file.name for file in pg_wal.iterdir()) == ["00000002.history", "00000003.history"]
    assert json.loads(kept.text("promoted") or "") == {"name": "db2", "timeline": 4}


def test_who_was_let_through_last_itself_leaves_out_no_timeline(pg_wal: Path) -> None:
    kept = store()
    kept.put(promoted={"name": "db2", "timeline": 3})
    assert judged(kept, Members({"db2": 100, "db3": 100}))[0]
    assert not list(pg_wal.iterdir())


def test_who_is_refused_reserves_nothing(pg_wal: Path) -> None:
    kept = shrunk()
    kept.put(promoted={"name": "db1", "timeline": 3})
    assert not judged(kept, Members({"db2": 100}))[0]
    assert not list(pg_wal.iterdir())


def test_a_configuration_that_is_not_confirmed_asks_for_the_one_before_too() -> None:
    kept = shrunk()
    assert judged(kept, Members({"db2": 100})) == (
        False,
        "db1 or db3 must say first how far it is: it may have acknowledged writes that nobody else has",
    )
    assert json.loads(kept.text("promoted") or "") == {"name": "db1"}
    assert judged(kept, Members({"db2": 100, "db3": 130})) == (
        False,
        "db3 has 30 bytes more: writes that may have been acknowledged",
    )
    assert judged(kept, Members({"db2": 100, "db3": 100}))[0]


def test_the_one_that_left_with_more_may_lead_with_the_vote_of_the_one_that_stayed() -> None:
    kept = shrunk()
    kept.put(leader="db3")
    assert judged(kept, Members({"db2": 100, "db3": 130}), "db3")[0]


def test_once_the_smaller_configuration_is_confirmed_nobody_else_is_asked_for() -> None:
    kept = shrunk()
    revision = kept.read(["/service/shop/sync"])[1]["/service/shop/sync"]
    assert revision
    kept.put(confirmed={"revision": revision.revision, "by": "db1"})
    assert judged(kept, Members({"db2": 100}))[0]


def test_history_that_etcd_has_forgotten_asks_for_all_but_one() -> None:
    kept = shrunk()
    kept.compacted = kept.revision
    assert not judged(kept, Members({"db2": 100}))[0]
    assert judged(kept, Members({"db2": 100, "db3": 90}))[0]


def test_whoever_is_on_a_later_timeline_is_ahead_whatever_the_bytes_say() -> None:
    assert judged(store(), Members({"db2": 200, "db3": at(100, timeline=2)})) == (
        False,
        "db3 has timeline 2, and this one 1: writes that may have been acknowledged",
    )
    assert judged(store(), Members({"db2": at(100, timeline=2), "db3": 200}))[0]


def test_it_waits_for_a_server_that_has_not_read_all_of_its_own_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.promotion_gate.AGAIN_SECONDS", 0.0)
    members = Members({"db2": 100, "db3": at(90, whole=False)}, {"db2": 100, "db3": at(100)})
    assert verdict(store(), members, "db2", soon())[0]
    assert len(members.asked) == 2


def test_it_does_not_wait_where_waiting_can_not_help() -> None:
    members = Members({"db2": 100, "db3": 130})
    assert not verdict(shrunk(), members, "db2", soon())[0]
    assert len(members.asked) == 1


def test_a_primary_that_still_answers_keeps_it_out() -> None:
    members = Members({"db1": Answer(primary=True), "db2": 100, "db3": 100})
    assert judged(store(), members) == (False, "db1 still is a primary")


def test_it_does_not_wait_for_a_host_that_is_off_when_the_others_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    off, waited_for = threading.Event(), threading.Event()

    def ask(server: str, *_: object) -> dict[str, object]:
        if server == "db1:8008":
            off.wait(20)
            waited_for.set()
        started = time.strftime(f"%Y-%m-%d %H:%M:%S.{STARTED % 10**6:06}+00:00", time.gmtime(STARTED // 10**6))
        wal = {"received_location": 100, "replayed_location": 100}
        return {"state": "running", "timeline": 1, "xlog": wal, "postmaster_start_time": started}

    monkeypatch.setattr("agents.https.ask", ask)
    asked = Real({name: f"{name}:8008" for name in HOSTS}, ssl.create_default_context())
    through, _ = decide("db2", ClusterKeys(store(), "shop", HOSTS), asked, Timelines(Path()), soon())
    assert through and not waited_for.is_set()
    off.set()


def test_without_the_leader_key_nobody_is_let_through() -> None:
    assert judged(store(leader="db3"), Members({"db2": 100, "db3": 100})) == (False, "it does not hold the leader key any more")


def test_what_is_not_promised_is_not_asked_for() -> None:
    assert judged(store(config={"synchronous_mode": False}), Members({"db2": 1, "db3": 100}))[0]
    assert judged(store(sync=None), Members({"db2": 1, "db3": 100}))[0]


def test_sync_that_changes_under_it_is_read_anew() -> None:
    kept = store()

    class Meddling(Members):
        def ask(self, names: Iterable[str], enough: Callable[[dict[str, Answer]], bool]) -> dict[str, Answer]:
            answers = super().ask(names, enough)
            if len(self.asked) == 1:
                kept.put(sync=sync("db1", quorum=0))  # an old primary that lives on: it means to acknowledge alone
            return answers

    members = Meddling({"db2": 100, "db3": 100})
    through, why = verdict(kept, members, "db2", time.monotonic() + 0.3)
    assert not through and "db1" in why


def test_how_far_the_primary_had_written_is_noted_where_somebody_is_refused_and_gone_with_a_promotion() -> None:
    kept = store(leader="db1", status={"optime": 5000})
    kept.put(sync=sync("db1", "db2", quorum=0), leader=None)
    kept.put(leader="db2")
    kept.put(status={"optime": 100})  # its own, in the round after it has taken the key
    assert not judged(kept, Members({"db2": 100}))[0]
    assert kept.text("written") == "5000"
    kept.put(leader=None)
    kept.put(leader="db2")
    assert not judged(kept, Members({"db2": 100}))[0]
    assert kept.text("written") == "5000"
    assert judged(kept, Members({"db2": 100, "db3": 100}))[0]
    assert kept.text("written") is None


def test_an_accepted_loss_lets_through_whom_it_names_as_long_as_sync_is_the_same() -> None:
    kept = shrunk()
    now = kept.read(["/service/shop/sync"])[1]["/service/shop/sync"]
    assert now
    kept.put(accepted_loss={"name": "db3", "revision": now.revision})
    assert not judged(kept, Members({"db2": 100}))[0]
    kept.put(accepted_loss={"name": "db2", "revision": now.revision - 1})
    assert not judged(kept, Members({"db2": 100}))[0]
    kept.put(accepted_loss={"name": "db2", "revision": now.revision, "answered": ["db2"]})
    assert judged(kept, Members({"db2": 100})) == (True, "its owner has accepted the loss of what it lacks")
    assert kept.text("accepted_loss") is None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01 00:00:01+00:00", 1),
        ("1970-01-01 05:30:01.500000+05:30", 1.5),
        ("1969-12-31 19:00:00.000001-05:00", 0.000001),
        ("2026-11-30 00:00:00", None),
        ("None", None),
    ],
)
def test_when_a_server_was_started(text: str, seconds: float | None) -> None:
    assert microseconds(text) == (None if seconds is None else round(seconds * 1_000_000))


def test_an_accepted_loss_does_not_pass_over_one_that_has_come_back_with_more_since() -> None:
    for answered, through in ((["db2"], False), (["db2", "db3"], True)):
        kept = shrunk()
        now = kept.read(["/service/shop/sync"])[1]["/service/shop/sync"]
        assert now
        kept.put(accepted_loss={"name": "db2", "revision": now.revision, "answered": answered})
        assert judged(kept, Members({"db2": 100, "db3": 200}))[0] is through


def test_an_accepted_loss_does_not_pass_over_one_that_still_reads_its_own_log() -> None:
    kept = shrunk()
    now = kept.read(["/service/shop/sync"])[1]["/service/shop/sync"]
    assert now
    kept.put(accepted_loss={"name": "db2", "revision": now.revision, "answered": ["db2"]})
    assert not judged(kept, Members({"db2": 100, "db3": at(50, whole=False)}))[0]
    assert judged(kept, Members({"db2": 100}))[0]


def test_a_server_that_still_reads_its_own_log_has_no_vote_and_one_that_was_not_noted_neither() -> None:
    members = Members({"db2": 100, "db3": at(50, whole=False)})
    assert not judged(store(), members)[0]
    kept = store()
    kept.put(log_end_db3=str(STARTED_SINCE))
    assert judged(kept, members)[0]
    kept = store(log_end_db3=None)
    assert not judged(kept, Members({"db2": 100, "db3": 100}))[0]


def test_a_server_that_begins_to_read_its_log_anew_while_it_is_asked_has_no_vote() -> None:
    kept = store()

    class Crashing(Members):
        def ask(self, names: Iterable[str], enough: Callable[[dict[str, Answer]], bool]) -> dict[str, Answer]:
            kept.put(log_end_db3=None)
            return super().ask(names, enough)

    assert not judged(kept, Crashing({"db2": 100, "db3": 100}))[0]
    assert kept.text("promoted") == '{"name": "db1"}'


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ({"xlog": {"received_location": 90, "replayed_location": 80}}, at(90)),
        ({"xlog": {"received_location": 70, "replayed_location": 80}}, at(80)),
        # As Patroni answers where nothing was received since the start: it gives one for the other.
        ({"xlog": {"received_location": 80, "replayed_location": 80}}, at(80)),
        ({"xlog": {"received_location": 80, "replayed_location": 80}, "postmaster_start_time": None}, Answer(Position(1, 80))),
        ({"xlog": {"received_location": 90, "replayed_location": 80}, "state": "starting"}, Answer()),
        ({"xlog": {"received_location": 90, "replayed_location": 80}, "timeline": None}, Answer()),
        ({"xlog": {"location": 100}}, Answer(primary=True)),
        ({"state": "stopped"}, Answer()),
    ],
)
def test_what_an_answer_of_a_member_means(said: dict[str, object], answer: Answer) -> None:
    started = {"postmaster_start_time": "2026-11-30 05:30:00.123456+05:30"}
    assert understood({"state": "running", "timeline": 1, **started, **said}) == answer
