"""Rolling reboots: which hosts need one, in which order, and what the command says."""

from __future__ import annotations

import json
from contextlib import nullcontext
from typing import Any

import pytest
import views
from clusters import cluster
from offline import cut_off

import day2.commands.change.measuring as measuring
import day2.commands.change.reboot as command
from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.procedures.reboot import steps
from day2.procedures.steps import Step
from health.backup_states import BackupRun
from health.reboots import read, why
from health.view import ClusterView

SHOP = cluster()
BUILT = "#1 SMP PREEMPT_DYNAMIC Debian 6.12.48-1 (2031-09-20)"


def reason(running: str = "6.12.48-amd64", built: str = BUILT, required: bool = False, **installed: str) -> str:
    there = {release.replace("_", "-").replace("v", ""): version.replace("_", "-") for release, version in installed.items()}
    return why(read(json.dumps({"running": running, "built": built, "installed": there, "libraries": {}, "required": required})))


def test_a_host_that_runs_its_newest_kernel_needs_no_reboot() -> None:
    assert reason(**{"6.12.48-amd64": "6.12.48-1", "6.12.9-amd64": "6.12.9-1"}) == ""


def test_a_newer_kernel_is_a_reason() -> None:
    found = reason(**{"6.12.48-amd64": "6.12.48-1", "6.12.101-amd64": "6.12.101-1"})
    assert found == "kernel 6.12.101-amd64 is installed, and 6.12.48-amd64 runs"


def test_one_of_another_kind_is_not() -> None:
    assert reason(**{"6.12.48-amd64": "6.12.48-1", "6.13.1-cloud-arm64": "6.13.1-1"}) == ""


def test_another_build_of_the_same_release_is_a_reason() -> None:
    assert (
        reason(**{"6.12.48-amd64": "6.12.48-2"}) == "kernel 6.12.48-amd64 is installed in version 6.12.48-2, and another one runs"
    )


def test_a_container_has_the_kernel_of_its_machine_and_may_be_asked_to_reboot_all_the_same() -> None:
    assert reason() == ""
    assert reason(required=True) == "a package has asked for it (/run/reboot-required)"


@pytest.mark.parametrize("text", ["", "{}", "[]"])
def test_what_is_no_answer(text: str) -> None:
    with pytest.raises(ValueError):
        read(text)


def test_the_order() -> None:
    everything = ["proxy1", "db2", "db1", "db3"]
    assert [str(step) for step in steps(views.view(), SHOP, everything, None)] == [
        "drain and reboot db3",
        "move etcd's leadership to db3",
        "drain and reboot db2",
        "switch over from db1 to db3",
        "drain and reboot db1",
        "reboot proxy1",
    ]


def test_a_host_that_keeps_backups_comes_first() -> None:
    plan = [str(step) for step in steps(views.backed_up(), views.BACKED_UP, ["db3", "keep1"], None)]
    assert plan == ["reboot keep1", "drain and reboot db3"]


def test_the_virtual_address_leaves_a_proxy_host_before_that_is_rebooted_and_once() -> None:
    plan = [str(step) for step in steps(views.shared(), views.SHARED, ["proxy1", "proxy2"], None)]
    assert plan == ["reboot proxy2", "move 10.0.0.77 away from proxy1", "reboot proxy1"]


def ran(
    monkeypatch: pytest.MonkeyPatch,
    needed: dict[str, str],
    view: ClusterView | None = None,
    of: Cluster = SHOP,
    **options: Any,
) -> tuple[int, list[Step]]:
    executed: list[Step] = []

    def carry_out(out: Any, fleet: Any, of: Any, vault: Any, outcome: measuring.Outcome, hop: Any) -> bool:
        executed.extend(outcome.planned)
        outcome.done.extend(outcome.planned)
        return False

    cut_off(monkeypatch, command, view, carry_out=carry_out, needed=lambda *asked: needed)
    given: dict[str, Any] = {"hosts": [], "patience": 5, "dry": False, "yes": True, "hop": None, "as_json": False}
    return command.reboot(of, **given | options), executed


NEEDED = {"db1": "", "db2": "kernel 2 is installed, and kernel 1 runs", "db3": "", "proxy1": ""}


def test_those_that_need_none_are_left_out_unless_they_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, executed = ran(monkeypatch, NEEDED)
    assert [str(step) for step in executed] == ["move etcd's leadership to db3", "drain and reboot db2"]
    told = capsys.readouterr().out
    assert "db2: kernel 2 is installed, and kernel 1 runs" in told and "db1: needs none" in told
    _, executed = ran(monkeypatch, NEEDED, hosts=["db3"])
    assert [str(step) for step in executed] == ["drain and reboot db3"]


def test_the_plan_that_is_printed_is_the_plan_that_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(monkeypatch, NEEDED, dry=True, as_json=True) == (0, [])
    printed = json.loads(capsys.readouterr().out)["planned"]
    ran(monkeypatch, NEEDED, as_json=True)
    result = json.loads(capsys.readouterr().out)
    assert result["planned"] == result["done"] == printed


def test_what_a_proxy_s_reboot_costs_is_said_before(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ran(monkeypatch, NEEDED, hosts=["proxy1"], dry=True)
    assert "clients of a proxy host that is rebooted are cut, and reach nothing until it is back" in capsys.readouterr().out


def test_no_backup_is_broken_off_by_a_reboot(monkeypatch: pytest.MonkeyPatch) -> None:
    making = views.keeper(backups=views.backups(runs=(BackupRun("full", True, False, None),)))
    for hosts, refused in ((["db2"], True), (["keep1"], True), (["proxy1"], False)):
        with pytest.raises(ClusterError, match="keep1: a backup is being made") if refused else nullcontext():
            ran(monkeypatch, dict.fromkeys(NEEDED, ""), views.backed_up(keep1=making), views.BACKED_UP, hosts=hosts)


def test_no_host_needs_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(monkeypatch, dict.fromkeys(NEEDED, "")) == (0, [])
    assert capsys.readouterr().out.splitlines()[-1] == "no host needs a reboot"


def test_an_unknown_host_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match="--host: no host is called 'db9'"):
        ran(monkeypatch, NEEDED, hosts=["db9"])
