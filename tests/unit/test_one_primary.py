"""Which server HAProxy sends no writes any more, where it has two."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agents import https, one_primary
from agents.one_primary import Members, Proxy, Route, Verdict, timeline, verdict


def nobody_is_asked(names: list[str]) -> Mapping[str, int]:
    raise AssertionError(f"{names} are asked")


@pytest.mark.parametrize(
    "states",
    [
        {"db1": "UP", "db2": "DOWN", "db3": "DOWN 1/2"},
        {"db1": "UP 1/6", "db2": "DOWN", "db3": "DOWN"},  # a Patroni that died has time to come back
        {"db1": "UP 1/6", "db2": "UP 2/6", "db3": "DOWN"},
        {"db1": "DOWN", "db2": "DOWN", "db3": "MAINT"},
        {},
    ],
)
def test_one_server_is_left_to_its_checks(states: dict[str, str]) -> None:
    assert verdict(states, nobody_is_asked) == Verdict()


@pytest.mark.parametrize(
    ("states", "told", "found"),
    [
        ({"db1": "UP 1/6", "db2": "UP"}, {"db2": 4}, Verdict(("db1",), newest=4)),
        ({"db1": "UP 1/6", "db2": "UP"}, {}, Verdict(newest=2)),  # its check is of before, or it is about to lead
        ({"db1": "UP 5/6", "db2": "UP"}, {"db1": 4}, Verdict(newest=4)),  # a switchover: the old one's next check is due
        ({"db1": "UP 5/6", "db2": "UP"}, {"db1": 4, "db2": 3}, Verdict(newest=4)),
        ({"db1": "UP 1/6", "db2": "UP"}, {"db1": 3, "db2": 4}, Verdict(("db1",), ("db1",), 4)),
        ({"db1": "UP", "db2": "UP"}, {"db1": 3, "db2": 4}, Verdict(("db1",), ("db1",), 4)),
        ({"db1": "UP", "db2": "UP"}, {"db1": 4, "db2": 4}, Verdict(newest=4)),
        ({"db1": "UP", "db2": "UP"}, {"db2": 4}, Verdict(newest=4)),  # whoever passes its checks in silence may be about to lead
        ({"db1": "UP", "db2": "UP", "db3": "UP 3/6"}, {"db1": 3, "db2": 4}, Verdict(("db3", "db1"), ("db1",), 4)),
        ({"db1": "UP", "db2": "UP 2/6"}, {"db1": 1}, Verdict(newest=2)),  # it is the former one, and the other is only late
    ],
)
def test_of_several_who_takes_writes_by_its_own_word_stays(states: dict[str, str], told: dict[str, int], found: Verdict) -> None:
    asked: list[list[str]] = []

    def timelines(names: list[str]) -> Mapping[str, int]:
        asked.append(names)
        return told

    assert verdict(states, timelines, 2) == found
    assert asked == [list(states)]


class Proxied:
    """HAProxy's admin socket."""

    def __init__(self, **states: str) -> None:
        self.now = states
        self.changes: list[str] = []

    def states(self) -> dict[str, str]:
        return dict(self.now)

    def drained(self, backend: str) -> list[str]:
        assert backend == "write"
        return [name for name, state in self.now.items() if state.startswith("DRAIN")]

    def change(self, command: str) -> None:
        self.changes.append(command)


def test_one_whose_checks_fail_is_put_down() -> None:
    haproxy = Proxied(db1="UP 2/6", db2="UP")
    Route(haproxy, lambda names: {"db2": 4}).step()  # type: ignore[arg-type]
    assert haproxy.changes == ["set server write/db1 health down"]


def test_a_former_primary_is_drained_until_it_is_none_any_more() -> None:
    haproxy, told = Proxied(db1="UP", db2="UP"), {"db1": 3, "db2": 4}
    route = Route(haproxy, lambda names: {name: told[name] for name in names if name in told})  # type: ignore[arg-type]
    route.step()
    assert haproxy.changes == ["set server write/db1 state drain", "shutdown sessions server write/db1"]
    haproxy.now["db1"] = "DRAIN"
    route.step()
    assert len(haproxy.changes) == 2
    del told["db1"]
    route.step()
    assert haproxy.changes[2:] == ["set server write/db1 state ready"]


def test_a_former_primary_takes_no_writes_while_the_new_one_is_late() -> None:
    haproxy, told = Proxied(db1="UP 1/6", db2="UP"), {"db2": 4}
    route = Route(haproxy, lambda names: {name: told[name] for name in names if name in told})  # type: ignore[arg-type]
    route.step()
    assert haproxy.changes == ["set server write/db1 health down"]
    haproxy.now, told = {"db1": "UP", "db2": "UP 1/6"}, {"db1": 3}
    route.step()
    assert len(haproxy.changes) == 1


def test_of_two_that_are_drained_each_is_asked_alone() -> None:
    asked: list[list[str]] = []

    def timelines(names: list[str]) -> Mapping[str, int]:
        asked.append(names)
        return {"db1": 3} if "db1" in names else {}

    haproxy = Proxied(db1="DRAIN", db2="DRAIN", db3="UP")
    Route(haproxy, timelines).step()  # type: ignore[arg-type]
    assert asked == [["db1"], ["db2"]] and haproxy.changes == ["set server write/db2 state ready"]


def test_what_was_left_is_taken_back_and_nothing_else_is_touched() -> None:
    haproxy = Proxied(db1="UP", db2="DRAIN (agent)", db3="DOWN")
    Route(haproxy, nobody_is_asked).take_back()  # type: ignore[arg-type]
    assert haproxy.changes == ["set server write/db2 state ready"]


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ({"role": "primary", "timeline": 4}, 4),
        ({"role": "replica", "timeline": 4}, None),
        ({"role": "primary"}, None),
        ({"role": "primary", "timeline": "4"}, None),
    ],
)
def test_the_timeline_of_a_primary(said: dict[str, Any], number: int | None) -> None:
    assert timeline(said) == number


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"role": "primary", "timeline": 4}, {"db2": 4}),
        ({"role": "replica", "timeline": 3}, {}),  # about to be promoted: it is asked again, and soon
        (["not Patroni"], None),
    ],
)
def test_a_host_that_is_gone_is_not_waited_for_when_another_answers(
    monkeypatch: pytest.MonkeyPatch, said: object, told: dict[str, int] | None
) -> None:
    over = threading.Event()

    def ask(where: str, path: str, body: object, tls: ssl.SSLContext, seconds: float) -> object:
        if where == "gone":
            over.wait(seconds)
            raise TimeoutError
        return said

    monkeypatch.setattr(https, "ask", ask)
    monkeypatch.setattr(one_primary, "MEMBER_SECONDS", 60.0 if told is not None else 0.1)
    members = Members({"db1": "gone", "db2": "there"}, ssl.create_default_context(), 0.1)
    began = time.monotonic()
    assert members.timelines(["db1", "db2", "unknown"]) == (told or {})
    assert time.monotonic() - began < 30
    over.set()


def test_what_a_proxy_is_told(tmp_path: Path) -> None:
    fields = {"socket": "/run/s", "patroni": {"db1": "10.0.0.11:8008"}, "apart": 0.2, "ca": "ca.crt", "client": "client.pem"}
    file = tmp_path / "one-primary.json"
    file.write_text(json.dumps(fields))
    assert Proxy.read(str(file)) == Proxy("/run/s", {"db1": "10.0.0.11:8008"}, 0.2, "ca.crt", "client.pem")
    file.write_text('{"socket": "/run/s"}')
    with pytest.raises(TypeError):
        Proxy.read(str(file))
