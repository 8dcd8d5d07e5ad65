"""What may be asked of a failover test, and what follows from it."""

from __future__ import annotations

import math
import random
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import views
from clusters import cluster

from cluster.errors import ClusterError
from day2.commands.prove.failover_test import (
    HOLD_SECONDS,
    at_random,
    in_order,
    left_out_in_words,
    number_and_time,
    pause_of,
    refuse_bad_options,
)
from day2.faults import choose
from day2.faults.fault import FaultContext
from day2.load.profile import LoadProfile
from day2.trials.runner import place

SHOP = cluster()

GOOD: dict[str, Any] = {"repeat": 1, "soak": None, "seed": None, "directory": None}


@pytest.mark.parametrize(
    ("differs", "said"),
    [
        ({"repeat": 0}, "--repeat 0: should be from 1"),
        ({"soak": 0.0}, "--soak 0"),
        ({"soak": 1e6}, "--soak"),
        ({"soak": 5.0, "repeat": 2}, "give one of them"),
        ({"seed": 4}, "--seed"),
        ({"lagging": True}, "--lagging: only in a --soak"),
        ({"directory": "/proc/nowhere"}, "--report /proc/nowhere"),
        ({"directory": "/proc/version"}, "--report /proc/version"),
    ],
)
def test_options_that_can_t_be_right_are_refused(differs: dict[str, Any], said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        refuse_bad_options(**GOOD | differs)


def test_the_directory_of_the_report_is_made_before_there_is_anything_to_lose(tmp_path: Path) -> None:
    refuse_bad_options(**GOOD | {"directory": str(tmp_path / "a/b"), "soak": 60.0, "seed": 4})
    assert list((tmp_path / "a/b").iterdir()) == []


@pytest.mark.parametrize(("writers", "readers"), [(0, 2), (101, 2), (8, -1)])
def test_a_load_that_can_t_be_is_refused(writers: int, readers: int) -> None:
    with pytest.raises(ClusterError, match="should be from"):
        LoadProfile("secret", writers, readers)
    assert "secret" not in repr(LoadProfile("secret", 1))


def test_each_fault_comes_as_often_as_asked_one_kind_after_the_other() -> None:
    assert [one.fault.args[0] for one in in_order(["a", "b"], 2)] == ["a", "a", "b", "b"]  # type: ignore[attr-defined]


def test_how_many_there_are_and_about_how_long_it_takes_is_said_before() -> None:
    context = FaultContext(None, SHOP, None, views.view(), SHOP.timing)  # type: ignore[arg-type]
    faults = [choose(name, context) for name in ("switchover", "postgres-kill")]
    assert number_and_time(faults[:1], 1) == "1 fault, about 1 minute."
    assert number_and_time(faults, 10) == "2 faults, 20 trials, about 10 minutes."


def test_what_is_left_out_is_said_with_its_reason_once() -> None:
    why = {
        "host-off": ["db1: no power_off"],
        "replicas-off": ["db3: no power_off", "db2: no power_off", "there is one"],
        "wal-disk-full": ["/: no disk of its own"],
    }
    assert list(left_out_in_words(why, ["db1", "db2", "db3", "proxy1"])) == [
        "Left out, as they are not possible here:",
        "  host-off, replicas-off: db1, db2, db3: no power_off",
        "  replicas-off: there is one",
        "  wal-disk-full: /: no disk of its own",
    ]
    assert list(left_out_in_words({}, [])) == []


def test_which_of_how_many_a_trial_is() -> None:
    assert [place(n, in_order(["a", "b"], 2)) for n in (1, 4)] == ["1 of 4", "4 of 4"]
    assert place(1, in_order(["a"], 1)) == ""
    assert place(7, at_random(["a"], 60, random.Random(1))) == "trial 7"


def test_the_same_seed_gives_the_same_faults_for_the_same_time() -> None:
    def drawn(seed: int) -> list[tuple[str, float | None]]:
        planned = islice(at_random(["a", "b", "c"], 60, random.Random(seed)), 20)
        return [(one.fault.args[0], one.hold) for one in planned]  # type: ignore[attr-defined]

    assert drawn(3) == drawn(3) != drawn(4)
    assert all(HOLD_SECONDS[0] <= (hold or 0) <= HOLD_SECONDS[1] for _, hold in drawn(3))


def test_in_half_of_a_soaks_trials_a_replica_lags_but_where_that_makes_no_sense() -> None:
    alone = {"switchover", "lagging-replica", "lagging-then-stop"}
    names = ["host-off", "replica-off", *alone]
    planned = list(islice(at_random(names, 60, random.Random(7), lagging=True), 400))
    drawn = [(one.fault.args[0], one.beside is not None) for one in planned]  # type: ignore[attr-defined]
    assert not any(lags for name, lags in drawn if name in alone)
    others = [lags for name, lags in drawn if name not in alone]
    assert 0.4 < sum(others) / len(others) < 0.6
    assert not any(one.beside for one in islice(at_random(names, 60, random.Random(7)), 50))


def test_a_soak_ends_when_its_time_is_up() -> None:
    assert list(at_random(["a"], 0, random.Random(1))) == []


@pytest.mark.parametrize(("rate", "pause"), [(0, 0.0), (20, 0.05), (1000, 0.001)])
def test_a_rate_is_a_pause_after_each_write(rate: float, pause: float) -> None:
    assert pause_of(rate) == pytest.approx(pause)


@pytest.mark.parametrize("rate", [-1, 0.5, math.nan, math.inf])
def test_a_rate_that_can_not_be_is_refused(rate: float) -> None:
    with pytest.raises(ClusterError, match="--rate"):
        pause_of(rate)
