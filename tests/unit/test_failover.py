"""A cluster that nobody leads: when its owner is asked for anything at all, and whom a loss can be accepted for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import views
from clusters import cluster
from test_day2_holders import lagging, leaderless, shrunk

from cluster.errors import ClusterError
from day2.commands.change.failover import refuse_bad_choice, refuse_unless_leaderless, undecided
from health.view import ClusterView

SHOP = cluster()


def leader_key(view: ClusterView, name: str) -> ClusterView:
    """The same with the leader key in the name of `name`."""
    hosts = {
        host.name: replace(host, etcd=replace(host.etcd, keys={**host.etcd.keys, "leader": name}))
        for host in view.hosts.values()
        if host.etcd
    }
    return ClusterView({**view.hosts, **hosts})


def test_where_somebody_leads_it_is_a_switchover() -> None:
    with pytest.raises(ClusterError, match="db1 leads: `invoke switchover`"):
        refuse_unless_leaderless(views.view(), SHOP)


def test_where_somebody_may_lead_nothing_has_to_be_accepted() -> None:
    with pytest.raises(ClusterError, match="db2 or db3 may lead"):
        refuse_unless_leaderless(leaderless(lagging(0, 0)), SHOP)


def test_who_holds_the_leader_key_before_the_gate_is_waited_for() -> None:
    candidate = leader_key(leaderless(shrunk(50_000)), "db2")
    assert undecided(candidate)
    with pytest.raises(ClusterError, match="db2 holds the leader key and may be about to lead"):
        refuse_unless_leaderless(candidate, SHOP)


def test_a_primary_that_is_lost_is_waited_for_while_its_leader_key_lasts() -> None:
    assert undecided(leader_key(leaderless(shrunk(50_000)), "db1"))


def test_nothing_is_waited_for_where_somebody_leads_or_nobody_is_before_the_gate() -> None:
    assert not undecided(views.view())
    assert not undecided(leaderless(shrunk(50_000)))


def test_where_nobody_may_lead_the_owner_decides() -> None:
    view = leaderless(shrunk(50_000))
    refuse_unless_leaderless(view, SHOP)
    refuse_bad_choice(view, SHOP, "db2")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("db3", "--accept-loss db3: its PostgreSQL does not answer: should be one of db2"),
        ("proxy1", "--accept-loss proxy1: should be a PostgreSQL host"),
    ],
)
def test_only_a_replica_that_answers_can_lead(name: str, why: str) -> None:
    with pytest.raises(ClusterError, match=why):
        refuse_bad_choice(leaderless(shrunk(50_000)), SHOP, name)
