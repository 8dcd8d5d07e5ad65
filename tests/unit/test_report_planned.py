"""What a person is told of planned work: who leads now and what it cost, in none of the words of a failover test."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

import proofs
import pytest
from rich.console import Console

from day2.commands.change.measuring import report
from day2.commands.change.rolling_restart import FORMAT, Outcome
from day2.procedures.steps import RestartPostgres, SwitchOver
from day2.report import planned
from day2.report.planned import of_writes


def console() -> Console:
    return Console(file=io.StringIO(), width=120, highlight=False)


def text(out: Console) -> str:
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def shown(**differs: Any) -> str:
    out = console()
    values = {
        "primary_after": "pg-sv02",
        "outage": 1.083,
        "longest_wait": 1.214,
        "healthy_again": 3.1,
        "writes": proofs.write_check(failed=0),
    }
    planned.show(out, proofs.proof(proofs.trial("switchover", **(values | differs))))
    return text(out)


def test_a_switchover() -> None:
    assert shown().strip().splitlines() == [
        "pg-sv02 is the primary in place of pg-sv01; healthy again after 3.10 s",
        "writes paused for 1.08 s (expected: 2.0 s at most); 60,000 acknowledged, none lost, 12 writes got no answer",
        "a writer waited for 1.21 s at most, with what failed before it",
        "done",
    ]


def test_a_switchover_that_nobody_noticed() -> None:
    told = shown(writes=proofs.write_check(failed=0, indeterminate=0), longest_wait=1.214).splitlines()
    assert "no write failed, and the longest took 1.21 s" in told


def test_through_paused_pools_no_write_may_fail() -> None:
    expected = replace(proofs.trial("switchover").prediction, unnoticed=True)
    told = shown(writes=proofs.write_check(failed=2, indeterminate=1), prediction=expected)
    assert "3 writes failed or got no answer, although the pools were paused" in told and told.endswith("not as expected\n")
    assert "although" not in shown(writes=proofs.write_check(failed=0, indeterminate=0), prediction=expected)


@pytest.mark.parametrize(
    ("differs", "told"),
    [
        ({"primary_after": "pg-sv01"}, "pg-sv01 is still the primary"),
        ({"primary_after": None, "outage": None, "outage_began": None}, "nobody is the primary"),
        ({"outage": 9.0}, "writes stopped for 9.0 s, not 2.0 s"),
        ({"writes": proofs.write_check(lost=proofs.lost(3))}, "3 acknowledged writes are lost"),
        ({"healthy_again": None, "problems": ("[db2] does not stream",)}, "[db2] does not stream"),
    ],
)
def test_what_was_not_as_expected_is_said(differs: dict[str, Any], told: str) -> None:
    said = shown(**differs)
    assert told in said and said.strip().splitlines()[-1] == "not as expected"
    assert not re.search(r"(?i)fault|split brain|trial|RTO", said)


def test_a_rolling_restart() -> None:
    out = console()
    steps = (RestartPostgres("db2"), SwitchOver("db1", "db2"))
    outcome = Outcome("shop", steps, list(steps), write_gap=0.84, longest_wait=0.9)
    outcome.writes, outcome.reads = proofs.write_check(failed=0, indeterminate=0), 1200
    assert report(out, outcome, FORMAT, interrupted=False, as_json=False) == 0
    assert text(out).splitlines() == [
        "db2 is the primary in place of db1",
        "writes paused for 0.84 s; 60,000 acknowledged, none lost",
        "no write failed, and the longest took 0.90 s",
        "1,200 reads, 0 sessions cut, each found a server",
        "done",
    ]


@pytest.mark.parametrize(("component", "pooled", "code"), [("postgres", True, 1), ("pgbouncer", True, 0), ("postgres", False, 0)])
def test_a_rolling_restart_fails_by_writes_that_pools_should_have_kept(component: Any, pooled: bool, code: int) -> None:
    out = console()
    outcome = Outcome("shop", (), component=component, pooled=pooled, writes=proofs.write_check(failed=1), reads=9)
    assert report(out, outcome, FORMAT, interrupted=False, as_json=False) == code
    assert ("although the pools were paused" in text(out)) == bool(code)


def test_a_rolling_restart_that_left_readers_alone() -> None:
    out = console()
    outcome = Outcome("shop", (), component="haproxy", writes=proofs.write_check(), reads=9, reads_refused=["refused", "refused"])
    assert report(out, outcome, FORMAT, interrupted=False, as_json=False) == 1
    assert "9 reads, 0 sessions cut, 2 found no server" in text(out) and "2 reads found no server: refused" in text(out)


def test_no_write_at_all() -> None:
    nothing = proofs.write_check(0, indeterminate=0, failed=1)
    assert of_writes(None, nothing) == "no write was acknowledged, none lost, 1 write refused"
