"""Packages of the cluster's programs: held, released, and installed without running."""

from __future__ import annotations

import json
import subprocess

import pytest
import views
from clusters import cluster

from agents.parts import machine
from cluster.errors import ClusterError
from day2.commands.change import hold as command
from health.rules import findings
from health.states import Package
from health.view import ClusterView

SHOP = cluster()


def warnings(view: ClusterView) -> list[str]:
    return [f"{f.about}: {f.text}" for f in findings(view, SHOP) if f.level == "warning"]


def test_a_program_that_is_installed_and_does_not_run_yet_is_named() -> None:
    versions = {"patroni": "4.1.6-1", "postgresql-18": "18.6-3", "etcd-server": "3.5.30-1"}
    installed = {name: Package(version, held=True) for name, version in versions.items()}
    (line,) = warnings(views.view(db2=views.database("db2", packages=installed)))
    assert line == "db2: patroni 4.1.6-1 is installed, and 4.1.5 runs: `invoke rolling-restart --component patroni`"


def test_what_apt_may_upgrade_is_named() -> None:
    loose = {"patroni": Package("4.1.5-1", held=False), "postgresql-18": Package("18.6-1", held=True)}
    (line,) = warnings(views.view(db2=views.database("db2", packages=loose)))
    assert line == "db2: apt may upgrade patroni and restart what is in there: `invoke packages.hold`, or a deploy"


def test_a_host_tells_what_is_installed_and_what_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "installed patroni 4.1.5-1 hold\ninstalled haproxy 3.2.5-1 install\nconfig-files socat 1.8 deinstall\n"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0, said, ""))
    found = machine.packages({"names": ["patroni", "haproxy", "socat"]})
    assert json.loads(json.dumps(found)) == {
        "patroni": {"version": "4.1.5-1", "held": True},
        "haproxy": {"version": "3.2.5-1", "held": False},
    }


def test_a_host_that_is_not_there_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(ClusterError, match="--host: no host is called 'db9'"):
        command.hold(SHOP, hosts=["db9"], held=False)


def test_what_is_held_is_what_a_host_carries() -> None:
    assert SHOP.packages(SHOP.host("proxy1")) == ("haproxy", "socat")
    assert "patroni" in SHOP.packages(SHOP.host("db1")) and "haproxy" not in SHOP.packages(SHOP.host("db1"))
