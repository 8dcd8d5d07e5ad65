"""Which server HAProxy sends no writes any more, where it has two."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from agents.one_primary import Proxy, losers, timeline


def nobody_is_asked(names: list[str]) -> Mapping[str, int]:
    raise AssertionError(f"{names} are asked")


@pytest.mark.parametrize(
    ("states", "out"),
    [
        ({"db1": "UP", "db2": "DOWN", "db3": "DOWN 1/2"}, []),
        ({"db1": "UP 1/6", "db2": "DOWN", "db3": "DOWN"}, []),  # a Patroni that died has time to come back
        ({"db1": "UP 1/6", "db2": "UP", "db3": "DOWN"}, ["db1"]),
        ({"db1": "UP 1/6", "db2": "UP 2/6", "db3": "DOWN"}, []),
        ({"db1": "DOWN", "db2": "DOWN", "db3": "MAINT"}, []),
        ({}, []),
    ],
)
def test_a_server_whose_checks_fail_goes_when_another_is_up(states: dict[str, str], out: list[str]) -> None:
    assert losers(states, nobody_is_asked) == out


@pytest.mark.parametrize(
    ("told", "out"),
    [
        ({"db1": 3, "db2": 4}, ["db1"]),
        ({"db1": 4, "db2": 4}, []),
        ({"db2": 4}, []),  # who says nothing may be about to lead
        ({}, []),
    ],
)
def test_of_two_that_are_up_the_lower_timeline_goes(told: dict[str, int], out: list[str]) -> None:
    asked: list[list[str]] = []

    def timelines(names: list[str]) -> Mapping[str, int]:
        asked.append(names)
        return told

    assert losers({"db1": "UP", "db2": "UP", "db3": "UP 3/6"}, timelines) == ["db3", *out]
    assert asked == [["db1", "db2"]]


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


def test_what_a_proxy_is_told(tmp_path: Path) -> None:
    fields = {"socket": "/run/s", "patroni": {"db1": "10.0.0.11:8008"}, "ca": "ca.crt", "client": "client.pem"}
    file = tmp_path / "one-primary.json"
    file.write_text(json.dumps(fields))
    assert Proxy.read(str(file)) == Proxy("/run/s", {"db1": "10.0.0.11:8008"}, "ca.crt", "client.pem")
    file.write_text('{"socket": "/run/s"}')
    with pytest.raises(TypeError):
        Proxy.read(str(file))
