"""What commands print with --json: each document names its format, and has the keys that docs/json.md lists for it."""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any, get_args

import proofs
import pytest
import views
from clusters import cluster
from offered import host, row
from offline import cut_off
from repository import ROOT

import day2.commands.backups.drill as drill
import day2.commands.backups.listing as listing
import day2.commands.backups.restore as restore
import day2.commands.change.host_remove as host_remove
import day2.commands.change.maintenance as maintenance
import day2.commands.change.reboot as reboot
import day2.commands.change.rolling_restart as rolling_restart
import day2.commands.change.switchover as switchover
import day2.commands.change.upgrade as upgrade
import day2.commands.look.config as config
import day2.commands.look.packages as packages
import day2.commands.look.preflight as preflight
import day2.commands.look.status as status
import day2.commands.look.verify as verify
import day2.commands.look.wal_lag as wal_lag
import day2.commands.prove.failover_test as failover_test
import tasks
from agents.drill_files import FORMAT, Result
from day2.faults.fault import FaultContext
from day2.procedures.steps import Step
from day2.recovery.drill import Moment
from day2.recovery.plan import Restore

SHOP = cluster()
MANUAL = (ROOT / "docs/json.md").read_text()


class Tried:
    """A series of trials that has been run."""

    interrupted = False

    def __init__(self, *parts: Any) -> None: ...

    def context(self) -> FaultContext:
        return FaultContext(None, SHOP, None, views.view(), SHOP.timing)  # type: ignore[arg-type]

    def run(self, *planned: Any) -> Any:
        return proofs.proof()


class Drilled:
    """A drill on a host that answers as one does."""

    directory = "/d"

    def __init__(self, fleet: Any, cluster: Any, choice: Any, say: Any) -> None:
        self.choice = choice

    def refuse_second(self) -> None: ...

    def room(self) -> str:
        return f"4096 {10**9} {10**9} {10**9}"

    def moment(self, *asked: Any) -> tuple[Moment, str]:
        return Moment("run", "0/1", "1", "db2", {}, 1.0), "000000010000000000000001"

    def first_of_a_file(self, *asked: Any) -> tuple[str, float]:
        return "000000010000000000000002", 0.0

    def await_archived(self, *asked: Any) -> None: ...

    def exposed(self, *asked: Any) -> float:
        return 12.3

    def run(self, moment: Moment) -> dict[str, Any]:
        result = Result("shop", "keep1", "1", "L", "full", passed=True)
        return {"format": FORMAT, **asdict(result)}

    def note(self, result: dict[str, Any]) -> None: ...

    def forget(self, *asked: Any) -> None: ...


