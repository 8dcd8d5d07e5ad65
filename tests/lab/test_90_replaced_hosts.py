"""Hosts that come back blank, as after a new disk or in place of dead ones: a plain deploy makes them members again."""

from __future__ import annotations

import json

import pytest
from clients import Writers
from commands import invoke
from helpers import INVENTORY, Site, refused
from hosts import DATABASES, PROXY, wait_until

from cluster import paths

pytestmark = pytest.mark.usefixtures("healed")


def test_a_replaced_database_host_and_proxy_join_again_even_when_the_deploy_is_interrupted(site: Site) -> None:
    """The database host is the first by name, on which an empty cluster would begin: this one is not empty."""
    first = min(DATABASES)
    if site.leader() == first:
        site.on(first, f"patronictl -c /etc/patroni/conf.d switchover --force --leader {first} --candidate {site.replicas()[0]}")
        wait_until(lambda: site.healthy() and site.leader() != first, "another leads")
    leader = site.leader()
    with site.connect(5000) as connection:
        connection.execute("create table before_replacement (n int primary key)")
        connection.execute("insert into before_replacement values (1)")
    identifier = site.psql(leader, "select system_identifier from pg_control_system()")
    site.replace_with_blank(first, PROXY)
    assert site.on(first, "command -v patroni etcd postgres || true") == ""

    run = site.pyinfra(INVENTORY, "deploy.py", "-y")
    wait_until(
        lambda: site.on(first, "test -d /etc/patroni && pgrep -x -f '.*/dpkg .*' || dpkg -s patroni | grep installed"), "half way"
    )
    output = site.interrupt(run)
    assert run.returncode == 130, output

    run_again = site.deployed()
    assert "verified" in run_again.output
    wait_until(site.healthy, "the cluster is whole")
    assert site.leader() == leader
    assert site.psql(first, "select system_identifier from pg_control_system()") == identifier
    wait_until(lambda: site.psql(first, "select n from before_replacement", "app") == "1", "the data is there")
    members = site.etcdctl(leader, "member list").splitlines()
    assert sorted(line.split(", ")[2] for line in members) == DATABASES
    assert {line.split(", ")[1] for line in members} == {"started"}
    assert site.changes() == 0


def members(site: Site) -> list[str]:
    """etcd's, by name."""
    return sorted(line.split(", ")[2] for line in site.etcdctl(site.leader(), "member list").splitlines())


def noted_hosts(site: Site, host: str) -> list[str]:
    return sorted(json.loads(site.on(host, f"cat {paths.LAYOUT}"))["hosts"])


@pytest.mark.parametrize("lost", [pytest.param(False, id="in order", marks=pytest.mark.long), pytest.param(True, id="lost")])
def test_a_host_that_is_taken_out_is_let_go_and_joins_anew(site: Site, lost: bool) -> None:
    primary, (stays, leaves) = site.leader(), site.replicas()
    code, _, err = invoke(site, "host.remove", primary, "--yes")
    assert code == 2 and f"{primary} is the primary: `invoke switchover` first" in err
    with Writers(site) as writers:
        if lost:
            site.lab.off(leaves)
            wait_until(lambda: site.psql(primary, "select count(*) from pg_stat_replication") == "1", "it is given up")
        code, out, err = wait_until(lambda: removed(site, leaves), "somebody else could take over")
        assert code == 0, out + err
        before = len(writers.acknowledged)
        wait_until(lambda: len(writers.acknowledged) > before + 100, "writes go on")
    assert writers.lost() == set()
    assert members(site) == sorted({primary, stays})
    assert all(noted_hosts(site, host) == sorted({primary, stays, PROXY}) for host in (primary, stays, PROXY))
    if lost:
        site.replace_with_blank(leaves)
    else:
        assert site.on(leaves, "systemctl is-enabled patroni etcd; systemctl is-active patroni etcd; true").split() == [
            "disabled", "disabled", "inactive", "inactive",
        ]  # fmt: skip
        postgres = site.cluster.postgres
        directories = (postgres.data_directory, postgres.wal_directory, site.cluster.etcd.data_directory)
        refused(site.deploy("-y"), *(f"host {leaves}: {directory}" for directory in directories))
        for directory in directories:
            assert directory in out
            site.on(leaves, f"rm -rf {directory}")
    site.deployed()
    wait_until(site.healthy, "the cluster is whole")
    assert members(site) == DATABASES and noted_hosts(site, leaves) == sorted([*DATABASES, PROXY])
    assert site.changes() == 0
    with site.connect(5000) as connection:
        connection.execute("drop table written")


def removed(site: Site, host: str) -> tuple[int, str, str] | None:
    """What `host.remove` says; None while it is refused because nobody else could take over yet."""
    code, out, err = invoke(site, "host.remove", host, "--yes")
    return None if "nobody could take over" in err else (code, out, err)
