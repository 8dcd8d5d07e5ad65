"""What hosts answer becomes a view; what is missing or strange in an answer becomes a problem of that host alone."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from clusters import cluster

from agents.sent import shipped
from cluster.certificates import make_authority
from cluster.last_deploy import LastDeploy
from cluster.layout import Note, layout_of
from cluster.own_roles import OwnRole
from cluster.quorum import Promotion
from day2.hosts.observe import view_of
from day2.hosts.ssh import CommandResult
from health.questions import questions
from health.reading import patroni_state
from health.states import PoolProcess

SHOP = cluster()
POSTGRES: dict[str, Any] = {
    "in_recovery": False, "version": "18.6", "timeline": 3, "lsn": 500, "received": None, "replayed": None, "at_log_end": False,
    "log_begins": 256,
    "replay_age": None, "replay_paused": False, "receiver": None, "pending_restart": ["max_connections"],
    "connections": {"used": 9, "limit": 92, "holders": [{"role": "app", "address": "local", "connections": 9}]},
    "parameters": {}, "altered": {"work_mem": "1"}, "overrides": [{"role": "app", "database": None, "setting": "a=b"}],
    "refused": [{"name": "x", "value": "y", "file": "f", "error": "e"}],
    "oldest_transaction": 0.0, "base_backups": 0, "backup_bytes": 0,
    "oldest_ids": {"database": "app", "transactions": 1814, "multixacts": 0, "reclaimed_at": 400000000},
    "horizon": {"what": "replication slot cdc", "age": 12},
    "synchronous_standby_names": "", "synchronous_commit": "on", "base_standbys": "*", "subscriptions": [], "unguarded": [],
    "own_roles": {"rewinder": {"may": ["login", "superuser"], "connection_limit": -1, "expires": False,
                               "member_of": [["pg_monitor", "postgres"]], "members": [], "settings": []}},
    "missing_roles": ["app"], "missing_databases": [],
    "archiver": {"archived_wal": "A8", "archived": 5.0, "failed_wal": None, "failed": None, "waiting": 1, "oldest": 2.0},
    "senders": [{"name": "db2", "state": "streaming", "sync_state": "quorum", "received_lag": 0, "replayed_lag": 8,
                 "received_seconds": 0.0, "replayed_seconds": 0.1}],
    "slots": [{"name": "db2", "type": "physical", "active": True, "wal_status": "reserved", "retained": 0, "room": None}],
}  # fmt: skip
ETCD: dict[str, Any] = {
    "status": {"header": {"member_id": "11", "revision": "42"}, "version": "3.5.30", "leader": "11", "dbSize": "40960",
               "errors": ["memberID:11 alarm:NOSPACE ", "etcdserver: no leader"]},
    "members": [{"ID": "11", "name": "db1"}, {"ID": "22", "name": "db2"}, {"ID": "33", "peerURLs": ["https://db3:2380"]}],
    "quorum": True, "compaction": "1h", "outdated": True,
    "keys": {"leader": "db1", "config": '{"ttl": 20, "pause": true}', "members/db1": '{"state": "running"}',
             "sync": '{"leader": "db1", "sync_standby": "db2,db3", "quorum": 1}', "status": '{"optime": 500}'},
    "configurations": {
        "notes": {"confirmed": ['{"revision": 30, "by": "db1"}', 31], "promoted": ['{"name": "db1"}', 20],
                  "archived": ['{"to": 83886080, "timeline": 1, "by": "db1"}', 21]},
        "values": [['{"leader": "db1", "sync_standby": "db2", "quorum": 0}', 40],
                   ['{"leader": "db1", "sync_standby": "db2,db3", "quorum": 1}', 30]],
        "complete": True,
    },
}  # fmt: skip


def answer(**parts: Any) -> CommandResult:
    return CommandResult("db1", 0, json.dumps({"time": time.time(), **parts}))


@pytest.mark.parametrize(
    ("said", "blind"),
    [
        ({"state": "running", "timeline": None}, True),
        ({"state": "streaming", "timeline": 3}, False),
        ({"state": "stopped", "timeline": None}, False),
        ({"state": "running"}, False),
    ],
)
def test_a_patroni_that_knows_no_timeline_of_a_server_that_runs_is_blind(said: dict[str, Any], blind: bool) -> None:
    assert patroni_state({"role": "replica", **said}, 0.0).blind is blind


def test_a_database_host() -> None:
    pem = make_authority("test").certificate.decode()
    patroni = {"state": "running", "role": "primary", "dcs_last_seen": time.time() - 2, "patroni": {"version": "4.1.5"}}
    host = view_of(
        answer(
            etcd={"is": ETCD},
            patroni={"is": patroni},
            postgres={"is": POSTGRES},
            units={"is": {"etcd.service": "active"}},
            certificates={"is": {"/etc/etcd/tls/ca.crt": pem}},
            marker={"is": {"cluster": "shop", "id": "1", "deployed_from": "x", "version": "0.3.0"}},
            operator={"is": None},
            last_deploy={"is": {"at": 17, "settings": "ab"}},
            layout={"is": Note(3, layout_of(SHOP)).text},
        )
    )
    assert host.problems == {}
    assert host.etcd and host.etcd.outdated
    assert host.etcd.leads and host.etcd.alarms == ("memberID:11 alarm:NOSPACE ",)
    assert host.etcd.archived_to == 83886080
    assert host.etcd.members == {"11": "db1", "22": "db2", "33": "https://db3:2380"}  # the last has never been up
    configurations = host.etcd.configurations
    assert [(one.revision, sorted(one.voters), one.quorum) for one in configurations.known] == [
        (40, ["db2"], 0),
        (30, ["db2", "db3"], 1),
    ]
    assert configurations.confirmed == 30 and not configurations.settled
    assert configurations.promoted == Promotion("db1", 20)
    assert host.patroni and 1 < host.patroni.dcs_age < 60
    assert host.postgres and host.postgres.senders[0].replayed_lag == 8 and host.postgres.base_standbys == "*"
    assert (host.postgres.missing_roles, host.postgres.missing_databases) == (("app",), ())
    assert host.postgres.own_roles["rewinder"] == OwnRole(("login", "superuser"), member_of=(("pg_monitor", "postgres"),))
    assert host.certificates == {"/etc/etcd/tls/ca.crt": 3649}
    assert (host.cluster_name, host.deployed_by, host.last_deploy) == ("shop", "0.3.0", LastDeploy(17, "ab"))
    assert host.layout == Note(3, layout_of(SHOP))
    assert host.clock is not None and abs(host.clock) < 30


def test_a_host_that_was_deployed_before_there_were_notes() -> None:
    host = view_of(answer(marker={"is": {"cluster": "shop", "id": "1"}}))
    assert (host.cluster_name, host.deployed_by, host.problems) == ("shop", None, {})


def test_what_a_rewind_has_thrown_away() -> None:
    note = {"host": "db1", "at": "2026", "timeline": 3, "fork": "0/1", "end": "0/2", "commits": 7, "size": 16}
    host = view_of(answer(salvage={"is": [{"path": "/kept/here", **note}]}))
    assert [(one.path, one.timeline, one.commits) for one in host.salvage] == [("/kept/here", 3, 7)]
    assert view_of(answer(old_data={"is": ["/data/shop.before-1"]})).old_data == ("/data/shop.before-1",)
    assert view_of(answer(restoring={"is": {"to": "latest"}})).restoring == {"to": "latest"}
    assert view_of(answer(restoring={"is": None})).restoring == {}
    assert view_of(answer(failed_starts={"is": ["/data/shop.failed"]})).failed_starts == ("/data/shop.failed",)
    assert "salvage" in view_of(answer(salvage={"is": [{"path": "/kept/here"}]})).problems


def test_how_much_room_there_is() -> None:
    (disk,) = view_of(answer(disks={"is": [{"path": "/data", "size": 1000, "free": 10}]})).disks
    assert (disk.path, disk.size, disk.free) == ("/data", 1000, 10)


def test_who_has_the_locks() -> None:
    holder = {"pid": 4711, "session": "app shop local idle", "locks": 990}
    noted = {"at": time.time() - 4, "used": 1000, "capacity": 6400, "holders": [{**holder, "since": time.time() - 60}]}
    table = view_of(answer(locks={"is": noted})).locks
    assert table and (table.used, table.capacity, round(table.age)) == (1000, 6400, 4)
    (most,) = table.holders
    assert (most.pid, most.session, most.locks, round(most.since)) == (4711, "app shop local idle", 990, 60)
    assert view_of(answer(locks={"is": None})).locks is None


def test_a_proxy() -> None:
    row = {
        "pxname": "write",
        "svname": "db1",
        "status": "UP 1/2",
        "check_status": "L7OK",
        "last_chk": "",
        "scur": "3",
    }
    said = {"version": "3.2.5", "servers": [row, {**row, "svname": "db2", "status": "DOWN"}], "held": ["writes"]}
    host = view_of(answer(haproxy={"is": said}, hold={"is": "{}"}))
    assert host.proxy and host.proxy.version == "3.2.5" and host.proxy.held == ("writes",) and host.hold == "{}"
    assert [(s.name, s.up, s.sessions) for s in host.proxy.backends["write"]] == [("db1", True, 3), ("db2", False, 3)]


def test_the_pools() -> None:
    rows = [
        {"database": "app", "user": role, "cl_active": "3", "cl_waiting": waiting, "maxwait": "1", "maxwait_us": us,
         "sv_active": "2", "sv_idle": "1", "sv_used": "1"}
        for role, waiting, us in (("app", "4", "250000"), ("ops", "1", "0"))
    ]  # fmt: skip
    said = {"write-1": {"version": "1.26.1", "clients": 9, "pools": rows, "paused": True}, "read-1": {"problem": "no\nsocket"}}
    host = view_of(answer(pgbouncer={"is": {"processes": said, "users": {"app": "0123"}}}))
    assert host.pooler and host.pooler.version == "1.26.1" and host.pooler.users == {"app": "0123"}
    write, read = host.pooler.processes
    assert write == PoolProcess("write-1", "", "1.26.1", clients=9, waiting=5, longest_wait=1.25, servers=8, busy=4, paused=True)
    assert read == PoolProcess("read-1", "no socket")


def test_a_part_that_fails_or_says_something_strange_does_not_hide_the_others() -> None:
    host = view_of(answer(etcd={"problem": "no\nroute"}, patroni={"is": {"state": "running"}}, postgres={"is": POSTGRES}))
    assert host.problems["etcd"] == "no route"
    assert host.problems["patroni"].startswith("an answer that is not understood")
    assert host.postgres and host.postgres.lsn == 500


def test_a_host_without_an_answer() -> None:
    assert view_of(CommandResult("db1", None, problem="unreachable: x")).problems == {"host": "unreachable: x"}
    assert not view_of(CommandResult("db1", 127, problem="python3: not found")).reachable
    assert "unexpected output" in view_of(CommandResult("db1", 0, "Welcome!")).problems["host"]


def test_each_host_is_asked_by_its_roles() -> None:
    always = {"units", "packages", "libraries", "marker", "layout", "last_deploy", "edited", "operator", "certificates", "disks"}
    of_databases = {"etcd", "patroni", "postgres", "salvage", "locks", "watchdog", "failed_starts", "old_data", "restoring"}
    assert set(questions(SHOP, SHOP.host("db1"))) == always | of_databases
    assert set(questions(SHOP, SHOP.host("proxy1"))) == always | {"haproxy", "hold"}
    assert questions(SHOP, SHOP.host("db1"))["postgres"]["pooled"] == []
    named = cluster(postgres_roles=[{"name": "app"}], postgres_databases=[{"name": "shop", "owner": "app"}])
    asked = questions(named, named.host("db1"))["postgres"]
    assert (asked["roles"], asked["databases"]) == (["app"], ["pgquorum", "shop"])
    kept = cluster(backup=True)
    assert set(questions(kept, kept.host("db1"))) == always | of_databases | {"drilled"}


def test_every_process_of_pgbouncer_is_asked() -> None:
    of = cluster(pooling=True, pooling_processes=2, postgres_roles=[{"name": "app"}, {"name": "feed", "replication": True}])
    asked = questions(of, of.host("proxy1"))
    assert asked["pgbouncer"]["processes"] == {
        name: {"socket": f"/run/pgquorum-pool/{name}", "port": port}
        for name, port in (("write-1", 6432), ("read-1", 6433), ("write-2", 6432), ("read-2", 6433))
    }
    units = [f"pgquorum-pool@{name}.service" for name in asked["pgbouncer"]["processes"]]
    assert set(units) <= set(asked["units"]["names"]) and len(set(asked["units"]["names"])) == len(asked["units"]["names"])
    assert questions(of, of.host("db1"))["postgres"]["pooled"] == ["pgquorum_probe", "app"]


def test_a_host_is_asked_for_what_patroni_moves_away() -> None:
    of = cluster(postgres_data_directory="/data/shop", postgres_wal_directory="/disk/wal")
    assert questions(of, of.host("db1"))["failed_starts"] == {"paths": ["/data/shop.failed", "/disk/wal/pg_wal.failed"]}
    assert questions(SHOP, SHOP.host("db1"))["failed_starts"] == {"paths": [f"{SHOP.postgres.data_directory}.failed"]}


def test_the_disk_of_the_log_is_watched_wherever_it_is() -> None:
    of = cluster(postgres_data_directory="/data/shop", postgres_wal_directory="/disk/wal")
    assert {"/data/shop", "/disk/wal", "/data/shop/pg_wal"} <= {*questions(of, of.host("db1"))["disks"]["paths"]}


def test_a_program_is_sent_as_input_and_its_argument_is_quoted() -> None:
    command, source = shipped("collector", {"it's": "{}"})
    assert command.endswith(""" '{"it'"'"'s": "{}"}'""")
    assert f"read({len(source.encode())})" in command
