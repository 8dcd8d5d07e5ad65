"""Guards: there with their setting, after what they stand on, and gone without it."""

from __future__ import annotations

import pytest
from conftest import DATABASES, HOSTS, SETTINGS, Rehearsal, Stage

GUARD, ONE = "pgquorum-guard.service", "pgquorum-one-primary.service"
PROXY = next(host for host in HOSTS if host not in DATABASES)


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """A first deploy with guards."""
    stage = Stage(tmp_path_factory.mktemp("guarded"))
    stage.write("group_data/all.py", f"{SETTINGS}fast_failover = True\n")
    run = stage.rehearse("-y")
    assert "Traceback" not in run.output
    return run


def test_each_database_host_gets_a_guard_when_postgresql_runs(guarded: Rehearsal) -> None:
    for host in DATABASES:
        started = guarded.first(f"enable --now --quiet {GUARD}", host)
        assert guarded.first(f"mktemp /etc/systemd/system/{GUARD}", host) < started
        assert guarded.last("enable --now --quiet pgquorum-confirm-quorum.service", host) < started
        assert guarded.first("nftables", host) < started
    assert guarded.executed(f"enable --now --quiet {GUARD}", PROXY) == []


def test_each_proxy_host_gets_what_leaves_an_old_primary(guarded: Rehearsal) -> None:
    started = guarded.first(f"enable --now --quiet {ONE}", PROXY)
    assert guarded.first("mktemp /usr/local/lib/pgquorum/agents/agents/one_primary.py", PROXY) < started
    assert guarded.first("mktemp /etc/pgquorum/one-primary.json", PROXY) < started
    assert all(guarded.executed(f"enable --now --quiet {ONE}", host) == [] for host in DATABASES)


def test_hosts_that_have_them_lose_them_with_the_setting(stage: Stage) -> None:
    there = [("db1", f"^ls /etc/systemd/system/{GUARD}", [GUARD]), (PROXY, f"^ls /etc/systemd/system/{ONE}", [ONE])]
    run = stage.rehearse("-y", answers=there)
    assert {run.commands[n].host for n in run.executed(f"disable --now --quiet {GUARD}")} == {DATABASES[0]}
    assert {run.commands[n].host for n in run.executed(f"disable --now --quiet {ONE}")} == {PROXY}
    assert run.executed("nft delete table inet", DATABASES[0])


@pytest.mark.parametrize("durability", ["synchronous", "asynchronous"])
def test_other_durabilities_can_not_have_them(stage: Stage, durability: str) -> None:
    stage.write("group_data/all.py", f"{SETTINGS}fast_failover = True\ndurability = {durability!r}\n")
    run = stage.rehearse("-y")
    assert run.exit_code != 0 and run.commands == []
    assert f"fast_failover = True: needs durability 'quorum' or 'all', and durability is {durability!r}" in run.output
