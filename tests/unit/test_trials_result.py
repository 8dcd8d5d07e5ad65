"""What is called a failed trial: every way to fail is tried, and nothing else fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import proofs
import pytest

from day2.predictions.prediction import Effect, Prediction
from day2.trials.result import Trial


def trial(fault: str = "host-off", **differs: Any) -> Trial:
    return replace(proofs.trial(fault), **differs)


def checked(**differs: Any) -> Any:
    return proofs.write_check(**differs)


@pytest.mark.parametrize("fault", proofs.FAULTS)
def test_what_is_as_promised_passes(fault: str) -> None:
    assert trial(fault).failures == ()


@pytest.mark.parametrize(
    ("differs", "said"),
    [
        ({"writes": checked(lost=((1, 7),))}, "1 acknowledged writes are lost"),
        ({"writes": checked(unexpected=((1, 7),))}, "had been refused"),
        ({"writes": checked(duplicated=((1, 7),))}, "more than once"),
        ({"writes": checked(out_of_order=((1, 7),))}, "before an earlier one"),
        ({"writes": checked(split_brain=("a and b for 2 s",))}, "two servers acknowledged"),
        ({"reads": replace(trial().reads, reads_of_lost_rows=3)}, "not there any more"),
        ({"outage": None, "outage_began": None}, "no write was acknowledged"),
        ({"outage": 40.0}, "writes stopped for 40.0 s"),
        ({"primary_after": "pg-sv01"}, "still the primary"),
        ({"healthy_again": None, "problems": ("pg-sv01: off",)}, "not healthy again: pg-sv01: off"),
    ],
)
def test_what_is_not_as_promised_fails(differs: dict[str, Any], said: str) -> None:
    (failure,) = trial(**differs).failures
    assert said in failure


def test_a_failover_that_nobody_needed_fails() -> None:
    assert "which nobody needed" in trial("patroni-kill", primary_after="pg-sv02").failures[0]


def test_what_should_stop_is_judged_from_the_end_of_healing_and_must_not_go_on_before_it_begins() -> None:
    stopped = {"outage_began": 0.0, "heal_started": 20.0, "heal_finished": 25.0}
    assert trial("replicas-off", outage=36.0, **stopped).failures == ()  # 11 s after the end, of 12
    assert "not 12.0 s" in trial("replicas-off", outage=38.0, **stopped).failures[0]
    assert "should not be possible" in trial("replicas-off", outage=19.0, **stopped).failures[0]
    # Writes never stopped, and the longest breath they took happened to be after the healing.
    assert "should not be possible" in trial("replicas-off", outage=0.1, **stopped | {"outage_began": 30.0}).failures[0]


def test_a_loss_is_forgiven_only_where_the_durability_allows_it() -> None:
    allowed = Prediction(Effect.FAILS_OVER, 60.0, "", may_lose=True)
    one = trial(prediction=allowed, writes=checked(lost=((1, 7),)))
    assert one.failures == ()
    assert not one.writes.consistent
    assert trial(prediction=allowed, writes=checked(duplicated=((1, 7),))).failures
    assert trial(prediction=allowed, writes=checked(split_brain=("a and b for 2 s",))).failures


def test_a_series_that_was_stopped_or_is_empty_has_not_passed() -> None:
    proof = proofs.matrix()
    assert proof.passed
    assert not replace(proof, stopped="interrupted").passed
    assert not replace(proof, trials=()).passed
