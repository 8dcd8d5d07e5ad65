"""The promotion gate where there are guards: whose word counts, and for how long one is waited for."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from stores import Store
from test_promotion_gate import HOSTS, STARTED, STARTED_SINCE, Members, pg_wal, soon, store

from agents import promotion_gate
from agents.keys import ClusterKeys
from agents.promises import Notes
from agents.promotion_gate import Answer, Promises, decide
from agents.timelines import Timelines
from cluster.fencing import Promise, Yielded, written

__all__ = ["pg_wal"]
GUARD = "/pgquorum/shop/guard"


def verdict(kept: Store, members: Members, deadline: float, *, guarded: bool = True) -> tuple[bool, str]:
    notes = Notes(kept, "shop", HOSTS)  # type: ignore[arg-type]
    keys = ClusterKeys(kept, "shop", HOSTS)  # type: ignore[arg-type]
    return decide("db2", keys, members, Timelines(Path()), deadline, Promises(notes, "db2", HOSTS, guarded=guarded))  # type: ignore[arg-type]


def term(kept: Store) -> int:
    _, found = kept.read(["/service/shop/leader"])
    (value,) = found.values()
    assert value
    return value.created


def promise(kept: Store, name: str, lsn: int, started: int = STARTED, timeline: int = 1, **differs: Any) -> None:
    one = Promise(**{"term": term(kept), "timeline": timeline, "lsn": lsn, "started": started, **differs})
    kept.put_if((), {f"{GUARD}/promises/{name}": written(one)})


def give_up(kept: Store, *, lives: bool) -> None:
    """The leader key of db1 was taken away, and the lease that it was tied to."""
    lease = kept.lease(20)
    kept.put_if((), {f"{GUARD}/given_up": written(Yielded(2, "db1", lease))})
    if not lives:
        kept.leases.clear()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion_gate, "PROMISE_SECONDS", 0.0)


def test_a_promise_is_a_vote() -> None:
    kept = store()
    promise(kept, "db3", 500)
    through, why = verdict(kept, Members({"db2": 500}), soon())
    assert through and why == "it holds every acknowledged write"


def test_all_others_are_asked_to_hear_nobody_else() -> None:
    kept = store()
    promise(kept, "db3", 500)
    verdict(kept, Members({"db2": 500}), soon())
    _, found = kept.read([f"{GUARD}/fence"])
    (value,) = found.values()
    assert value
    assert json.loads(value.text) == {"term": term(kept), "candidate": "db2", "against": ["db1", "db3"]}


def test_what_was_promised_counts_and_not_what_was_said() -> None:
    """It may have confirmed more since it was asked."""
    kept = store()
    promise(kept, "db3", 600)
    through, why = verdict(kept, Members({"db2": 500, "db3": 500}), soon())
    assert not through and "db3 has 100 bytes more" in why


def test_a_word_without_a_promise_is_none(impatient: None) -> None:
    kept = store()
    give_up(kept, lives=True)
    through, why = verdict(kept, Members({"db2": 500, "db3": 500}), time.monotonic() + 0.05)
    assert not through and "must say first" in why


def test_a_promise_of_another_term_is_none(impatient: None) -> None:
    kept = store()
    give_up(kept, lives=True)
    promise(kept, "db3", 500, term=2)
    assert not verdict(kept, Members({"db2": 500, "db3": 500}), time.monotonic() + 0.05)[0]


def test_a_promise_of_a_server_that_reads_its_log_yet_is_waited_for(impatient: None) -> None:
    kept = store()
    give_up(kept, lives=True)
    promise(kept, "db3", 500, started=STARTED_SINCE)
    assert not verdict(kept, Members({"db2": 500, "db3": 500}), time.monotonic() + 0.05)[0]


def test_a_gate_without_guards_asks_for_promises_as_long_as_the_lease_of_one_that_was_given_up_lives() -> None:
    """The setting is being taken out, and a guard was quicker."""
    kept = store()
    give_up(kept, lives=True)
    members = Members({"db2": 500, "db3": 500})
    assert not verdict(kept, members, time.monotonic() + 0.05, guarded=False)[0]
    kept.leases.clear()
    assert verdict(kept, members, soon(), guarded=False)[0]


def test_without_guards_nobody_is_asked() -> None:
    kept = store()
    assert verdict(kept, Members({"db2": 500, "db3": 500}), soon(), guarded=False)[0]
    _, found = kept.read([f"{GUARD}/fence"])
    assert list(found.values()) == [None]


def test_what_a_member_says_beyond_its_promise_counts_too() -> None:
    kept = store()
    promise(kept, "db3", 500)
    through, why = verdict(kept, Members({"db2": 500, "db3": 560}), soon())
    assert not through and "db3 has 60 bytes more" in why


@pytest.mark.parametrize("yielded", [True, False])
def test_without_a_living_lease_it_is_as_without_guards(impatient: None, yielded: bool) -> None:
    kept = store()
    if yielded:
        give_up(kept, lives=False)
    assert verdict(kept, Members({"db2": 500, "db3": 500}), soon()) == (True, "it holds every acknowledged write")


def test_a_promise_counts_also_when_words_do(impatient: None) -> None:
    """The member's Patroni hangs, and its guard has answered."""
    kept = store()
    promise(kept, "db3", 500)
    assert verdict(kept, Members({"db2": 500}), soon())[0]


def test_guards_have_a_moment_to_promise() -> None:
    """Also where nobody was given up."""
    kept = store()
    members = Members({"db2": 500, "db3": 500})
    ask = members.ask

    def later(*arguments: Any) -> dict[str, Answer]:
        if len(members.asked) == 2:
            promise(kept, "db3", 700)
        return ask(*arguments)

    members.ask = later  # type: ignore[method-assign]
    through, why = verdict(kept, members, soon())
    assert not through and "db3 has 200 bytes more" in why
