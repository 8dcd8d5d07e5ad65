"""The packet filter: tried before it is kept, there before anything listens, and gone with its setting."""

from __future__ import annotations

import pytest
from conftest import BLANK_HOST, DATABASES, HOSTS, SETTINGS, SURVEY, Rehearsal, Stage

RULES = "/etc/pgquorum/firewall.nft"


@pytest.fixture(scope="session")
def filtered(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """A first deploy with the filter."""
    stage = Stage(tmp_path_factory.mktemp("filtered"))
    stage.write("group_data/all.py", f"{SETTINGS}firewall = True\n")
    run = stage.rehearse("-y")
    assert "Traceback" not in run.output
    return run


def test_it_is_tried_with_its_end_armed_before_it_is_kept(filtered: Rehearsal) -> None:
    for host in HOSTS:
        written = filtered.first(f"mktemp {RULES}.new", host)
        (tried,) = filtered.executed("--on-active=30", host)
        (kept,) = filtered.executed(f"mv -f {RULES}.new {RULES}", host)
        assert written < tried < kept
        loaded = filtered.commands[tried].command
        assert loaded.index("systemd-run") < loaded.index(f"load-firewall {RULES}.new")
        assert "systemctl stop --quiet pgquorum-firewall-revert.timer" in filtered.commands[kept].command


def test_it_is_there_before_anything_listens(filtered: Rehearsal) -> None:
    kept = max(filtered.last(f"mv -f {RULES}.new", host) for host in HOSTS)
    assert kept < min(filtered.first("mktemp /etc/etcd", host) for host in DATABASES)
    assert filtered.first("nftables", DATABASES[0]) < filtered.first(f"mktemp {RULES}.new", DATABASES[0])


def test_ssh_is_filtered_at_the_port_at_which_the_run_is_connected(stage: Stage) -> None:
    stage.write("group_data/all.py", f"{SETTINGS}firewall = True\noperator_networks = ['192.0.2.0/24']\n")
    run = stage.rehearse("-y", answers=[("db1", SURVEY, [*BLANK_HOST, "ssh_port 2222"])])
    assert run.exit_code == 0, run.output
    tables = {host: run.commands[run.first(f"mktemp {RULES}.new", host)].stdin for host in DATABASES[:2]}
    assert ["chain to_22 {" in table for table in tables.values()] == [False, True]
    assert ["chain to_2222 {" in table for table in tables.values()] == [True, False]


def test_rules_that_the_kernel_does_not_take_are_not_tried(stage: Stage) -> None:
    stage.write("group_data/all.py", f"{SETTINGS}firewall = True\n")
    run = stage.rehearse("-y", answers=[(DATABASES[0], f"mktemp {RULES}.new", None)])
    assert run.exit_code != 0
    assert run.executed("--on-active=30", DATABASES[0]) == []


def test_a_host_that_has_one_loses_it_with_the_setting(stage: Stage) -> None:
    run = stage.rehearse("-y", answers=[("db1", "^ls /etc/systemd/system/pgquorum-firewall.service", [RULES])])
    assert {run.commands[n].host for n in run.executed("disable --now --quiet pgquorum-firewall.service")} == {DATABASES[0]}
    assert "mktemp" not in "".join(run.commands[n].command for n in run.executed("firewall"))
