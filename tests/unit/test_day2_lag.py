"""Replication lag and its thresholds; drift of settings."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import views
from clusters import cluster
from offline import cut_off

import day2.commands.look.config as config_command
from cluster.dynamic_config import postgres_parameters, wanted_config
from cluster.errors import ClusterError
from cluster.slots import STANDBYS_FIRST, slot_name
from day2.ui.console import EXIT_PROBLEM
from health.lag import bytes_of, lags, seconds_of, too_far
from health.rules import findings
from health.rules.settings import altered, drifts, foreign
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


BY_HAND = {"work_mem": "65536", "jit": "off", "wal_sender_timeout": "10000", "synchronous_commit": "local"}


def test_what_alter_system_has_set_is_told_by_config_with_its_unit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = cluster(postgres_parameters={"work_mem": "16MB"})
    running = {name: str(value) for name, value in postgres_parameters(shop).items()} | {"work_mem": "65536"}
    view = views.with_keys(config=json.dumps(wanted_config(shop)))
    states = {name: views.postgres(name, parameters=running | {"work_mem": "16384"}) for name in views.DATABASES}
    states["db1"] = views.postgres("db1", parameters=running, altered=BY_HAND)
    view = replace(view, hosts=view.hosts | {n: replace(view.hosts[n], postgres=state) for n, state in states.items()})
    assert [(one.name, one.where, one.wanted, one.actual) for one in altered(view, shop)] == [
        ("jit", "db1", None, "off"),
        ("synchronous_commit", "db1", "on", "local"),
        ("work_mem", "db1", "16MB", "64MB"),
    ]
    cut_off(monkeypatch, config_command, view)
    assert config_command.config(shop, as_json=True) == EXIT_PROBLEM
    found = json.loads(capsys.readouterr().out)["differences"]
    assert {
        "name": "work_mem",
        "where": "db1",
        "wanted": "16MB",
        "actual": "64MB",
        "needs_restart": False,
        "altered": True,
    } in found
    assert config_command.config(shop, as_json=False) == EXIT_PROBLEM
    said = capsys.readouterr().out
    assert "by ALTER SYSTEM" in said and "`alter system reset NAME` on the host" in said
    assert "what the settings say" not in said and "A deploy applies" not in said
    told = {f.text.partition(":")[0] for f in findings(view, shop) if f.rule == "settings.altered"}
    assert "work_mem is 64MB by ALTER SYSTEM, over the settings" in told
    [well] = [f.text for f in findings(view, shop) if f.rule == "settings"]
    assert well.endswith("what the settings say, but for what ALTER SYSTEM has set")


def test_for_whom_consumers_of_slots_wait_is_set_by_the_tool() -> None:
    slots = [{"name": "orders", "database": "app"}]
    waits = views.view(db1=views.database("db1", postgres=views.postgres("db1", altered={STANDBYS_FIRST: "db2"})))
    shop = cluster(postgres_slots=slots, postgres_roles=[{"name": "app"}], postgres_databases=[{"name": "app", "owner": "app"}])
    assert altered(waits, shop) == ()
    assert [one.name for one in altered(waits, SHOP)] == [STANDBYS_FIRST]