ROLL = {"patience": 5, "component": "haproxy", "pending_only": False, "yes": True, "hop": None}
SWITCH = {"patience": 5, "to": None, "force": False, "yes": True, "writers": 1, "hop": None}
TEST = {
    "fault": "switchover", "repeat": 1, "soak": None, "seed": None, "yes": True, "writers": 1, "rate": 0.0, "readers": 1,
    "hop": None, "directory": None,
}  # fmt: skip
KEPT = {"keeper": lambda cluster: views.BACKED_UP.host("keep1"), "observe": lambda *asked: views.backed_up()}
RESTORE = {"to": "latest", "label": None, "timeline": None, "discard": False, "dry": True, "yes": True}
RESTORED = {
    "keeper": lambda cluster: None, "notes": lambda *asked: {}, "reachable": lambda *asked: (), "unreadable": lambda *asked: {},
    "resumed": lambda *asked: UNFINISHED, "RestoreActions": lambda *parts: SimpleNamespace(noted_on_hosts=lambda: None),
}  # fmt: skip
UNFINISHED = Restore(
    id="1", to="latest", kind="latest", value="", label="L", host="db1", timeline=1, begins=2, taken=(), hosts=("db1", "db2"),
    before=1, live=True, keep=True, began="now",
)  # fmt: skip
UPGRADE = {"component": "", "back": False, "without_way_back": False, "patience": 5, "yes": True, "hop": None}
REBOOT = {"hosts": [], "patience": 5, "yes": True, "hop": None}
OFFERED = {"look": lambda *asked, **how: {"db1": host("db1", row("etcd-server", "3.5.31-1"))}}
NEEDED = {"needed": lambda *asked: {"db2": "a new kernel"}}
NO_LOAD = {"carry_out": lambda *way: False}
NOTHING_TO_DO = {"steps": lambda *seen, **options: ()}
REINIT = {"host": "db2", "from_primary": False, "force": False, "dry": False, "yes": True}
PROBED = {part: lambda *way: () for part in ("probe", "log_in", "sorting")}
DONE = {"execute": lambda *asked: None}
# What each command prints: its name, the kind of document, its body, the body's options, what is replaced in its module.
CASES: list[tuple[str, str, Callable[..., int], dict[str, Any], dict[str, Any]]] = [
    ("preflight", "preflight", preflight.preflight, {}, {"look": lambda cluster: ([], False)}),
    ("status", "status", status.status, {"watch": False}, {}),
    ("verify", "verify", verify.verify, {"strict": False, "through": None}, PROBED),
    ("wal-lag", "wal-lag", wal_lag.wal_lag, {"watch": False, "max_bytes": None, "max_seconds": None}, {"BETWEEN_SECONDS": 0}),
    ("config", "config", config.config, {}, {}),
    ("packages.list", "packages", packages.packages, {}, {}),
    ("backup.list", "backups", listing.listing, {}, KEPT),
    ("backup.drill", "drill", drill.drill, {"backup": None, "host": None, "report": None}, KEPT | {"Drilling": Drilled}),
    ("restore", "restore", restore.restore, RESTORE, RESTORED),
    ("rolling-restart", "rolling-restart", rolling_restart.rolling_restart, ROLL | {"dry": False}, NO_LOAD),
    ("rolling-restart", "plan", rolling_restart.rolling_restart, ROLL | {"dry": True}, {}),
    ("rolling-restart", "plan", rolling_restart.rolling_restart, ROLL | {"dry": False}, NOTHING_TO_DO),
    ("upgrade", "upgrade", upgrade.upgrade, UPGRADE | {"dry": False}, NO_LOAD | OFFERED),
    ("upgrade", "plan", upgrade.upgrade, UPGRADE | {"dry": True}, OFFERED),
    ("reboot", "reboot", reboot.reboot, REBOOT | {"dry": False}, NO_LOAD | NEEDED),
    ("reboot", "plan", reboot.reboot, REBOOT | {"dry": True}, NEEDED),
    ("switchover", "proof", switchover.switchover, SWITCH | {"dry": False}, {"TrialRunner": Tried}),
    ("switchover", "plan", switchover.switchover, SWITCH | {"dry": True}, {"TrialRunner": Tried}),
    ("reinit", "plan", maintenance.reinit, REINIT, DONE | {"identity": lambda *asked: object(), "await_copy": lambda *way: 0}),
    ("host.remove", "plan", host_remove.remove, {"host": "db3", "dry": False, "yes": True}, DONE),
    ("etcd.move-leader", "plan", maintenance.move_etcd_leader, {"to": "db3", "dry": False}, DONE),
    ("failover-test", "proof", failover_test.failover_test, TEST, {"TrialRunner": Tried}),
]


def test_every_command_with_json_is_tried_here_and_in_the_manual() -> None:
    bodies = {name: tasks.namespace[name].body for name in tasks.namespace.task_names}
    names = {name for name, body in bodies.items() if "json" in inspect.signature(body).parameters}
    table = MANUAL.partition("\n## ")[0]
    told = {
        (name, kind)
        for names, printed in re.findall(r"(?m)^\| (`[^|]*) \| (.*) \|$", table)
        for name in re.findall(r"`([\w.-]+)`", names)
        for kind in re.findall(r"`pgquorum ([\w-]+) \d+`", printed)
    }
    assert told == {(name, kind) for name, kind, *_ in CASES}
    assert {name for name, _ in told} == names


@pytest.mark.parametrize(("kind", "body", "options", "replaced"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_document_names_its_format_first_and_has_the_keys_in_the_manual(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    body: Callable[..., int],
    options: dict[str, Any],
    replaced: dict[str, Any],
) -> None:
    cut_off(monkeypatch, sys.modules[body.__module__], **replaced)
    body(SHOP, as_json=True, **options)
    document = json.loads(capsys.readouterr().out)
    assert next(iter(document)) == "format"
    number, keys = manual(kind)
    assert document.pop("format") == f"pgquorum {kind} {number}"
    assert set(document) == keys


def manual(kind: str) -> tuple[str, set[str]]:
    """The number of a document's format and its keys, by the heading and the table of its section."""
    ((number, section),) = re.findall(rf"(?ms)^## `pgquorum {kind} (\d+)`\n(.*?)(?=^## |\Z)", MANUAL)
    table = section.partition("| kind |")[0]
    return number, {key for row in re.findall(r"(?m)^\| (`.*?) \|", table) for key in re.findall(r"`(\w+)`", row)}


def test_every_kind_of_step_is_in_the_manual_with_its_fields() -> None:
    table = MANUAL.partition("| kind |")[2].partition("\n## ")[0]
    rows = {
        kind: set(re.findall(r"`(\w+)`", fields))
        for kinds, fields in re.findall(r"(?m)^\| (`[^|]*) \| ([^|]*) \|", table)
        for kind in re.findall(r"`([\w-]+)`", kinds)
    }
    assert rows == {step.kind: set(step.__dataclass_fields__) - {"kind"} for step in get_args(Step)}
