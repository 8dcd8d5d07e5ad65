"""The watchdog of the primary's host: Patroni's, somebody else's, or nobody's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import views
from clusters import cluster

from agents.parts import machine
from health.rules import findings
from health.states import Watchdog


def told(host: str, found: Watchdog | None) -> list[tuple[str, str]]:
    view = views.view(**{host: views.database(host, watchdog=found)})
    return [(f.level, f.text) for f in findings(view, cluster()) if f.rule.startswith("watchdog")]


def test_one_that_patroni_has_open_is_said_to_be_used() -> None:
    assert told("db1", Watchdog("postgres", used=True)) == [("ok", "Patroni's: it resets the host if that hangs")]


@pytest.mark.parametrize(
    ("owner", "words"),
    [("root", "is root's, so Patroni can't open it: deploy"), ("postgres", "came to lead: `invoke switchover`")],
)
def test_one_that_is_there_and_not_used_is_a_warning_with_what_to_do(owner: str, words: str) -> None:
    [(level, text)] = told("db1", Watchdog(owner, used=False))
    assert level == "warning" and text.endswith(words)


def test_who_does_not_lead_needs_none_and_a_host_may_have_none() -> None:
    assert told("db2", Watchdog("postgres", used=False)) == [] and told("db1", None) == []


def test_a_host_tells_whose_its_device_is_and_whether_the_unit_has_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "run", lambda *command: f"{os.getpid()}\n")
    device = tmp_path / "watchdog"
    spec = {"device": str(device), "unit": "patroni.service"}
    assert machine.watchdog(spec) is None
    device.touch()
    assert machine.watchdog(spec) == {"owner": device.owner(), "used": False}
    with device.open("w"):
        assert machine.watchdog(spec) == {"owner": device.owner(), "used": True}
