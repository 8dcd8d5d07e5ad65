"""Hosts are lost under load: nothing acknowledged is lost, the write port follows the leader, and they come back."""

from __future__ import annotations

import pytest
from clients import Writers
from helpers import Site
from hosts import ADDRESS, DATABASES, wait_until

pytestmark = pytest.mark.usefixtures("healed")


def test_the_loss_of_the_primary_loses_no_acknowledged_write(site: Site) -> None:
    old = site.leader()
    survivors = [host for host in DATABASES if host != old]
    timeline = site.members()[old]["TL"]
    with Writers(site) as writers:
        site.lab.off(old)
        before = len(writers.acknowledged)
        new = wait_until(lambda: site.leader(survivors[0]), "another leads")
        wait_until(lambda: site.leader(survivors[0]) in survivors, "another leads")
        new = site.leader(survivors[0])
        wait_until(lambda: len(writers.acknowledged) > before + 500, "writes are acknowledged again")
        # The same port, the same clients, another server.
        with site.connect(5000) as connection:
            address, recovery = connection.execute("select host(inet_server_addr()), pg_is_in_recovery()").fetchone()  # type: ignore[misc]
        assert (address, recovery) == (ADDRESS[new], False)
        site.lab.on(old)
        wait_until(site.healthy, "the lost host streams again")
    assert writers.lost() == set()
    members = site.members()
    assert members[old]["Role"] != "Leader"
    assert {member["TL"] for member in members.values()} == {timeline + 1}
    # What the lost host has, it has from the new primary: nothing of its own is left.
    counts = {host: site.psql(host, "select count(*), sum(seq) from written", "app") for host in DATABASES}
    assert set(counts.values()) == {counts[new]}


def test_a_deploy_after_a_failover_changes_nothing_and_moves_nobody(site: Site) -> None:
    leader = site.leader()
    assert site.changes() == 0
    assert site.leader() == leader


def test_a_primary_that_is_cut_off_acknowledges_nothing_that_is_lost(site: Site) -> None:
    """Its cable is cut: it lives on, believes to lead until its time is up, and must not acknowledge alone."""
    old = site.leader()
    survivors = [host for host in DATABASES if host != old]
    with Writers(site) as writers:
        site.lab.cut(old)
        before = len(writers.acknowledged)
        wait_until(lambda: site.leader(survivors[0]) in survivors, "another leads")
        wait_until(lambda: len(writers.acknowledged) > before + 500, "writes are acknowledged again")
        wait_until(lambda: site.psql(old, "select pg_is_in_recovery()") == "t", "the old primary has stepped down")
        site.lab.heal(old)
        wait_until(site.healthy, "the old primary streams again")
    assert writers.lost() == set()
    assert site.changes() == 0


def test_the_loss_of_a_replica_stops_no_writer_for_long(site: Site) -> None:
    leader, lost = site.leader(), site.replicas()[0]
    with Writers(site) as writers:
        site.lab.off(lost)
        before = len(writers.acknowledged)
        wait_until(lambda: len(writers.acknowledged) > before + 2000, "writes go on")
        assert site.leader(leader) == leader
        site.lab.on(lost)
        wait_until(site.healthy, "the replica streams again")
    assert writers.lost() == set()
