"""Every rule, both ways: silent about a healthy cluster, and telling what is wrong with one that is not."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import replace

import pytest
import views
from clusters import cluster
from conditions import BROKEN, GIVEN_UP, HOLDER, OUT_OF_LOCKS, WORTH_KNOWING, config, primary

import health.rules
from cluster.layout import Note, layout_of
from cluster.topology import Cluster
from health.deployed import unmet
from health.rules import RULES, findings, healthy
from health.states import Disk, LockTable, Override, PoolerState, RefusedSetting
from health.view import ClusterView

SHOP = cluster()


def shop_of(view: ClusterView) -> Cluster:
    """The cluster that a view is of."""
    if view is BROKEN[GIVEN_UP][0]:
        return views.DROPPING
    if "proxy2" in view.hosts:
        return views.SHARED
    return views.BACKED_UP if "keep1" in view.hosts else SHOP


def told(view: ClusterView, level: str = "problem") -> list[str]:
    return [f"{f.about}: {f.text}" for f in findings(view, shop_of(view)) if f.level == level]


def test_a_healthy_cluster_has_no_problem_and_no_warning() -> None:
    assert told(views.view()) == []
    assert told(views.view(), "warning") == []
    assert healthy(findings(views.view(), SHOP))
    assert "primary: db1 holds the leader key and is the only one not in recovery" in told(views.view(), "ok")
    assert "failover: possible now, to db2 or db3" in told(views.view(), "ok")


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_is_told(case: str) -> None:
    view, sentence = BROKEN[case]
    assert any(line.startswith(sentence) for line in told(view)), told(view)
    assert not healthy(findings(view, shop_of(view)))


@pytest.mark.parametrize("case", WORTH_KNOWING)
def test_what_is_worth_knowing_does_not_make_a_cluster_sick(case: str) -> None:
    view, sentence = WORTH_KNOWING[case]
    assert any(line.startswith(sentence) for line in told(view, "warning")), told(view, "warning")
    assert told(view) == []


@pytest.mark.parametrize(
    "case",
    (
        "pools of which nothing is seen",
        "backups that can't be seen",
        "a proxy that does not say whether it has the address",
        "a host that does not say all",
    ),
)
def test_what_a_host_did_not_say_is_told_once(case: str) -> None:
    view, _ = (BROKEN | WORTH_KNOWING)[case]
    unsaid = [(name, why) for name, host in view.hosts.items() for why in host.problems.values()]
    assert unsaid
    told_of = [f for f in findings(view, shop_of(view)) if f.level in ("problem", "warning")]
    for name, why in unsaid:
        assert len([f for f in told_of if f.about == name and f.text.endswith(why)]) == 1


def test_a_member_of_etcd_that_has_never_been_up_is_told_by_its_url_and_how_it_goes() -> None:
    members = {"10": "db1", "11": "db2", "12": "db3", "255": "https://10.9.9.9:2380"}
    (line,) = told(views.view(db1=views.database("db1", etcd=views.etcd("db1", members=members))))
    assert line == (
        "db1: etcd's members are db1, db2, db3, https://10.9.9.9:2380; the inventory has db1, db2, db3: https://10.9.9.9:2380 has"
        " never been up: a deploy starts it, and if it is none of your hosts, `etcdctl member remove ff` (docs/runbook.md,"
        " A stranger in etcd)"
    )


@pytest.mark.parametrize(
    ("refused", "remedy"),
    [
        (RefusedSetting("work_mem", "1", "/d/postgresql.auto.conf", "e"), "`alter system reset work_mem` there"),
        (
            RefusedSetting("log_timezone", "1", "/d/postgresql.conf", "e"),
            "`patronictl -c /etc/patroni/conf.d edit-config -p log_",
        ),
        (RefusedSetting("Log_Checkpoints", "1", "/d/postgresql.conf", "e"), "a deploy brings back what the settings say"),
        (RefusedSetting(None, None, "/d/postgresql.conf", "syntax error"), "a deploy brings back what the settings say"),
        (RefusedSetting("work_mem", "1", "/d/postgresql.base.conf", "e"), "take it out there"),
    ],
)
def test_what_postgresql_does_not_take_is_told_with_the_way_to_take_it_out(refused: RefusedSetting, remedy: str) -> None:
    view = views.view(db1=views.database("db1", postgres=views.postgres("db1", refused=(refused,))))
    (line,) = [line for line in told(view) if "does not take" in line]
    assert f"{refused.error}. It may not start with that: {remedy}" in line


def test_asynchronous_is_said_in_every_report() -> None:
    shop = cluster(durability="asynchronous")
    alone = tuple(views.sender(name, sync_state="async") for name in ("db2", "db3"))
    view = views.with_keys(config=config(synchronous_mode=False, maximum_lag_on_failover=16 * 1024**2), sync=None)
    primary = views.postgres("db1", synchronous_standby_names="", senders=alone)
    states = {"db1": primary, "db2": views.postgres("db2"), "db3": views.postgres("db3")}
    databases = {name: replace(view.hosts[name], postgres=replace(state, base_standbys=None)) for name, state in states.items()}
    found = findings(replace(view, hosts=view.hosts | databases), shop)
    assert [f.text for f in found if f.level == "warning"] == [
        "asynchronous: losing the primary can lose the last acknowledged writes"
    ]
    assert healthy(found)


def test_reads_from_the_primary_are_told_when_no_replica_is_fit() -> None:
    view = views.view(proxy1=views.proxy(read=()))
    assert "proxy1: port 5001 leads to the primary: no replica is fit for reads" in told(view, "warning")


def test_before_the_first_deploy_only_that_is_told() -> None:
    names = (*views.DATABASES, "proxy1")
    nothing = views.view(**{name: views.blank(name) for name in names})
    assert told(nothing) == ["deploy: nothing is deployed yet: run `pyinfra inventory.py deploy.py`"]
    half = views.view(**{name: views.blank(name) for name in names} | {"db2": views.unreachable("db2")})
    assert told(half) == [
        "db2: unreachable: it does not answer",
        "deploy: nothing is deployed yet: run `pyinfra inventory.py deploy.py`",
    ]


def test_a_first_deploy_that_failed_before_anything_was_installed_is_not_told_to_be_missing() -> None:
    failed = {"deployed_by": views.VERSION, "problems": {"edited": "no such file"}}
    view = views.view(**{name: replace(views.blank(name), **failed) for name in (*views.DATABASES, "proxy1")})
    assert told(view) == [
        "deploy: has never come to its end on db1, db2, db3, proxy1: `pyinfra inventory.py deploy.py` goes on from there"
    ]


def test_what_is_to_be_deployed_is_the_inventory_that_was_asked_for() -> None:
    shop = replace(SHOP, inventory="inventories/shop/inventory.py")
    names = (*views.DATABASES, "proxy1")
    for view in (views.view(**{name: views.blank(name) for name in names}), views.view(db3=views.blank("db3"))):
        said = [found.text for found in findings(view, shop) if "deployed" in found.text]
        assert said and all("run `pyinfra inventories/shop/inventory.py deploy.py`" in text for text in said)


def test_when_no_host_answers_that_is_all_there_is_to_say() -> None:
    view = views.view(**{name: views.unreachable(name) for name in (*views.DATABASES, "proxy1")})
    assert told(view) == [f"{name}: unreachable: it does not answer" for name in (*views.DATABASES, "proxy1")]


def test_a_file_that_was_edited_is_a_warning() -> None:
    view = views.view(db2=views.database("db2", edited=("/etc/patroni/conf.d/patroni.yml",)))
    assert told(view, "warning") == [
        "db2: /etc/patroni/conf.d/patroni.yml is not as the deploy wrote it: deploy to bring it back"
    ]


def test_an_etcd_that_is_never_compacted_is_a_warning() -> None:
    view = views.view(db2=views.database("db2", etcd=views.etcd("db2", compaction="")))
    [line] = told(view, "warning")
    assert line.startswith("db2: etcd keeps all of its history")


def test_an_etcd_that_waits_for_its_restart_is_a_warning() -> None:
    """A deploy puts it off while a member is unhealthy."""
    view = views.view(db2=views.database("db2", etcd=views.etcd("db2", outdated=True)))
    [line] = told(view, "warning")
    assert line.startswith("db2: etcd goes on with what it was started with")


def test_every_rule_that_is_written_is_asked() -> None:
    written = {
        rule
        for module in (importlib.import_module(f"health.rules.{one.name}") for one in pkgutil.iter_modules(health.rules.__path__))
        for name, rule in vars(module).items()
        if not name.startswith("_")
        and getattr(rule, "__annotations__", {}).get("return") == "Iterator[Finding]"
        and rule.__module__ == module.__name__
    }
    assert written == set(RULES), "a rule of health/rules/ that is missing in RULES"


def test_a_role_that_waits_for_more_than_is_promised_is_fine() -> None:
    overrides = (Override("app", None, "synchronous_commit=remote_apply"), Override("app", "shop", "synchronous_commit=on"))
    assert told(primary(overrides=overrides), "warning") == []


def test_the_durability_is_not_called_fine_while_something_acknowledges_sooner() -> None:
    loose = primary(overrides=(Override("app", None, "synchronous_commit=off"),))
    assert any(f.rule == "durability" for f in findings(views.view(), SHOP))
    assert not any(f.rule == "durability" for f in findings(loose, SHOP))
    asynchronous = cluster(durability="asynchronous")
    assert not any(f.rule == "settings.overridden" for f in findings(loose, asynchronous))


def test_what_is_done_about_a_weaker_commit_is_told_with_it() -> None:
    view = primary(overrides=(Override("app", "shop", "synchronous_commit=off"),), unguarded=("shop",))
    said = {
        choice: [f.text for f in findings(view, cluster(weaker_commits=choice)) if f.level == "warning"]
        for choice in ("tell", "mend", "refuse")
    }
    command = 'alter role "app" in database "shop" reset synchronous_commit;'
    whose = "role app in database shop has synchronous_commit = off"
    assert said["tell"] == [f"{whose}: what it writes may be lost in a failover (`{command}`)"]
    assert said["mend"] == [f"{whose}: what it writes may be lost in a failover (`{command}` or a deploy)"]
    assert said["refuse"] == [
        f"{whose}: new sessions are refused (`{command}`)",
        "database shop does not refuse sessions with a weaker synchronous_commit, as the settings say: deploy",
    ]


def test_a_choice_to_go_on_without_a_replica_is_held_likewise() -> None:
    alone, waits = primary(base_standbys=None), views.view()
    for choice in ({"without_replica": "continue"}, {"durability": "asynchronous"}):
        said = [f.text for f in findings(waits, cluster(**choice)) if f.rule == "settings.without-replica"]
        assert len(said) == 3 and said[0].startswith("started while no replica is there it would wait for a replica, and")
        assert [f.about for f in findings(alone, cluster(**choice)) if f.rule == "settings.without-replica"] == ["db2", "db3"]


def test_what_alter_system_has_set_does_not_keep_a_deploy_from_its_end() -> None:
    view = primary(altered={"work_mem": "9216"}, parameters=views.RUNNING | {"work_mem": "9216"})
    assert [f.rule for f in findings(view, SHOP) if f.level != "ok"] == ["settings.altered"]
    assert unmet(findings(view, SHOP)) == ()


def test_a_unit_that_is_being_reloaded_serves_on() -> None:
    view = views.view(db3=views.database("db3", units=views.database("db3").units | {"patroni.service": "reloading"}))
    assert [f.rule for f in findings(view, SHOP) if f.level != "ok"] == []


def test_what_a_failed_start_has_left_is_named_with_how_it_is_removed() -> None:
    view = views.view(db1=views.database("db1", failed_starts=("/data/shop.failed", "/wal/pg_wal.failed")))
    [line] = told(view, "warning")
    assert (
        line.startswith("db1: left of a first start that has failed") and "`rm -r /data/shop.failed /wal/pg_wal.failed`" in line
    )
    assert unmet(findings(view, SHOP)) == ()


def test_whoever_has_filled_the_table_of_locks_is_named_though_nobody_can_log_in() -> None:
    table = LockTable(3.0, 5_590, 6_400, (HOLDER,))
    locked_out = views.database("db1", postgres=None, problems={"postgres": OUT_OF_LOCKS}, locks=table)
    (line,) = [one for one in told(views.view(db1=locked_out)) if "locks" in one]
    assert "`kill -TERM 4711` there ends it" in line and "app shop local idle" in line


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (LockTable(16.0, 5_590, 6_400, (HOLDER,)), "; who held them was last seen 16 s ago, and may be others now ("),
        (LockTable(2.0, 24_590, 6_400, (HOLDER,)), "by process 4711 (app shop local idle), which has been at it for 60 s ("),
        (LockTable(2.0, 24_590, 6_400, (replace(HOLDER, since=None),)), "by process 4711 (app shop local idle) ("),
        (
            LockTable(2.0, 5_590, 6_400, (replace(HOLDER, pid=None),)),
            "5110 of 5590 were held 2 s ago by a prepared transaction (pg",
        ),
    ],
)
def test_nobody_is_to_be_ended_who_is_not_surely_the_one(table: LockTable, said: str) -> None:
    locked_out = views.database("db1", postgres=None, problems={"postgres": OUT_OF_LOCKS}, locks=table)
    (line,) = [one for one in told(views.view(db1=locked_out)) if "locks" in one]
    assert said in line
    assert "kill" not in line


def test_a_table_of_locks_that_is_just_not_nearly_full_is_no_matter() -> None:
    view = views.view(db1=views.database("db1", locks=LockTable(2.0, 5_119, 6_400, (HOLDER,))))
    assert told(view, "warning") == []


def test_a_disk_with_just_enough_room_is_no_matter() -> None:
    view = views.view(db1=views.database("db1", disks=(Disk("/data", 100 * 1024**3, 15 * 1024**3),)))
    assert told(view) == told(view, "warning") == []


def test_a_role_that_was_dropped_is_told_once_where_there_are_pools() -> None:
    view = views.backed_up(proxy1=views.pooler(pooler=PoolerState((), views.VERIFIERS | {"app": "one"})))
    dropped = {name: replace(state, missing_roles=("app",)) for name in views.DATABASES if (state := view.hosts[name].postgres)}
    hosts = {name: replace(view.hosts[name], postgres=state) for name, state in dropped.items()}
    assert told(view, "warning") and "PgBouncer's file" in told(view, "warning")[0]
    assert told(ClusterView(view.hosts | hosts), "warning") == ["roles: role app of the settings is not there: a deploy makes it"]


def test_what_was_deployed_last_is_what_the_settings_are_compared_with() -> None:
    before, now = Note(1, layout_of(cluster(postgres_port=5431))), Note(2, layout_of(SHOP))

    def found(**notes: Note) -> list[str]:
        view = views.view(**{name: views.database(name, layout=note) for name, note in notes.items()})
        return [f.rule for f in findings(view, SHOP) if f.level != "ok"]

    assert found(db1=before, db2=now) == found(db1=now, db2=now, db3=now) == []
    assert found(db1=before, db3=before) == ["settings.not-as-deployed"]
    other = views.view(db1=views.database("db1", layout=before, cluster_name="blog"))
    assert "settings.not-as-deployed" not in [f.rule for f in findings(other, SHOP)]
