"""Steps of plans: what each says of itself, what it does; and that the plan which is printed is the one that runs."""

from __future__ import annotations

import json
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import views
from clusters import cluster
from offline import RecordingActions, cut_off

import day2.commands.change.maintenance as maintenance
import day2.commands.change.measuring as measuring
import day2.commands.change.rolling_restart as rolling_restart
import day2.commands.change.switchover as switchover
from cluster.errors import ClusterError
from day2.faults.fault import FaultContext
from day2.procedures import steps
from day2.procedures.actions import Actions
from day2.procedures.executor import execute
from day2.procedures.hold import hold_for
from day2.procedures.steps import (
    AwaitSpared,
    Checkpoint,
    FetchPackages,
    ForgetHost,
    HandOver,
    InstallPackages,
    MoveAddress,
    MoveEtcdLeader,
    RebootHost,
    Reinitialize,
    ReloadUnit,
    RemoveEtcdMember,
    RestartPatroni,
    RestartPostgres,
    RestartTogether,
    RestartUnit,
    Step,
    StopUnits,
    SwitchOver,
)
from day2.trials.runner import PlannedTrial
from health.upgrades import Change

SHOP = cluster()
HOLD = hold_for(SHOP)
ETCD = Change("db1", "etcd", "etcd-server", "3.5.30-2", "3.5.31-1")
# What each does, where db1 is the primary and db2 leads etcd.
DOES: dict[Step, list[str]] = {
    AwaitSpared("db2"): ["await_spared db2", "refuse_last_copy db2"],
    RestartPostgres("db2"): [
        "refuse_unstartable db2", "drain db2", "await_spared db2", "restart_postgres db2", "ready db2", "await_healthy",
    ],
    RestartPostgres("db1", drained=False): [
        "refuse_unstartable db1", "await_spared db1", "restart_postgres db1", "await_healthy",
    ],
    RestartPatroni("db2"): [
        "refuse_unstartable db2", "drain db2", "await_spared db2", "systemctl db2 restart patroni.service", "ready db2",
        "await_healthy",
    ],
    Checkpoint("db1"): ["checkpoint db1"],
    SwitchOver("db1", "db3"): ["await_spared db1", "checkpoint db1", "switch_over db1 db3 None", "await_healthy"],
    SwitchOver("db1", "db3", HOLD): ["await_spared db1", "checkpoint db1", f"switch_over db1 db3 {HOLD}", "await_healthy"],
    SwitchOver("db3", "db1"): ["await_healthy"],
    HandOver("db1", "db3"): ["hand_over db1 db3 None"],
    HandOver("db1", "db3", HOLD, drained=True): ["drain db3", f"hand_over db1 db3 {HOLD}", "ready db3"],
    Reinitialize("db2", "db1"): [
        "drain db2", "await_spared db2", "refuse_last_copy db2", "reinitialize db2 repository=False", "ready db2",
    ],
    Reinitialize("db2", "db1", drained=False, repository=True): ["reinitialize db2 repository=True"],
    MoveEtcdLeader("db3"): ["move_etcd_leader db2 db3", "await_healthy"],
    MoveEtcdLeader("db2"): ["await_healthy"],
    MoveAddress("proxy1", "10.0.0.77"): ["move_address proxy1 10.0.0.77"],
    RestartUnit("db1", "etcd.service"): ["systemctl db1 restart etcd.service", "await_healthy"],
    ReloadUnit("proxy1", "haproxy.service"): ["systemctl proxy1 reload haproxy.service", "await_healthy"],
    StopUnits("db3", ("a.service", "b.service")): ["systemctl db3 disable --now --quiet a.service b.service"],
    RemoveEtcdMember("db3"): ["remove_etcd_member db3"],
    ForgetHost("db3"): ["forget db3 reachable=True"],
    ForgetHost("db3", reachable=False): ["forget db3 reachable=False"],
    FetchPackages((ETCD,), "noon"): [f"fetch_packages {(ETCD,)} noon insist=False"],
    InstallPackages((ETCD,)): [f"install_packages {(ETCD,)}"],
    RebootHost("db3"): ["drain db3", "await_spared db3", "reboot db3", "ready db3", "await_healthy"],
    RebootHost("db2", drained=False): ["move_etcd_leader db2 db3", "reboot db2", "await_healthy"],
    RestartTogether(("db1", "db2"), "etcd.service"): ["restart_together ('db1', 'db2') etcd.service", "await_healthy"],
}  # fmt: skip


def test_every_step_there_is_stands_here() -> None:
    assert {type(step) for step in DOES} == set(get_args(steps.Step))
    kinds = [kind.kind for kind in get_args(steps.Step)]
    assert len(set(kinds)) == len(kinds)


