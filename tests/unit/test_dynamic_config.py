"""What a deploy sends Patroni: the difference, the whole difference and nothing but the difference."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from clusters import cluster

from cluster.dynamic_config import described, difference, durability_of, promise_of, wanted_config, without_replica_of
from cluster.parameters import OWNED, known_parameters
from cluster.slots import ARCHIVE

Json = dict[str, Any]


def patched(live: Json, patch: Json) -> Json:
    """What Patroni makes of PATCH /config: null removes a key, objects are merged, anything else replaces."""
    merged = copy.deepcopy(live)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = patched(merged[key], value)
        else:
            merged[key] = value
    return merged


def with_(**parameters: Any) -> Json:
    return wanted_config(cluster(postgres_parameters=parameters))


def test_nothing_to_send_when_they_agree() -> None:
    assert difference(with_(work_mem="4MB"), with_(work_mem="4MB")) == {}


def test_only_what_differs_is_sent() -> None:
    patch = difference(with_(work_mem="8MB"), with_(work_mem="4MB"))
    assert patch == {"postgresql": {"parameters": {"work_mem": "8MB"}}}


def test_a_parameter_that_was_taken_out_goes_back_to_its_default() -> None:
    live, wanted = with_(work_mem="8MB", jit="off"), with_(jit="off")
    patch = difference(wanted, live)
    assert patch["postgresql"]["parameters"] == {"work_mem": None}
    assert "work_mem" not in patched(live, patch)["postgresql"]["parameters"]


def test_a_parameter_set_by_hand_stays() -> None:
    live = with_(jit="off")
    live["postgresql"]["parameters"]["geqo"] = "off"
    live["postgresql"]["pg_ident"] = ["mine"]
    live["pause"] = True
    assert difference(with_(jit="off"), live) == {}


def test_a_parameter_set_by_hand_that_the_settings_name_is_brought_back() -> None:
    live = with_(work_mem="4MB")
    live["postgresql"]["parameters"]["work_mem"] = "1GB"
    assert difference(with_(work_mem="4MB"), live) == {"postgresql": {"parameters": {"work_mem": "4MB"}}}


def test_after_the_patch_nothing_is_left_to_send() -> None:
    wanted = with_(work_mem="8MB", max_connections=300)
    for live in (with_(), with_(work_mem="4MB", jit="off"), wanted, {}, {"postgresql": {}},
                 {"postgresql": {"parameters": None}, "ttl": "20"}):  # fmt: skip
        patch = difference(wanted, live)
        assert difference(wanted, patched(live, patch)) == {}


@pytest.mark.parametrize("live_ttl", ["20", 20.0, None, 21])
def test_a_timer_of_another_type_is_another_value(live_ttl: object) -> None:
    live = with_() | {"ttl": live_ttl}
    assert difference(with_(), live) == {"ttl": with_()["ttl"]}


def test_true_is_not_one() -> None:
    """Patroni takes synchronous_mode: 1 for off; and in Python they are equal."""
    synchronous = wanted_config(cluster(durability="synchronous"))
    assert difference(synchronous, synchronous | {"synchronous_mode": 1}) == {"synchronous_mode": True}


@pytest.mark.parametrize(
    ("durability", "mode", "replicas"),
    [("quorum", "quorum", 1), ("all", "quorum", 2), ("synchronous", True, 1), ("asynchronous", False, 1)],
)
def test_durability(durability: str, mode: object, replicas: int) -> None:
    config = wanted_config(cluster(durability=durability))
    assert (config["synchronous_mode"], config["synchronous_node_count"]) == (mode, replicas)
    assert config["synchronous_mode"] is mode or mode == "quorum"
    assert durability_of(config) == durability


def test_whoever_leaves_durability_all_asks_for_one_replica_again() -> None:
    patch = difference(wanted_config(cluster()), wanted_config(cluster(durability="all")))
    assert patch == {"synchronous_node_count": 1}


def test_without_a_replica_writes_wait_unless_that_is_chosen_otherwise() -> None:
    assert wanted_config(cluster())["synchronous_mode_strict"] is True
    alone = wanted_config(cluster(without_replica="continue"))
    assert alone["synchronous_mode_strict"] is False
    assert (without_replica_of(with_()), without_replica_of(alone)) == ("wait", "continue")
    assert without_replica_of({}) == "continue"  # Patroni's own default


def test_the_promise_in_words_says_what_takes_away_from_it() -> None:
    said = {
        (durability, choice): promise_of(wanted_config(cluster(durability=durability, without_replica=choice)))
        for durability in ("quorum", "all", "asynchronous")
        for choice in ("wait", "continue")
    }
    assert [said["quorum", "wait"], said["all", "wait"]] == ["quorum", "all"]
    assert said["quorum", "continue"] == "quorum, alone without a replica"
    assert said["asynchronous", "wait"] == said["asynchronous", "continue"] == "asynchronous"


def test_the_timers_are_those_of_the_profile() -> None:
    config = wanted_config(cluster(failover_profile="wan", failover_timing={"loop_wait": 5}))
    timing = cluster(failover_profile="wan").timing
    assert (config["ttl"], config["loop_wait"], config["retry_timeout"]) == (timing.ttl, 5, timing.retry_timeout)


def test_safety_is_not_for_the_settings_to_take_away() -> None:
    config = wanted_config(cluster())
    assert config["check_timeline"] is True
    assert config["failsafe_mode"] is True
    assert config["postgresql"]["parameters"]["synchronous_commit"] == "on"
    assert config["maximum_lag_on_failover"] >= 16 * 1024**2


def test_the_users_parameters_win_over_the_tools_defaults_but_not_over_its_decisions() -> None:
    parameters = with_(wal_sender_timeout="1min")["postgresql"]["parameters"]
    assert parameters["wal_sender_timeout"] == "1min"
    decided = set(with_()["postgresql"]["parameters"]) & set(OWNED)
    assert {"ssl", "synchronous_commit", "password_encryption"} <= decided


def test_every_parameter_that_is_set_is_one_of_postgresqls() -> None:
    assert set(with_()["postgresql"]["parameters"]) <= set(known_parameters())


def test_a_patch_in_words() -> None:
    live = {"ttl": 20, "postgresql": {"parameters": {"work_mem": "4MB"}}}
    patch = {"ttl": 30, "postgresql": {"parameters": {"work_mem": "8MB", "jit": None}}, "pgquorum": {"parameters": []}}
    assert list(described(patch, live)) == ["ttl: 20 -> 30", "work_mem: 4MB -> 8MB", "jit: unset -> unset"]


def test_patroni_leaves_the_slot_of_the_archive_alone_while_there_are_backups_and_those_that_others_have_named() -> None:
    with_backups, without = wanted_config(cluster(backup=True)), wanted_config(cluster())
    ours, mine = {"name": ARCHIVE, "type": "physical"}, {"name": "mine", "type": "logical"}
    assert difference(with_backups, without)["ignore_slots"] == [ours]
    assert difference(with_backups, without | {"ignore_slots": [mine]})["ignore_slots"] == [mine, ours]
    assert "ignore_slots" not in difference(with_backups, with_backups | {"ignore_slots": [ours, mine]})
    assert difference(without, with_backups)["ignore_slots"] is None
    assert difference(without, with_backups | {"ignore_slots": [ours, mine]})["ignore_slots"] == [mine]
    assert "ignore_slots" not in difference(without, without | {"ignore_slots": [mine]})
