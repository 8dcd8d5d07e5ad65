"""Replication lag and its thresholds; drift of settings."""

from __future__ import annotations

import json

import pytest
import views
from clusters import cluster

from cluster.errors import ClusterError
from cluster.slots import slot_name
from health.lag import bytes_of, lags, seconds_of, too_far
from health.rules.settings import drifts, foreign
from health.states import Slot
from health.view import ClusterView

SHOP = cluster()
MB = 1024**2


def behind(lag: int, position: int = views.POSITION) -> ClusterView:
    senders = (views.sender("db2", replayed_lag=lag, replayed_seconds=0.2), views.sender("db3"))
    slots = (Slot("db2", "physical", True, "reserved", 5 * MB, 3 * MB),)
    return views.view(
        db1=views.database("db1", postgres=views.postgres("db1", senders=senders, slots=slots)),
        db2=views.database("db2", postgres=views.postgres("db2", replay_age=30.0, replayed=position)),
    )


def test_a_replica_that_moves_is_as_old_as_the_primary_has_measured() -> None:
    (row, _) = lags(behind(100), behind(100, position=1), SHOP)
    assert (row.name, row.replayed, row.replayed_seconds, row.retained, row.room) == ("db2", 100, 0.2, 5 * MB, 3 * MB)


def test_one_that_stands_still_is_as_old_as_what_it_replayed_last() -> None:
    (row, _) = lags(behind(100), behind(100), SHOP)
    assert row.replayed_seconds == 30.0


def test_an_idle_cluster_does_not_lag() -> None:
    (row, _) = lags(behind(0), behind(0), SHOP)
    assert (row.replayed, row.replayed_seconds) == (0, 0.0)


def test_thresholds() -> None:
    rows = lags(behind(2 * MB), behind(2 * MB), SHOP)
    assert list(too_far(rows, ["db2", "db3"], None, None)) == []
    assert list(too_far(rows, ["db2", "db3"], 4 * MB, 60)) == []
    assert list(too_far(rows, ["db2", "db3"], MB, None)) == ["db2 is 2097152 bytes behind, more than 1048576"]
    assert list(too_far(rows, ["db2", "db3"], None, 5)) == ["db2 is 30.0 s behind, more than 5 s"]
    assert list(too_far(rows[1:], ["db2", "db3"], None, None)) == ["db2 is not streaming"]


def test_units() -> None:
    assert bytes_of("--max-bytes", "64MB") == 64 * MB
    assert bytes_of("--max-bytes", None) is None
    assert [seconds_of("--max-seconds", text) for text in ("5s", "500ms", "2min", "7", None)] == [5, 0.5, 120, 7, None]
    for wrong in ("5x", "-1", "s", "1 month"):
        with pytest.raises(ClusterError, match=f"--max-seconds {wrong}: should be a duration"):
            seconds_of("--max-seconds", wrong)
    with pytest.raises(ClusterError, match="--max-bytes 5x"):
        bytes_of("--max-bytes", "5x")


def test_a_slot_is_named_as_patroni_does_it() -> None:
    assert slot_name("pg-sv01.example") == "pg_sv01_example"


def with_config(**settings: object) -> ClusterView:
    return views.with_keys(config=json.dumps(json.loads(views.KEYS["config"]) | settings))


def test_nothing_drifts_in_a_healthy_cluster() -> None:
    assert drifts(views.view(), SHOP) == ()
    assert foreign(views.view(), SHOP) == {}


def test_what_differs_in_etcd_is_told_once() -> None:
    (one,) = drifts(with_config(ttl=33), SHOP)
    assert (one.name, one.where, one.wanted, one.actual, one.needs_restart) == ("ttl", "etcd", 20, 33, False)


def test_what_differs_is_told_in_one_unit() -> None:
    shop = cluster(postgres_parameters={"shared_buffers": "256MB"})
    running = views.RUNNING | {"shared_buffers": "16384"}
    view = views.view(**{n: views.database(n, postgres=views.postgres(n, parameters=running)) for n in views.DATABASES})
    in_etcd = [d for d in drifts(view, shop) if d.where == "etcd"]
    assert [(d.name, d.wanted, d.needs_restart) for d in in_etcd] == [("shared_buffers", "256MB", True)]
    slower = views.RUNNING | {"wal_sender_timeout": "60000"}
    (one,) = drifts(views.view(db2=views.database("db2", postgres=views.postgres("db2", parameters=slower))), SHOP)
    assert (one.name, one.where, one.wanted, one.actual) == ("wal_sender_timeout", "db2", "10s", "60s")


def test_what_is_not_ours_is_shown_and_is_no_drift() -> None:
    view = with_config(maximum_lag_on_syncnode=5)
    assert drifts(view, SHOP) == ()
    assert foreign(view, SHOP) == {"maximum_lag_on_syncnode": 5}