@pytest.mark.parametrize("step", DOES, ids=str)
def test_a_step_does_what_it_says(step: Step) -> None:
    actions: Any = RecordingActions()
    execute(step, actions)
    assert actions.calls == DOES[step]


@pytest.mark.parametrize("step", DOES, ids=str)
def test_a_step_has_a_line_for_people_and_all_its_fields_for_programs(step: Step) -> None:
    document = json.loads(json.dumps(step.document()))
    fields = json.loads(json.dumps(asdict(step)))
    assert document == {"kind": step.kind, **fields, "description": str(step)}
    assert all(value in str(step) for value in vars(step).values() if isinstance(value, str))


def test_a_restart_counts_when_nothing_waits_for_one_any_more() -> None:
    actions: Any = RecordingActions(views.view(db2=views.database("db2", patroni=views.patroni("db2", pending_restart=True))))
    execute(RestartPostgres("db2"), actions)
    assert actions.calls[-1] == "await_healthy, in vain"


def test_another_primary_than_the_one_planned_with_is_not_switched_over() -> None:
    actions: Any = RecordingActions()
    with pytest.raises(ClusterError, match="db1 leads now, and db2 did when this was planned"):
        execute(SwitchOver("db2", "db3"), actions)
    assert actions.calls == []


def without_load(out: Any, fleet: Any, of: Any, vault: Any, outcome: measuring.Outcome, hop: Any) -> bool:
    actions: Any = RecordingActions()
    measuring.take_steps(out, actions, outcome)
    return False


def rolled(monkeypatch: pytest.MonkeyPatch, *, dry: bool, component: str = "postgres", stuck: Step | None = None) -> list[Step]:
    """Runs `rolling-restart`; returns the steps that were executed. `stuck` is one that fails."""
    executed: list[Step] = []

    def record(step: Step, actions: Actions) -> None:
        if step == stuck:
            raise ClusterError("it is stuck")
        executed.append(step)

    monkeypatch.setattr(measuring, "execute", record)
    cut_off(monkeypatch, rolling_restart, carry_out=without_load)
    rolling_restart.rolling_restart(
        SHOP, component=component, pending_only=False, patience=5, dry=dry, yes=True, hop=None, as_json=True
    )
    return executed


@pytest.mark.parametrize("component", ["postgres", "patroni", "etcd", "haproxy"])
def test_the_plan_that_is_printed_is_the_plan_that_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], component: str
) -> None:
    assert rolled(monkeypatch, dry=True, component=component) == []
    printed, people = capsys.readouterr()
    executed = rolled(monkeypatch, dry=False, component=component)
    assert executed
    assert json.loads(printed)["planned"] == as_json(executed)
    assert people.splitlines() == [f"  {number}. {step}" for number, step in enumerate(executed, 1)]
    result = json.loads(capsys.readouterr().out)
    assert result["planned"] == result["done"] == json.loads(printed)["planned"] and result["left"] == []


def test_what_is_left_of_a_plan_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    executed = rolled(monkeypatch, dry=False, stuck=RestartPostgres("db3"))
    assert executed == [RestartPostgres("db2")]
    result = json.loads(capsys.readouterr().out)
    assert result["done"] == as_json(executed)
    assert result["left"] == as_json([RestartPostgres("db3"), SwitchOver("db1", "db3", HOLD), RestartPostgres("db1")])
    assert result["stopped_by"] == "it is stuck"


@pytest.mark.parametrize("force", [False, True])
def test_the_steps_of_a_switchover_are_those_that_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], force: bool
) -> None:
    tried = Tried()
    monkeypatch.setattr("day2.faults.switchover.steps", None)  # nobody plans a second time
    cut_off(monkeypatch, switchover, TrialRunner=lambda *parts: tried, show=lambda *parts, **how: 0)
    options: dict[str, Any] = {"force": force, "yes": True, "writers": 1, "hop": None, "as_json": True}
    assert switchover.switchover(SHOP, to="db2", patience=7, dry=True, **options) == 0 and tried.fault is None
    printed, people = capsys.readouterr()
    assert switchover.switchover(SHOP, to="db2", patience=7, dry=False, **options) == 0 and tried.fault
    executed: list[Step] = []
    monkeypatch.setattr("day2.faults.switchover.execute", lambda step, actions: executed.append(step))
    tried.fault.prepare()
    assert executed == ([] if force else [AwaitSpared("db1"), Checkpoint("db1")])
    tried.fault.inject()
    hold = hold_for(SHOP, 7)
    assert executed[-1] == (HandOver("db1", "db2") if force else HandOver("db1", "db2", hold, drained=True))
    assert json.loads(printed)["planned"] == as_json(executed)
    assert [line for line in people.splitlines() if line.startswith("  1")] == [f"  1. {executed[0]}"]


