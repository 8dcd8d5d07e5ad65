"""The rule by which a replica may be promoted, on its own; test_protocol.py has it at work."""

from __future__ import annotations

from itertools import combinations

import pytest

from cluster.quorum import Configuration, Position, Promotion, confirms, in_words, parse, shortfalls, unknown

ALL = Configuration(10, "n1", frozenset({"n2", "n3"}), 1)
ONLY_N2 = Configuration(11, "n1", frozenset({"n2"}), 0)
NONE = Configuration(12, "n1", frozenset(), 0)
FIVE = Configuration(13, "n1", frozenset({"n2", "n3", "n4", "n5"}), 2)


def at(lsn: int, timeline: int = 1) -> Position:
    return Position(timeline, lsn)


def test_a_value_of_sync_is_understood() -> None:
    assert parse('{"leader":"n1","quorum":1,"sync_standby":"n2,n3"}', 10) == ALL
    assert parse('{"leader":"n1","quorum":0,"sync_standby":"n2"}', 11) == ONLY_N2


@pytest.mark.parametrize("standbys", ['""', "null"])
def test_a_leader_without_voters(standbys: str) -> None:
    assert parse(f'{{"leader":"n1","quorum":0,"sync_standby":{standbys}}}', 12) == NONE


@pytest.mark.parametrize("value", [None, "", "{}", '{"leader":null,"sync_standby":"n2"}', '{"leader":""}'])
def test_without_a_leader_there_is_no_configuration(value: str | None) -> None:
    assert parse(value, 10) is None


@pytest.mark.parametrize("value", ["{", "[]", "7", '{"leader":"n1","quorum":"many"}', '{"leader":"n1","sync_standby":["n2"]}'])
def test_nobody_guesses_what_can_not_be_understood(value: str) -> None:
    with pytest.raises(ValueError, match="can't be understood"):
        parse(value, 10)


def test_whoever_is_no_member_needs_one_vote_more() -> None:
    assert [ALL.votes_needed(name) for name in ("n1", "n2", "n4")] == [1, 1, 2]
    assert [NONE.votes_needed(name) for name in ("n1", "n2")] == [0, 1]


@pytest.mark.parametrize(
    ("configuration", "flushed", "enough"),
    [
        (ALL, {"n2": 100}, True),
        (ALL, {"n2": 99, "n3": 99}, False),
        (ALL, {"n4": 100}, False),
        (ONLY_N2, {"n3": 100}, False),
        (ONLY_N2, {"n2": 101}, True),
        (NONE, {}, True),
        (FIVE, {"n2": 100}, False),
        (FIVE, {"n2": 100, "n5": 100}, True),
    ],
)
def test_confirmed_is_what_enough_voters_have(configuration: Configuration, flushed: dict[str, int], enough: bool) -> None:
    assert confirms(configuration, 100, flushed) is enough


@pytest.mark.parametrize("configuration", [ALL, ONLY_N2, NONE, FIVE, unknown("n1", ["n1", "n2", "n3"])])
def test_every_quorum_of_a_confirmed_configuration_includes_one_that_has_it(configuration: Configuration) -> None:
    for size in range(len(configuration.voters) + 1):
        for holders in combinations(sorted(configuration.voters), size):
            quorums = combinations(sorted(configuration.members), configuration.quorum + 1)
            safe = all({"n1", *holders} & set(quorum) for quorum in quorums)
            assert confirms(configuration, 100, dict.fromkeys(holders, 100)) is safe


def test_a_candidate_needs_a_quorum_in_every_configuration() -> None:
    assert not shortfalls("n2", at(100), [ALL, ONLY_N2], {"n3": at(100)})
    (short,) = shortfalls("n2", at(100), [ALL, ONLY_N2], {"n3": at(101)})
    assert (short.configuration, short.votes, short.needed, short.ahead, short.silent) == (ALL, (), 1, {"n3": at(101)}, ("n1",))


def test_whoever_gives_no_answer_is_silent() -> None:
    (short,) = shortfalls("n2", at(100), [ALL], {"n1": None})
    assert (short.ahead, short.silent) == ({}, ("n1", "n3"))


def test_ahead_is_who_is_on_a_later_timeline() -> None:
    assert shortfalls("n2", at(100), [ALL], {"n3": at(50, timeline=2)})
    assert not shortfalls("n2", at(100, timeline=2), [ALL], {"n1": at(200)})


def test_its_own_answer_is_not_a_vote() -> None:
    assert shortfalls("n2", at(100), [ALL], {"n2": at(100)})


@pytest.mark.parametrize(
    ("promoted", "trusted"),
    [(None, True), (Promotion("n2", 9), True), (Promotion("n2", 10), False), (Promotion("n1", 11), True)],
)
def test_a_leader_is_trusted_unless_another_was_promoted_since(promoted: Promotion | None, trusted: bool) -> None:
    assert (shortfalls("n1", at(100), [ALL], {}, promoted) == ()) is trusted


def test_a_leader_needs_a_quorum_in_the_configurations_of_others() -> None:
    theirs = Configuration(20, "n2", frozenset({"n1", "n3"}), 1)
    assert [short.configuration for short in shortfalls("n1", at(100), [ALL, theirs], {})] == [theirs]


def test_of_what_is_not_known_all_hosts_but_one_must_have_a_say() -> None:
    one = unknown("n1", ["n1", "n2", "n3"])
    assert shortfalls("n2", at(100), [one], {"n3": at(100)}) == ()
    assert shortfalls("n2", at(100), [one], {})
    five = unknown("n1", ["n1", "n2", "n3", "n4", "n5"])
    assert shortfalls("n2", at(100), [five], {"n3": at(100), "n4": at(100)})
    assert shortfalls("n2", at(100), [five], {"n3": at(100), "n4": at(100), "n5": at(100)}) == ()


def test_in_words_who_is_ahead_is_named() -> None:
    assert ["n3 has 64 bytes more" in line for line in in_words(shortfalls("n2", at(100), [ALL], {"n3": at(164)}))] == [True]


def test_in_words_those_whose_word_is_missing_are_named() -> None:
    assert [line.startswith("n1 or n3 must say") for line in in_words(shortfalls("n2", at(100), [ALL], {}))] == [True]


def test_nothing_is_said_where_nothing_is_missing() -> None:
    assert list(in_words(())) == []
