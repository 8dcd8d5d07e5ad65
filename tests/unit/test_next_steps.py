"""What `invoke next-steps` tells is what the cluster at hand can do."""

from __future__ import annotations

import pytest
from clusters import cluster

from cluster.topology import Cluster
from day2.commands.begin.next_steps import next_steps

APP = {"postgres_roles": [{"name": "app"}], "postgres_databases": [{"name": "app", "owner": "app"}]}


def switched(command: str) -> dict[str, dict[str, str]]:
    names = ("db1", "db2", "db3")
    return {name: {"power_off": f"{command}off {name}", "power_on": f"{command}on {name}"} for name in names}


def told(capsys: pytest.CaptureFixture[str], of: Cluster) -> str:
    assert next_steps(of) == 0
    return capsys.readouterr().out


def test_in_the_lab_there_is_power_to_cut(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, cluster(switched("invoke lab."), **APP))
    assert "`invoke lab.off db1`, `invoke status`, `invoke lab.on db1`" in text and "`invoke lab.down`" in text
    assert "    invoke failover-test            cut the power" in text and "invoke psql" in text


def test_a_lab_is_removed_by_its_own_name(capsys: pytest.CaptureFixture[str]) -> None:
    named = {name: {way: f"{command} --name six" for way, command in of.items()} for name, of in switched("invoke lab.").items()}
    assert "`invoke lab.down --name six` removes the lab" in told(capsys, cluster(named, **APP))


def test_with_power_switches_of_ones_own_there_is_no_lab(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, cluster(switched("ipmi "), **APP))
    assert "lab" not in text and "cut the power" in text and "power_off" not in text


def test_without_power_switches_something_else_is_killed(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, cluster(**APP))
    assert "lab" not in text and "invoke failover-test --fault kill\n" in text
    assert "With power_off and power_on in inventory.py" in text


def test_without_a_database_nobody_is_sent_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    text = told(capsys, cluster())
    assert "invoke psql" not in text and "invoke dsn" not in text and "set postgres_roles" in text
