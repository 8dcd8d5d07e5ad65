"""What a deploy waits for and fails for: every way in which the cluster that it leaves behind is not as it must be is told."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import views
from clusters import cluster

from cluster.dynamic_config import postgres_parameters, wanted_config
from cluster.topology import Cluster
from health.deployed import client, remarks, unmet
from health.finding import Finding
from health.reading import no_answer
from health.rules import findings
from health.rules.settings import pending_restarts
from health.states import Disk
from health.view import ClusterView, HostView

SHOP = cluster()
WELL = client("proxy1", "probe passed", "")


def told(view: ClusterView, of: Cluster = SHOP, probe: Finding = WELL) -> list[str]:
    """What a deploy would fail for, each with its rule."""
    return [f"{f.rule}: {f.about}: {f.text}" for f in unmet((*findings(view, of), probe))]


def database(name: str, **differs: Any) -> HostView:
    return views.database(name, postgres=views.postgres(name, **differs))


def without(view: ClusterView, *names: str) -> ClusterView:
    """The same view in a run that leaves hosts out."""
    left_out = {name: no_answer(name, "left out of this run") for name in names}
    return ClusterView(view.hosts | left_out, left_out=frozenset(names))


def in_mode(of: Cluster, names: str, *senders: str, voters: str = "db2,db3") -> ClusterView:
    """The cluster `of` with its settings in etcd; whom the primary waits for, and how db2 and db3 confirm."""
    keys = {
        "config": json.dumps(wanted_config(of)),
        "sync": json.dumps({"leader": "db1", "sync_standby": voters, "quorum": voters.count(",")}),
    }
    view = views.with_keys(**keys)
    replicas = tuple(views.sender(f"db{n}", sync_state=state) for n, state in enumerate(senders, 2))
    primary = views.postgres("db1", synchronous_standby_names=names, senders=replicas)
    return replace(view, hosts=view.hosts | {"db1": replace(view.hosts["db1"], postgres=primary)})


def test_all_is_well() -> None:
    assert told(views.view()) == []


def silent_patroni(name: str) -> HostView:
    return views.database(name, patroni=None, problems={"patroni": "refused"})


@pytest.mark.parametrize(
    ("hosts", "sentences"),
    [
        (
            {name: silent_patroni(name) for name in views.DATABASES},
            [f"patroni.silent: {name}: Patroni does not answer: refused" for name in views.DATABASES],
        ),
        ({"db3": silent_patroni("db3")}, ["patroni.silent: db3: Patroni does not answer: refused"]),
        (
            {"db3": views.database("db3", patroni=views.patroni("db3", state="starting"))},
            ["patroni.not-running: db3: PostgreSQL is starting, its Patroni says"],
        ),
        (
            {"db1": views.database("db1", patroni=views.patroni("db1", state="stopping"))},
            ["patroni.not-running: db1: PostgreSQL is stopping, its Patroni says"],
        ),
        (
            {"db1": database("db1", senders=tuple(views.sender(n, sync_state="async") for n in ("db2", "db3")))},
            ["durability.nobody-confirms: durability: no replica is there to confirm writes: they wait until db2 or db3 streams"],
        ),
        (
            {"db1": database("db1", senders=(views.sender("db2"), views.sender("db3", sync_state="sync")))},
            ["durability.other-mode: db3: still confirms writes as sync, and durability is quorum"],
        ),
        (
            {"db2": views.database("db2", postgres=None, problems={"postgres": "refused"})},
            ["replication.silent: db2: PostgreSQL does not answer: refused"],
        ),
        (
            {"db2": database("db2", in_recovery=False)},
            ["primary.split-brain: primary: SPLIT BRAIN: db1 and db2 both take writes"],
        ),
        (
            {"db1": database("db1", in_recovery=True)},
            ["primary.other-than-leader: primary: db1 holds the leader key, but no PostgreSQL that answers is out of recovery"],
        ),
        (
            {"proxy1": views.proxy(write=("db1", "db2"))},
            ["routing.writes-astray: proxy1: port 5000 leads to db1 and db2; the leader is db1"],
        ),
        (
            {"proxy1": views.proxy(write=("db2",))},
            ["routing.writes-astray: proxy1: port 5000 leads to db2; the leader is db1"],
        ),
        (
            {"proxy1": views.proxy(write=())},
            ["routing.writes-astray: proxy1: port 5000 leads to nobody; the leader is db1"],
        ),
        ({"proxy1": views.proxy(read=("db2",))}, ["routing.replica-unread: db3: gets no reads from proxy1"]),
        (
            {"proxy1": views.proxy(write=(), read=())},
            [
                "routing.writes-astray: proxy1: port 5000 leads to nobody; the leader is db1",
                "routing.reads-nowhere: proxy1: port 5001 leads to nobody",
                "routing.replica-unread: db2: gets no reads from proxy1",
                "routing.replica-unread: db3: gets no reads from proxy1",
            ],
        ),
    ],
)
def test_what_is_broken_is_told(hosts: dict[str, HostView], sentences: list[str]) -> None:
    """What follows from it for a failover is told, too; those rules have tests of their own."""
    assert [line for line in told(views.view(**hosts)) if not line.startswith("failover.")] == sentences


def test_that_nobody_leads_is_told() -> None:
    assert "primary.no-leader: primary: nobody holds the leader key" in told(views.with_keys(leader=None))


@pytest.mark.parametrize(
    ("said", "error", "rule"),
    [("", "no route", "client.write-fails"), ("read fails", "no route", "client.read-fails")],
)
def test_what_a_client_meets_is_told(said: str, error: str, rule: str) -> None:
    probe = client("proxy1", said, error)
    assert told(views.view(), probe=probe) == [f"{rule}: proxy1: a client that goes through it is told: no route"]
    assert client("proxy1", "", "").text.endswith("is told: no answer")


@pytest.mark.parametrize("names", [("db3",), ("db2", "db3"), ("db1",), ("proxy1",), ("db1", "db3")])
def test_a_host_that_is_left_out_of_the_run_is_not_asked_for(names: tuple[str, ...]) -> None:
    assert told(without(views.view(), *names)) == []


def test_a_host_that_is_left_out_because_it_is_dead_does_not_fail_a_deploy() -> None:
    quorum = {"leader": "db1", "sync_standby": "db2", "quorum": 0}
    alone = {"senders": (views.sender("db2"),), "slots": (replace(views.postgres("db1").slots[1], wal_status="lost"),)}
    view = views.with_keys(sync=json.dumps(quorum))
    primary = replace(view.hosts["db1"], postgres=views.postgres("db1", synchronous_standby_names='ANY 1 ("db2")', **alone))
    proxy = views.proxy(read=("db2",))
    view = ClusterView(view.hosts | {"db1": primary, "proxy1": proxy, "db3": views.unreachable("db3")})
    assert any(line.startswith("host.unreachable: db3") for line in told(view))
    assert any(line.startswith("slots.lost") for line in told(view))
    assert told(without(view, "db3")) == []


def test_in_a_run_that_leaves_hosts_out_what_the_others_say_still_counts() -> None:
    two = views.view(db2=database("db2", in_recovery=False))
    assert any(line.startswith("primary.split-brain") for line in told(without(two, "db3")))
    other = without(views.view(db2=database("db2", in_recovery=False)), "db1")
    assert any(line.startswith("primary.other-than-leader") for line in told(other))
    astray = without(views.view(proxy1=views.proxy(write=("db2",))), "db1")
    assert any(line.startswith("routing.writes-astray") for line in told(astray))
    strange = views.view(db1=views.database("db1", etcd=views.etcd("db1", members={"11": "db1", "22": "db2", "99": "old"})))
    assert any(line.startswith("etcd.other-members") for line in told(without(strange, "db3")))


def test_where_no_member_of_etcd_is_asked_the_leader_is_who_takes_writes() -> None:
    view = views.view(**{name: views.database(name, etcd=None) for name in views.DATABASES})
    hosts = {name: host for name, host in view.hosts.items() if name != "db3"} | {"db3": no_answer("db3", "left out")}
    assert told(ClusterView(hosts, left_out=frozenset({"db3"}))) == []
    assert told(without(view, "db1")) == []
    assert any(line.startswith("primary.unknown") for line in told(view))


def test_replicas_confirm_writes_as_the_settings_say_and_not_as_before() -> None:
    lazy, strict = cluster(durability="asynchronous"), cluster(durability="synchronous")
    still = "durability.other-mode: {}: still confirms writes as quorum, and durability is {}"
    for of in (lazy, strict):
        found = told(in_mode(of, 'ANY 1 ("db2","db3")', "quorum", "quorum"), of)
        assert [line for line in found if line.startswith("durability")] == [
            still.format(name, of.all.durability) for name in ("db2", "db3")
        ]
    bare = in_mode(strict, '"db2"', "async", "async", voters="db2")
    assert "durability.nobody-confirms" in {line.split(":")[0] for line in told(bare, strict)}
    assert told(in_mode(strict, '"db2"', "sync", "async", voters="db2"), strict) == []
    assert told(in_mode(lazy, "", "async", "async", voters=""), lazy) == []


def test_as_many_replicas_confirm_a_write_as_the_settings_say() -> None:
    every = cluster(durability="all")
    one, two = ('ANY 1 ("db2","db3")', 'ANY 2 ("db2","db3")')
    both = ("quorum", "quorum")
    assert told(in_mode(every, two, *both), every) == told(in_mode(SHOP, one, *both), SHOP) == []
    count = "durability.other-count: durability: writes still wait for {} of the replicas, should be {}, as durability is {}"
    assert told(in_mode(every, one, *both), every) == [count.format(1, 2, "all")]
    assert told(in_mode(SHOP, two, *both), SHOP) == [count.format(2, 1, "quorum")]
    # Whoever is left out of the run, or gone, is none to wait for.
    assert told(without(in_mode(every, 'ANY 1 ("db2")', "quorum", voters="db2"), "db3"), every) == []


def test_after_a_failover_another_leads_and_all_is_well() -> None:
    keys = views.KEYS | {"leader": "db3", "sync": json.dumps({"leader": "db3", "sync_standby": "db1,db2", "quorum": 1})}
    senders = (views.sender("db1"), views.sender("db2"))
    states: dict[str, dict[str, Any]] = {
        "db1": {"in_recovery": True, "lsn": None, "received": views.POSITION, "replayed": views.POSITION,
                "receiver": "streaming", "senders": (), "slots": ()},
        "db2": {},
        "db3": {"in_recovery": False, "lsn": views.POSITION, "received": None, "replayed": None, "receiver": None,
                "senders": senders, "synchronous_standby_names": 'ANY 1 ("db1","db2")'},
    }  # fmt: skip
    hosts = {
        name: views.database(name, etcd=views.etcd(name, keys=keys), postgres=views.postgres(name, **differs))
        for name, differs in states.items()
    }
    assert told(views.view(**hosts, proxy1=views.proxy(write=("db3",), read=("db1", "db2")))) == []


def running(**parameters: str) -> dict[str, str]:
    return views.RUNNING | parameters


def test_what_postgresql_runs_with_is_compared_in_its_own_units() -> None:
    in_base_units = running(wal_sender_timeout="10000", tcp_user_timeout="30000")
    assert told(views.view(db1=database("db1", parameters=in_base_units))) == []
    slower = database("db2", parameters=running(wal_sender_timeout="60000"))
    rule = "settings.not-running"
    assert told(views.view(db2=slower)) == [f"{rule}: db2: wal_sender_timeout is 60s, the settings say 10s: deploy to apply it"]
    # While a file is newer than what PostgreSQL has read, as after a failover, it tells what it runs with in its own way.
    dated = cluster(postgres_parameters={"datestyle": "iso, dmy"})
    own_way = {name: str(value) for name, value in postgres_parameters(dated).items()} | {"DateStyle": "ISO, DMY"}
    view = views.with_keys(config=json.dumps(wanted_config(dated)))
    states = {name: views.postgres(name, parameters=own_way) for name in views.DATABASES}
    hosts = {name: replace(view.hosts[name], postgres=state) for name, state in states.items()}
    assert told(replace(view, hosts=view.hosts | hosts), dated) == []
    less = {name: value for name, value in views.RUNNING.items() if name != "track_io_timing"}
    assert told(views.view(db1=database("db1", parameters=less))) == [
        f"{rule}: db1: track_io_timing is None, the settings say on: deploy to apply it"
    ]


@pytest.mark.parametrize("by", ["PostgreSQL", "Patroni"])
def test_what_waits_for_a_restart_is_not_broken_but_pending(by: str) -> None:
    """PostgreSQL says so once it has read its files again; Patroni, of what it does not let it read yet, a round later."""
    bigger = cluster(postgres_parameters={"max_connections": 300, "work_mem": "8MB"})
    now = {name: str(value) for name, value in postgres_parameters(bigger).items()} | {"max_connections": "200"}
    waits = ("max_connections",)
    flagged = {"postgres": {"pending_restart": waits}} if by == "PostgreSQL" else {"patroni": {"waiting": waits}}

    def seen(flags: dict[str, dict[str, Any]]) -> ClusterView:
        view = views.with_keys(config=json.dumps(wanted_config(bigger)))
        return replace(view, hosts=view.hosts | {
            name: replace(
                view.hosts[name],
                postgres=views.postgres(name, parameters=now, **flags.get("postgres", {})),
                patroni=views.patroni(name, **flags.get("patroni", {})),
            )
            for name in views.DATABASES
        })  # fmt: skip

    assert told(seen(flagged), bigger) == []
    assert pending_restarts(seen(flagged), bigger) == dict.fromkeys(views.DATABASES, waits)
    assert [*remarks(seen(flagged), bigger, ())] == [
        f"{name} waits for a restart: max_connections (invoke rolling-restart)" for name in views.DATABASES
    ]
    (text,) = {
        f.text for f in findings(seen({"patroni": {"pending_restart": True, "waiting": waits}}), bigger) if f.level == "warning"
    }
    assert text.endswith(
        "max_connections waits for `invoke rolling-restart`, and limits that are made of it for a deploy after that"
    )
    assert {line.split(":")[0] for line in told(seen({}), bigger)} == {"settings.not-running"}
    assert pending_restarts(views.view(), SHOP) == {}


def test_a_flag_that_lags_behind_is_no_restart_that_is_needed() -> None:
    view = views.view(db2=views.database("db2", patroni=views.patroni("db2", pending_restart=True, waiting=("work_mem",))))
    assert pending_restarts(view, SHOP) == {}


def test_a_full_disk_is_said_and_does_not_fail_the_deploy_that_may_mend_it() -> None:
    full = views.view(db1=views.database("db1", disks=(Disk("/data", 100 * 1024**3, 1024**3),)))
    assert told(full) == []
    assert [line.rpartition(" ")[2] for line in remarks(full, SHOP, findings(full, SHOP))] == ["(disks.full)"]


def test_what_the_owner_has_chosen_is_said_and_does_not_fail_a_deploy() -> None:
    config = json.dumps(json.loads(views.KEYS["config"]) | {"pause": True})
    paused = views.with_keys(config=config)
    assert told(paused) == []
    [first, second] = remarks(paused, SHOP, findings(paused, SHOP))
    assert all("the cluster is paused" in line for line in (first, second))
    assert [line.rpartition(" ")[2] for line in (first, second)] == ["(patroni.paused)", "(failover.paused)"]
    lazy = cluster(durability="asynchronous")
    assert [*remarks(views.view(), lazy, ())] == ["durability is asynchronous: a failover may lose the last acknowledged writes"]
    alone = cluster(without_replica="continue")
    [line] = remarks(views.view(), alone, ())
    assert line.startswith("without_replica is continue")
