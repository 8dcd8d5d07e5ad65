"""A trial as it goes, with hosts and writers that are there in name only: what it does in which order, and what it hands back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Self

import pytest
import views
from test_faults import LAN, made

from cluster.errors import ClusterError
from day2.faults.base import BaseFault
from day2.faults.fault import NotInjectedError
from day2.history.reads import ReadCheck
from day2.history.writes import Row, Write, WriteCheck, WriteOutcome, check_writes
from day2.hosts.interrupts import Interrupts
from day2.hosts.watch import Event
from day2.load.profile import Endpoints, LoadProfile
from day2.predictions.prediction import Effect, Prediction
from day2.trials import trial
from day2.trials.trial import TrialRun, Unfinished

RATE = 1000


class Writers:
    """A workload whose writes are acknowledged at an even rate, from `with` to the end of the block."""

    def __init__(self, *_: object, pooled: bool = False) -> None:
        self.table, self.writers, self.found, self.stopped_at = "write_x", 1, frozenset({(0, 1)}), 0.0

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopped_at = time.monotonic()

    @property
    def writes(self) -> Iterator[Write]:
        until = self.stopped_at or time.monotonic()
        for n in range(int((until - self._began) * RATE)):
            at = self._began + n / RATE
            yield Write(0, n + 1, WriteOutcome.ACKNOWLEDGED, at, at, "10.0.0.1", 1)

    @property
    def acknowledged(self) -> int:
        return len(list(self.writes))

    @property
    def last_acknowledged(self) -> float:
        return time.monotonic()

    def check(self) -> WriteCheck:
        writes = list(self.writes)
        return check_writes(writes, [Row(w.writer, w.number, w.server, 1, w.number) for w in writes])


class Onlookers:
    """Readers and a watch that see nothing but a new leader."""

    events: tuple[Event, ...] = ()

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def since(self, at: float) -> tuple[Event, ...]:
        return (Event(time.monotonic(), "db2", "leader", "db2"),)

    def check(self, *_: object) -> ReadCheck:
        return ReadCheck()


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was done to hosts, in its order. Nothing is, and nobody waits for long."""
    for name, value in (
        ("Workload", Writers), ("Readers", Onlookers), ("Watch", Onlookers), ("STEADY_SECONDS", 0), ("BESIDE_SECONDS", 0),
        ("random", SimpleNamespace(uniform=lambda least, most: least)), ("observe", lambda *_: views.view()),
        ("problems_of", lambda *_: ()),
    ):  # fmt: skip
        monkeypatch.setattr(trial, name, value)
    return []


def recorded(name: str, done: list[str], monkeypatch: pytest.MonkeyPatch, **differs: Any) -> BaseFault:
    """A fault of that name that is only noted down, and left alone for a moment."""
    fault = made(name)
    prediction = Prediction(Effect.KEEPS_RUNNING, within=1.0, why="", hold=0.05)
    methods = {"prepare": lambda: None, "prediction": lambda: prediction}
    methods |= {what: (lambda what=what: done.append(f"{what} {name}")) for what in ("inject", "heal")}  # type: ignore[misc]
    for method, function in (methods | differs).items():
        monkeypatch.setattr(fault, method, function)
    return fault


def run_of(fault: BaseFault, beside: BaseFault | None = None, said: list[str] | None = None) -> TrialRun:
    load, say = LoadProfile("secret", 1), (said if said is not None else []).append
    return TrialRun(fault.context, fault, Endpoints({}, {}), load, Interrupts(lambda text: None), say, beside)


def test_the_clients_of_planned_work_wait_for_a_connection_as_long_as_most_drivers_do() -> None:
    """They would be told of a refusal where an application only waits: a switchover on a busy machine takes more than 2 s."""
    fault, say = made("switchover"), [].append
    for planned, seconds in ((False, 2), (True, 10)):
        load = LoadProfile("secret", 1, planned=planned)
        trial = TrialRun(fault.context, fault, Endpoints({}, {}), load, Interrupts(lambda text: None), say)
        for clients in (trial.workload, trial._readers):
            assert clients._sessions.parameters["connect_timeout"] == seconds


