"""The operator's side of a hold: what is asked of the proxy hosts, and in which order, with programs there that are played."""

from __future__ import annotations

import io
import json
import queue
import threading
from dataclasses import replace
from typing import Any

import pytest
from clusters import cluster

from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.hosts.interrupts import Interrupts
from day2.hosts.ssh import CommandResult
from day2.procedures import holding
from day2.procedures.hold import HoldGivenUpError, hold_for
from day2.procedures.holding import Holding

ONE = cluster(pooling=True)
BUSY = {"pool": "write-1", "pid": 4711, "client": "10.0.0.77", "role": "app", "database": "shop"}
TOLD = {"pid": 4711, "role": "app", "database": "shop", "state": "active", "since": "2026-11-29 12:00:00", "seconds": 9.0}
WELL: dict[str, dict[str, Any]] = {
    "busy": {"busy": []}, "hold": {"held": True}, "open": {"open": True}, "resume": {"resumed": True, "problems": []},
}  # fmt: skip


def two_proxies() -> Cluster:
    first = ONE.haproxy_hosts[0]
    return replace(ONE, haproxy_hosts=(first, replace(first, name="proxy2")))


class Channel:
    """One program: `answers` by the first word of a command. `heard`: what it was told, its end as `EOF`."""

    def __init__(self, answers: dict[str, dict[str, Any]]) -> None:
        self.answers, self.heard = answers, list[str]()
        self.status_event = threading.Event()
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._lines.put(json.dumps({"ready": True}))

    def sendall(self, data: bytes) -> None:
        for command in data.decode().splitlines() if len(data) < 100 else ():  # the program's own text is long
            self.heard.append(command)
            if answer := self.answers.get(command.split()[0]):
                self._lines.put(json.dumps(answer))

    def makefile(self, mode: str) -> Any:
        return iter(self._lines.get, "")

    def makefile_stderr(self, mode: str) -> io.BytesIO:
        return io.BytesIO(b"it broke")

    def shutdown_write(self) -> None:
        self.heard.append("EOF")
        self._lines.put("")
        self.status_event.set()

    def close(self) -> None:
        """Nothing is open."""


class Hosts:
    """A fleet of such programs, by host; PostgreSQL there tells TOLD."""

    def __init__(self, **answers: dict[str, dict[str, Any]]) -> None:
        self.channels = {name: Channel(WELL | of) for name, of in answers.items()}

    def start(self, host: str, command: str) -> Channel:
        return self.channels[host]

    def run(self, host: str, command: str, stdin: str = "", seconds: float = 30) -> CommandResult:
        assert host == "db1" and "pid in (4711" in stdin
        return CommandResult(host, 0, json.dumps([TOLD]))

    @property
    def heard(self) -> dict[str, list[str]]:
        return {name: channel.heard for name, channel in self.channels.items()}


def held(hosts: Hosts, interrupts: Interrupts | None = None, patience: int = 1) -> Holding:
    of = two_proxies()
    fleet: Any = hosts
    return Holding(fleet, of, hold_for(of, patience), "db1", interrupts or Interrupts(lambda text: None))


def test_every_proxy_holds_and_lets_go() -> None:
    hosts = Hosts(proxy1={}, proxy2={})
    with held(hosts) as clients:
        assert clients.began is None
        clients.await_short()
        clients.hold()
        assert clients.began
        clients.let_go("db2")
    assert hosts.heard == {name: ["busy", "hold", "open db2", "resume", "EOF"] for name in ("proxy1", "proxy2")}


def test_when_one_can_not_be_paused_all_go_on_and_who_it_was_is_named() -> None:
    hosts = Hosts(proxy1={}, proxy2={"hold": {"stuck": [BUSY], "problems": []}})
    with pytest.raises(HoldGivenUpError, match=r"pid 4711 of role app .* from 10\.0\.0\.77"), held(hosts) as clients:
        clients.hold()
    assert hosts.heard == {name: ["hold", "EOF"] for name in ("proxy1", "proxy2")}


def test_an_old_transaction_is_named_before_anybody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "LOOK_SECONDS", 0.05)
    hosts = Hosts(proxy1={"busy": {"busy": [BUSY]}}, proxy2={})
    with pytest.raises(HoldGivenUpError, match="pid 4711"), held(hosts) as clients:
        clients.await_short()
    assert "hold" not in hosts.heard["proxy1"] and hosts.heard["proxy1"][-1] == "EOF"


def test_a_transaction_that_ends_in_time_is_waited_for() -> None:
    hosts = Hosts(proxy1={"busy": {"busy": [BUSY]}}, proxy2={})
    with held(hosts, patience=10) as clients:
        clients.await_short()  # it has been open for 9 s


def test_a_program_that_fails_is_told_and_all_go_on() -> None:
    hosts = Hosts(proxy1={}, proxy2={"hold": {"problem": "write-1: already suspended/paused"}})
    with pytest.raises(ClusterError, match="proxy2: write-1: already suspended/paused") as caught, held(hosts) as clients:
        clients.hold()
    assert not isinstance(caught.value, HoldGivenUpError)
    assert hosts.heard["proxy1"][-1] == "EOF"


def test_what_could_not_be_let_go_is_told_with_the_way_out() -> None:
    hosts = Hosts(proxy1={}, proxy2={"resume": {"resumed": True, "problems": ["write-1: no answer"]}})
    way_out = r"write-1: no answer: by itself after 16 s, or by .invoke traffic\.resume"
    with pytest.raises(ClusterError, match=way_out), held(hosts) as clients:
        clients.let_go("db2")


def test_a_proxy_that_was_lost_keeps_nobody_waiting_at_the_others() -> None:
    hosts = Hosts(proxy1={"open": {"problem": "no connection gets through to PostgreSQL"}}, proxy2={})
    with pytest.raises(ClusterError, match="proxy1: no connection gets through"), held(hosts) as clients:
        clients.hold()
        clients.let_go("db2")
    assert hosts.heard == {"proxy1": ["hold", "open db2", "EOF"], "proxy2": ["hold", "open db2", "resume", "EOF"]}


def test_ctrl_c_ends_the_wait_for_a_pause() -> None:
    interrupts = Interrupts(lambda text: None)
    hosts = Hosts(proxy1={"hold": {}}, proxy2={"hold": {}})  # no answer
    with pytest.raises(KeyboardInterrupt), held(hosts, interrupts) as clients:
        interrupts.asked = True
        clients.hold()
    assert hosts.heard["proxy2"] == ["hold", "EOF"]
