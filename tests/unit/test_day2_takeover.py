"""Whether a failover is possible, by Patroni's own rules, and why not."""

from __future__ import annotations

import json
from typing import Any

import pytest
import views
from clusters import cluster

from health.rules import blockers, candidates
from health.view import ClusterView

SHOP = cluster()


def reasons(view: ClusterView, name: str = "db2") -> tuple[str, ...]:
    return next(c.reasons for c in candidates(view, SHOP) if c.name == name)


def synchronous(voters: str) -> ClusterView:
    config = json.loads(views.KEYS["config"]) | {"synchronous_mode": True}
    sync = {"leader": "db1", "sync_standby": voters, "quorum": 0}
    return views.with_keys(config=json.dumps(config), sync=json.dumps(sync))


def test_both_replicas_can_take_over() -> None:
    assert [(c.name, c.able) for c in candidates(views.view(), SHOP)] == [("db2", True), ("db3", True)]
    assert blockers(views.view(), SHOP) == ()


@pytest.mark.parametrize(
    ("differs", "reason"),
    [
        ({"patroni": None, "problems": {"patroni": "refused"}}, "does not answer"),
        ({"patroni": views.patroni("db2", tags={"nofailover": True})}, "has the tag nofailover"),
        ({"patroni": views.patroni("db2", tags={"failover_priority": 0})}, "has the tag nofailover"),
        ({"postgres": None, "patroni": views.patroni("db2", state="starting")}, "has no running PostgreSQL (it is starting)"),
        ({"postgres": views.postgres("db2", receiver=None)}, "is not streaming from the primary"),
        ({"patroni": views.patroni("db2", blind=True)}, "has a Patroni that can't look at its own PostgreSQL"),
        ({"postgres": views.postgres("db2", timeline=2)}, "is on timeline 2, the primary on 3"),
        ({"postgres": views.postgres("db2", in_recovery=False)}, "is not in recovery: it is a second primary"),
    ],
)
def test_a_member_that_can_not(differs: dict[str, Any], reason: str) -> None:
    view = views.view(db2=views.database("db2", **differs))
    assert reason in reasons(view)


def test_a_member_that_lags_too_far() -> None:
    keys = {"status": json.dumps({"optime": views.POSITION + 2**41})}
    assert reasons(views.with_keys(**keys)) == ("lags by 2199023255552 bytes, and maximum_lag_on_failover is 1099511627776",)
    assert reasons(views.with_keys(status=json.dumps({"optime": views.POSITION + 100}))) == ()


def test_with_quorum_both_replicas_must_be_there_when_the_primary_is_lost() -> None:
    """One of two has each write, and nobody knows which one: to be safe both must be asked."""
    view = views.view(db3=views.database("db3", postgres=None, patroni=views.patroni("db3", state="stopped")))
    assert reasons(view) == (
        "can't prove that it has every acknowledged write: another replica (db3) must confirm that, and none can",
    )
    assert any("can't prove" in reason for reason in blockers(view, SHOP))


def test_once_the_quorum_has_shrunk_to_one_replica_that_one_can_take_over() -> None:
    sync = json.dumps({"leader": "db1", "sync_standby": "db2", "quorum": 0})
    lost = views.database("db3", etcd=views.etcd("db3"), postgres=None, patroni=None, problems={"patroni": "refused"})
    keys = views.KEYS | {"sync": sync}
    view = views.view(db2=views.database("db2", etcd=views.etcd("db2", keys=keys, revision=101)), db3=lost)
    assert reasons(view) == ()
    assert blockers(view, SHOP) == ()


def test_a_replica_outside_the_quorum_needs_one_more_vote() -> None:
    sync = json.dumps({"leader": "db1", "sync_standby": "db3", "quorum": 0})
    assert reasons(views.with_keys(sync=sync)) == ()
    sync = json.dumps({"leader": "db1", "sync_standby": "db3", "quorum": 1})
    assert reasons(views.with_keys(sync=sync)) == (
        "can't prove that it has every acknowledged write: 2 other replicas (db3) must confirm that, and only db3 can",
    )


def test_in_synchronous_mode_only_the_synchronous_replica_can() -> None:
    assert reasons(synchronous("db2"), "db2") == ()
    assert reasons(synchronous("db2"), "db3") == ("is not the synchronous replica (db2)",)
    assert blockers(synchronous("db2"), SHOP) == ()


def test_in_asynchronous_mode_everybody_can() -> None:
    config = json.dumps({"synchronous_mode": False})
    assert reasons(views.with_keys(config=config, sync=None)) == ()


def test_what_keeps_everybody() -> None:
    paused = views.with_keys(config=json.dumps({"pause": True, "synchronous_mode": "quorum"}))
    assert blockers(paused, SHOP) == ("the cluster is paused (`invoke resume`)",)
    assert blockers(views.with_keys(leader=None), SHOP)[0] == "nobody holds the leader key"
    silent = views.view(**{n: views.database(n, etcd=None) for n in views.DATABASES})
    assert blockers(silent, SHOP) == ("no etcd member answers",)


def test_etcd_must_keep_a_majority_without_the_leaders_host() -> None:
    view = views.view(db3=views.database("db3", etcd=None))
    assert blockers(view, SHOP) == ("without the leader's host, etcd would have 1 healthy members and needs 2",)