class Tried:
    """In place of a TrialRunner: notes the fault that it was given, and does nothing."""

    interrupted = False
    fault: Any = None

    def context(self) -> FaultContext:
        return FaultContext(None, SHOP, None, views.view(), SHOP.timing)  # type: ignore[arg-type]

    def run(self, context: FaultContext, planned: list[PlannedTrial]) -> None:
        (one,) = planned
        self.fault = one.fault(context)


def reinitialized(monkeypatch: pytest.MonkeyPatch, *, dry: bool, force: bool = False) -> list[Step]:
    """Runs `reinit db2`; returns the steps that were executed."""
    executed: list[Step] = []
    ages = iter(("old", "new"))
    cut_off(
        monkeypatch, maintenance, execute=lambda step, actions: executed.append(step),
        identity=lambda *where: next(ages), await_copy=lambda *parts: 0,
    )  # fmt: skip
    assert maintenance.reinit(SHOP, host="db2", from_primary=False, dry=dry, yes=True, force=force, as_json=False) == 0
    return executed


@pytest.mark.parametrize("force", [False, True])
def test_the_steps_of_a_reinit_are_those_that_it_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], force: bool
) -> None:
    assert reinitialized(monkeypatch, dry=True, force=force) == []
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    executed = reinitialized(monkeypatch, dry=False, force=force)
    assert executed == [*([] if force else [AwaitSpared("db2")]), Reinitialize("db2", "db1", drained=not force)]
    assert printed == [f"  {number}. {step}" for number, step in enumerate(executed, 1)]


def test_a_replica_is_made_anew_from_the_repository_where_there_is_one() -> None:
    step = maintenance.reinit_steps("db2", "db1", patient=False, repository=True)[-1]
    assert str(step) == "delete PostgreSQL's data on db2 and copy it anew from the newest backup, or from db1"


def moved(monkeypatch: pytest.MonkeyPatch, to: str | None, *, dry: bool) -> tuple[int, list[Step]]:
    """Runs `etcd.move-leader`; its exit code, and the steps that were executed. Etcd goes on being led from db2."""
    executed: list[Step] = []
    cut_off(monkeypatch, maintenance, execute=lambda step, actions: executed.append(step))
    return maintenance.move_etcd_leader(SHOP, to=to, dry=dry, as_json=True), executed


def test_the_leader_of_etcd_is_moved_by_the_step_that_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert moved(monkeypatch, "db3", dry=True) == (0, [])
    printed = json.loads(capsys.readouterr().out)["planned"]
    assert moved(monkeypatch, "db3", dry=False) == (1, [MoveEtcdLeader("db3")])
    assert printed == json.loads(capsys.readouterr().out)["planned"] == as_json([MoveEtcdLeader("db3")])
    assert moved(monkeypatch, None, dry=False) == (0, [])  # it is off the primary's host already
    assert json.loads(capsys.readouterr().out)["planned"] == []


def as_json(steps: list[Step]) -> list[Any]:
    """Their documents, as they are when they have been read."""
    return list(json.loads(json.dumps([step.document() for step in steps])))


def test_what_was_interrupted_begins_no_step() -> None:
    class Interrupted(RecordingActions):
        def check_interrupted(self) -> None:
            raise KeyboardInterrupt

    actions: Any = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        execute(RestartPostgres("db2"), actions)
    assert actions.calls == []


@pytest.mark.parametrize("step", [RestartPostgres("db1"), RestartPatroni("db1"), RebootHost("db1")])
def test_who_has_become_the_primary_meanwhile_is_not_restarted(step: Step) -> None:
    actions: Any = RecordingActions()
    with pytest.raises(ClusterError, match="db1 leads now, and did not when this was planned"):
        execute(step, actions)
    assert actions.calls == []


def test_what_was_wrong_before_keeps_no_step_from_its_end_and_is_to_be_right_after_the_last() -> None:
    actions: Any = RecordingActions()
    actions.known = frozenset({("replica.missing", "db3")})
    outcome = measuring.Outcome("shop", (RestartUnit("db3", "patroni.service"),))
    said: Any = SimpleNamespace(print=lambda *words: None)
    measuring.take_steps(said, actions, outcome)
    assert actions.calls == ["systemctl db3 restart patroni.service", "await_healthy", "await_healthy"] and not actions.known
