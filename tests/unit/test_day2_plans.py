"""Who takes over in a switchover and what speaks against it; the steps of a rolling restart."""

from __future__ import annotations

import json
from typing import Any

import pytest
import views
from clusters import cluster

from cluster.errors import ClusterError
from day2.procedures.costs import costs
from day2.procedures.rolling import component_of, lowered, steps
from day2.procedures.steps import RestartPostgres
from day2.procedures.switchover import objections, target
from health.rules import findings
from health.view import ClusterView

SHOP = cluster()


def plan(view: ClusterView, component: str = "postgres", *, pending_only: bool = False) -> list[str]:
    return [str(step) for step in steps(view, SHOP, component_of(component), pending_only=pending_only)]


def against(view: ClusterView, to: str = "db2") -> list[str]:
    return list(objections(view, SHOP, findings(view, SHOP), to))


def primary(**differs: Any) -> ClusterView:
    return views.view(db1=views.database("db1", postgres=views.postgres("db1", **differs)))


def test_the_replica_that_is_least_behind_takes_over() -> None:
    senders = (views.sender("db2", replayed_lag=500), views.sender("db3", replayed_lag=20))
    assert target(primary(senders=senders), SHOP, None) == "db3"


def test_of_equals_one_that_does_not_lead_etcd_takes_over() -> None:
    assert target(views.view(), SHOP, None) == "db3"  # db2 leads etcd


def test_whoever_is_named_takes_over() -> None:
    assert target(views.view(), SHOP, "db2") == "db2"


@pytest.mark.parametrize(
    ("to", "said"), [("db1", "leads already"), ("proxy1", "a PostgreSQL host"), ("db9", "--to: no host is called 'db9'")]
)
def test_who_can_not_be_named(to: str, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        target(views.view(), SHOP, to)


def test_without_a_leader_there_is_nothing_to_switch_over() -> None:
    with pytest.raises(ClusterError, match="nobody leads"):
        target(views.with_keys(leader=None), SHOP, None)


def test_nothing_speaks_against_a_switchover_in_a_healthy_cluster() -> None:
    assert against(views.view()) == []


@pytest.mark.parametrize(
    ("view", "said"),
    [
        (primary(oldest_transaction=90.0), "a transaction has been open for 90 s on db1: it would be lost"),
        (primary(base_backups=1), "1 base backups are being taken from db1: they would fail"),
        (
            views.with_keys(config=json.dumps(json.loads(views.KEYS["config"]) | {"pause": True})),
            "pause: the cluster is paused: nothing fails over by itself until `invoke resume` (patroni.paused)",
        ),
        (
            views.view(db2=views.database("db2", patroni=views.patroni("db2", tags={"nofailover": True}))),
            "db2 has the tag nofailover",
        ),
    ],
)
def test_what_speaks_against_it(view: ClusterView, said: str) -> None:
    assert said in against(view)


def test_replicas_are_restarted_before_the_primary_which_is_a_replica_by_then() -> None:
    assert plan(views.view()) == [
        "drain and restart PostgreSQL on db2",
        "drain and restart PostgreSQL on db3",
        "switch over from db1 to db3",
        "drain and restart PostgreSQL on db1",
    ]
    assert plan(views.view(), "patroni") == [step.replace("PostgreSQL", "Patroni with PostgreSQL") for step in plan(views.view())]


def waiting(*names: str, reason: dict[str, Any] | None = None) -> ClusterView:
    """Some members with a setting that waits for a restart."""
    members = {"state": "running", "pending_restart": True, "pending_restart_reason": reason or {}}
    keys = views.KEYS | {"members/db1": json.dumps(members)}
    hosts = {name: views.database(name, etcd=views.etcd(name, keys=keys)) for name in views.DATABASES}
    for name in names:
        hosts[name] = views.database(name, etcd=views.etcd(name, keys=keys), patroni=views.patroni(name, pending_restart=True))
    return views.view(**hosts)


def test_only_those_with_something_pending() -> None:
    assert plan(views.view(), pending_only=True) == []
    assert plan(waiting("db2"), pending_only=True) == ["drain and restart PostgreSQL on db2"]
    assert plan(waiting("db1"), pending_only=True) == ["switch over from db1 to db3", "drain and restart PostgreSQL on db1"]


def test_when_a_setting_is_lowered_that_replicas_need_the_primary_goes_first() -> None:
    down = {"max_connections": {"old_value": "200", "new_value": "100"}, "shared_buffers": {"old_value": "9", "new_value": "1"}}
    up = {"max_connections": {"old_value": "100", "new_value": "200"}}
    assert lowered(waiting("db1", reason=down), "db1") == ("max_connections",)
    assert plan(waiting("db1", "db2", "db3", reason=down), pending_only=True) == [
        "restart PostgreSQL on db1",
        "drain and restart PostgreSQL on db2",
        "drain and restart PostgreSQL on db3",
    ]
    (told,) = costs(waiting("db1", reason=down), SHOP, [RestartPostgres("db1", drained=False)])
    assert "max_connections is lowered, and no replica runs with less of that than its primary, so the primary goes first" in told
    assert lowered(waiting("db1", reason=up), "db1") == ()
    assert plan(waiting("db1", "db2", "db3", reason=up), pending_only=True)[-1] == "drain and restart PostgreSQL on db1"


def test_etcds_leader_is_restarted_last_and_leads_no_more_by_then() -> None:
    assert plan(views.view(), "etcd") == [
        "restart etcd.service on db1",
        "restart etcd.service on db3",
        "move etcd's leadership to db3",  # not to db1, where PostgreSQL's primary is
        "restart etcd.service on db2",
    ]


def test_pgbackrest_is_restarted_where_it_runs() -> None:
    found = [str(step) for step in steps(views.backed_up(), views.BACKED_UP, "pgbackrest", pending_only=False)]
    assert found == [f"restart pgbackrest.service on {name}" for name in ("keep1", "db1", "db2", "db3")]
    assert plan(views.view(), "pgbackrest") == []


def test_every_process_of_pgbouncer_is_restarted() -> None:
    two = cluster(pooling=True, pooling_processes=2)
    found = [str(step) for step in steps(views.backed_up(), two, "pgbouncer", pending_only=False)]
    names = ("write-1", "read-1", "write-2", "read-2")
    assert found == [f"restart pgquorum-pool@{name}.service on proxy1" for name in names]
    assert plan(views.view(), "pgbouncer") == []


def test_haproxy_is_reloaded() -> None:
    assert plan(views.view(), "haproxy") == ["reload haproxy.service on proxy1"]


def test_an_unknown_component_is_refused() -> None:
    with pytest.raises(ClusterError, match="did you mean 'etcd'"):
        component_of("etc")