def test_a_trial_gives_its_moments_in_seconds_after_the_fault(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = run_of(recorded("etcd-all-stop", done, monkeypatch)).trial()
    assert done == ["inject etcd-all-stop", "heal etcd-all-stop"]
    assert found.hosts == ("db1", "db2", "db3") and (found.primary_before, found.primary_after) == ("db1", "db1")
    assert found.heal_started is not None and found.heal_finished is not None and found.healthy_again is not None
    assert 0.05 <= found.heal_started <= found.heal_finished <= found.healthy_again < 60
    assert found.writes.consistent and found.writes.acknowledged > 100
    assert found.throughput.start < 0 and 0 < found.writes_per_second < 1.5 * RATE
    assert [phase.key for phase in found.timeline if phase.seconds is not None] == ["fault", "healing"]


def test_a_fault_that_ends_by_itself_has_no_healing(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    found = run_of(recorded("patroni-kill", done, monkeypatch)).trial()
    assert (found.heal_started, found.heal_finished) == (None, None) and found.healthy_again is not None


def test_what_is_there_before_is_injected_first_and_healed_last(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    beside = recorded("lagging-replica", done, monkeypatch)
    found = run_of(recorded("partition", done, monkeypatch), beside).trial(hold=0.1)
    assert done == ["inject lagging-replica", "inject partition", "heal partition", "heal lagging-replica"]
    assert found.note == "lagging-replica: db2"
    assert found.prediction.effect is Effect.ANY and found.prediction.hold == 0.1
    assert found.prediction.within > 0.1 + LAN.loop_wait


def test_what_fails_before_the_fault_is_an_error_and_after_it_unfinished(
    done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise ClusterError("it can't be done")

    with pytest.raises(ClusterError, match="it can't be done") as caught:
        run_of(recorded("partition", done, monkeypatch, prepare=fails)).trial()
    assert not isinstance(caught.value, Unfinished) and done == []
    with pytest.raises(Unfinished, match="it can't be done"):
        run_of(recorded("partition", done, monkeypatch, inject=fails)).trial()
    assert done == ["heal partition"]


def test_what_could_not_be_injected_is_no_trial(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise NotInjectedError("nobody can be made to wait")

    with pytest.raises(ClusterError, match="nobody can be made to wait") as caught:
        run_of(recorded("switchover", done, monkeypatch, inject=fails)).trial()
    assert not isinstance(caught.value, Unfinished) and done == []


def test_only_writers_of_pools_notice_nothing(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = Prediction(Effect.KEEPS_RUNNING, within=1.0, why="", hold=0.05, unnoticed=True)
    fault = recorded("switchover", done, monkeypatch, prediction=lambda: expected)
    assert not run_of(fault).trial().prediction.unnoticed
    assert expected.pooled() == expected


def test_the_moment_that_is_told_meanwhile_is_that_of_the_report(done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes have gone on for a while when it is told: the fault takes its time to return."""
    began = 0.0

    def inject() -> None:
        nonlocal began
        began = time.monotonic()
        time.sleep(1.5)

    class Over(Writers):
        """After 0.3 s without any, writes are acknowledged by a new primary."""

        @property
        def writes(self) -> Iterator[Write]:
            for one in super().writes:
                if not began or one.ended <= began:
                    yield one
                elif one.ended > began + 0.3:
                    yield replace(one, timeline=2, server="10.0.0.2")

    class Watching(Onlookers):
        @property
        def events(self) -> tuple[Event, ...]:  # type: ignore[override]
            return (Event(began + 0.2, "db2", "leader", "db2"),)

        def since(self, at: float) -> tuple[Event, ...]:
            return self.events

    monkeypatch.setattr(trial, "Workload", Over)
    monkeypatch.setattr(trial, "Watch", Watching)
    said: list[str] = []
    over = Prediction(Effect.FAILS_OVER, within=1.0, why="")
    fault = recorded(
        "patroni-kill", done, monkeypatch, inject=inject, prediction=lambda: over, started_at=lambda writes, began, ended: began
    )
    found = run_of(fault, said=said).trial()
    assert "0.3 s later writes are acknowledged again" in said
    assert next(phase.seconds for phase in found.timeline if phase.key == "first_write") == pytest.approx(0.3, abs=0.05)
