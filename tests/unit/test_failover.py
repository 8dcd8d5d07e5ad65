"""A cluster that nobody leads: when its owner is asked for anything at all, and whom a loss can be accepted for."""

from __future__ import annotations

import pytest
import views
from clusters import cluster
from test_day2_holders import lagging, leaderless, shrunk

from cluster.errors import ClusterError
from day2.failover import refuse_bad_choice, refuse_unless_leaderless

SHOP = cluster()


def test_where_somebody_leads_it_is_a_switchover() -> None:
    with pytest.raises(ClusterError, match="db1 leads: `invoke switchover`"):
        refuse_unless_leaderless(views.view(), SHOP)


def test_where_somebody_may_lead_nothing_has_to_be_accepted() -> None:
    with pytest.raises(ClusterError, match="db2 or db3 may lead"):
        refuse_unless_leaderless(leaderless(lagging(0, 0)), SHOP)


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
