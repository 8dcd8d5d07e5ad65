"""Pools that begin their connections anew while their clients wait for no more than those that are being made."""

from __future__ import annotations

import getpass
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from clusters import cluster
from played import Played, with_systemd

from agents.sent import shipped
from cluster.errors import ClusterError
from day2.hosts.ssh import CommandResult
from day2.procedures.draining import renew_pools


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    return with_systemd(tmp_path, monkeypatch)


def renew(played: Played) -> subprocess.CompletedProcess[str]:
    """agents/sent/renew.py as it runs on a host."""
    pools = {"read-1": {"socket": str(played.folder), "port": 6432, "unit": "pgquorum-pool@read-1.service"}}
    command, source = shipped("renew", {"pools": pools, "user": getpass.getuser(), "timer": "read-again"})
    words = ["sh", "-c", command.replace("python3", sys.executable, 1)]
    return subprocess.run(words, input=source, capture_output=True, text=True, check=False)


def test_no_connection_that_is_being_made_is_ended(played: Played) -> None:
    played.begun = 3
    done = renew(played)
    assert done.returncode == 0, done.stderr
    assert "set server_lifetime = 0" in played.asked and "reconnect" not in played.asked
    assert played.failed == 0 and played.lifetime == "300"
    armed, disarmed = (played.folder / "systemd").read_text().splitlines()
    assert "--unit=read-again" in armed and armed.endswith("systemctl reload pgquorum-pool@read-1.service")
    assert disarmed == "systemctl stop read-again.timer"


def test_one_that_somebody_is_at_work_on_is_left_after_that(played: Played) -> None:
    played.busy, played.begun = True, 2
    assert renew(played).returncode == 0
    assert played.asked[-4:] == ["show pools", "show pools", "show pools", "reconnect"] and played.failed == 0
    assert played.lifetime == "300"


class Hosts:
    """A fleet that does not do what it is told."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def run_all(self, commands: dict[str, str], stdin: str) -> dict[str, CommandResult]:
        self.asked += commands
        return {host: CommandResult(host, 1, "", "no such socket", 0.0) for host in commands}


def test_pools_of_reads_alone_are_told_and_what_is_wrong_is_said() -> None:
    hosts: Any = Hosts()
    renew_pools(hosts, cluster())
    assert hosts.asked == []
    with pytest.raises(ClusterError, match="pools of reads could not be told to reconnect: proxy1: no such socket"):
        renew_pools(hosts, cluster(pooling=True))
    assert hosts.asked == ["proxy1"]
