"""The rules by which a primary that is gone is given up, and by which a fence stays."""

from __future__ import annotations

import json

import pytest

from cluster.fencing import Fence, Promise, Sighting, Yielded, agreed, holds, read, refusal, written
from cluster.quorum import Configuration, Position, Promotion

HOSTS = ("db1", "db2", "db3")
BOTH = Configuration(9, "db1", frozenset({"db2", "db3"}), 1)
GONE = Sighting("db1", 7, silent=True)
SEEN = Sighting("db1", 7, silent=False)
QUORUM = json.dumps({"synchronous_mode": "quorum", "synchronous_mode_strict": True})


def test_both_voters_must_miss_the_leader() -> None:
    assert agreed("db1", 7, BOTH, HOSTS, {"db2": GONE, "db3": GONE}) == ""
    assert agreed("db1", 7, BOTH, HOSTS, {"db2": GONE, "db3": None}) == "1 of the 2 voters that it takes do not see db1"


def test_who_sees_it_has_the_last_word() -> None:
    assert agreed("db1", 7, BOTH, HOSTS, {"db2": GONE, "db3": SEEN}) == "db3 can see db1"
    five = Configuration(9, "db1", frozenset({"db2", "db3"}), 1)
    hosts = (*HOSTS, "db4", "db5")
    assert agreed("db1", 7, five, hosts, {"db2": GONE, "db3": GONE, "db4": GONE, "db5": SEEN}) == "db5 can see db1"


def test_one_voter_needs_a_witness() -> None:
    """Where the other is no voter any more it still has to miss the leader."""
    alone = Configuration(9, "db1", frozenset({"db2"}), 0)
    assert agreed("db1", 7, alone, HOSTS, {"db2": GONE}) == "1 of 3 hosts do not see db1, which is no majority"
    assert agreed("db1", 7, alone, HOSTS, {"db2": GONE, "db3": GONE}) == ""
    assert agreed("db1", 7, alone, HOSTS, {"db3": GONE}) == "0 of the 1 voters that it takes do not see db1"


@pytest.mark.parametrize("other", [Sighting("db3", 7, silent=True), Sighting("db1", 6, silent=True)])
def test_what_is_said_of_another_or_of_another_term_counts_for_nothing(other: Sighting) -> None:
    assert "1 of the 2 voters" in agreed("db1", 7, BOTH, HOSTS, {"db2": GONE, "db3": other})


def test_a_leader_does_not_judge_itself() -> None:
    assert "0 of the 2" in agreed("db1", 7, BOTH, HOSTS, {"db1": GONE})


@pytest.mark.parametrize(
    ("config", "failover", "why"),
    [
        (QUORUM, None, ""),
        (QUORUM, "{}", ""),
        (QUORUM, '{"leader":"db1","member":"db2"}', "a switchover is under way"),
        (QUORUM, '{"leader":"db1"}', "a switchover is under way"),
        (QUORUM, '{"member":"db2","scheduled_at":"2026-12-24T03:00:00+00:00"}', "a switchover is under way"),
        (QUORUM, '"db1:db2"', "a switchover is under way"),
        (json.dumps({"synchronous_mode": "quorum", "pause": True}), None, "the cluster is paused"),
        (json.dumps({"synchronous_mode": True}), None, "replication is not synchronous by quorum"),
        (json.dumps({}), None, "replication is not synchronous by quorum"),
        (None, None, "replication is not synchronous by quorum"),
    ],
)
def test_what_is_left_to_the_lease(config: str | None, failover: str | None, why: str) -> None:
    assert refusal("db1", BOTH, config, failover) == why


def test_a_sync_of_another_time_is_waited_for() -> None:
    assert refusal("db2", BOTH, QUORUM, None) == "/sync is of db1's time yet"


def test_a_configuration_that_says_nothing_is_no_permission() -> None:
    with pytest.raises(ValueError, match=r"Expecting"):
        refusal("db1", BOTH, "{", None)
    with pytest.raises(ValueError, match=r"Expecting"):
        refusal("db1", BOTH, QUORUM, "db1:db2")


FENCE = Fence(20, "db2", ("db1",))


@pytest.mark.parametrize(
    ("promoted", "timeline", "stays"),
    [
        (None, 4, True),
        (Promotion("db1", 7, 3), 4, True),  # of before
        (Promotion("db2", 22, 4), 3, True),
        (Promotion("db2", 22, 4), None, True),
        (Promotion("db2", 22, 5), 4, True),  # a timeline that a former primary may have begun
        (Promotion("db2", 22, 4), 4, False),
        (Promotion("db3", 30, 5), 5, False),
    ],
)
def test_how_long_a_promise_binds(promoted: Promotion | None, timeline: int | None, stays: bool) -> None:
    assert holds(20, promoted, timeline) == stays


@pytest.mark.parametrize("note", [FENCE, Promise(20, 3, 900, 17), GONE, Yielded(7, "db1", 88)])
def test_notes_are_read_as_they_were_written(note: Fence | Promise | Sighting | Yielded) -> None:
    assert read(type(note), written(note)) == note


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"term": 1}', '{"term": 1, "what": 2}'])
def test_what_can_not_be_understood_is_no_note(text: str | None) -> None:
    assert read(Promise, text) is None


def test_a_promise_says_where_it_is() -> None:
    assert Promise(20, 3, 900).position == Position(3, 900)
