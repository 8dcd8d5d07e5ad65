"""Hosts that come back blank, as after a new disk or in place of dead ones: a plain deploy makes them members again."""

from __future__ import annotations

import pytest
from helpers import INVENTORY, Site
from hosts import DATABASES, PROXY, wait_until

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
