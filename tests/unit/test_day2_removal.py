"""Taking a host out of the cluster: what stands in the way, the steps, and what the command says."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import views
from clusters import cluster
from offline import cut_off

import day2.commands.change.host_remove as host_remove
from cluster.errors import ClusterError
from cluster.layout import Note, layout_of, parse_note
from cluster.topology import Cluster
from day2.hosts.ssh import CommandResult
from day2.procedures.actions import Actions
from day2.procedures.removal import objections, steps
from day2.procedures.steps import Step
from health.view import ClusterView

SHOP = cluster()
TIMER = "pgquorum-leaders-apart.timer"
BESIDE = "pgquorum-wake-patroni.service, pgquorum-confirm-quorum.service"


def against(host: str, view: ClusterView | None = None, shop: Cluster = SHOP) -> list[str]:
    return list(objections(view or views.view(), shop, host))


def plan(host: str, view: ClusterView | None = None) -> list[str]:
    return [str(step) for step in steps(view or views.view(), SHOP, host)]


def test_a_replica_of_a_healthy_cluster_may_go() -> None:
    assert against("db3") == []
    assert plan("db3") == [
        "wait until db3 can be spared",
        f"drain and stop {TIMER}, {BESIDE}, patroni.service on db3, for good",
        "take db3 out of etcd's members",
        "stop etcd.service on db3, for good",
        "note on all hosts that db3 is no part of the cluster any more",
    ]


def test_who_leads_etcd_gives_that_away_first() -> None:
    assert plan("db2")[1] == "move etcd's leadership to db3"


def lost() -> ClusterView:
    """db3 is gone, as Patroni has noticed."""
    left = views.with_keys(sync=json.dumps({"leader": "db1", "sync_standby": "db2", "quorum": 0}))
    return replace(left, hosts=left.hosts | {"db3": views.unreachable("db3")})


def test_one_that_is_lost_is_taken_out_of_what_the_others_know() -> None:
    view = lost()
    assert against("db3", view) == []
    assert plan("db3", view) == [
        "take db3 out of etcd's members",
        "note on the others that db3 is no part of the cluster any more",
    ]


def test_what_is_done_already_is_not_done_again() -> None:
    stopped = views.database("db3", units=views.UNITS, etcd=None, patroni=None, postgres=None)
    assert plan("db3", views.view(db3=stopped)) == [
        "take db3 out of etcd's members",
        "note on all hosts that db3 is no part of the cluster any more",
    ]


def test_a_proxy_has_haproxy_alone() -> None:
    assert plan("proxy1") == [
        "stop haproxy.service on proxy1, for good",
        "note on all hosts that proxy1 is no part of the cluster any more",
    ]


@pytest.mark.parametrize(
    ("host", "view", "sentence"),
    [
        ("db1", views.view(), "db1 is the primary: `invoke switchover` first"),
        ("proxy1", views.view(), "proxy1 is the only host in group 'haproxy': deploy another one first"),
        ("db3", views.view(db2=views.unreachable("db2")), "without db3, etcd would have 1 healthy members and needs 2"),
        ("db3", views.view(db2=views.unreachable("db2")), "without db3 nobody could take over from db1 (`invoke verify`)"),
        ("db3", views.with_keys(leader=None), "nobody leads (`invoke status`)"),
        ("db3", views.view(**{name: views.unreachable(name) for name in views.DATABASES}), "no etcd member answers"),
    ],
)
def test_what_stands_in_the_way(host: str, view: ClusterView, sentence: str) -> None:
    assert any(line.startswith(sentence) for line in against(host, view)), against(host, view)


def test_two_postgresql_hosts_are_needed_but_for_asynchronous() -> None:
    for durability, said in (("quorum", ["durability = 'quorum' needs two hosts in group 'postgres'"]), ("asynchronous", [])):
        whole = cluster(durability=durability)
        two = replace(whole, postgres_hosts=whole.postgres_hosts[:2])
        found = [line for line in against("db2", shop=two) if "postgres" in line]
        assert [line[: len(one)] for line, one in zip(found, said, strict=True)] == said


def ran(monkeypatch: pytest.MonkeyPatch, host: str, view: ClusterView | None = None, *, dry: bool = False) -> list[Step]:
    executed: list[Step] = []
    cut_off(monkeypatch, host_remove, view, execute=lambda step, actions: executed.append(step))
    assert host_remove.remove(SHOP, host=host, dry=dry, yes=True, as_json=False) == 0
    return executed


def test_what_is_printed_is_what_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(monkeypatch, "db3", dry=True) == []
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    executed = ran(monkeypatch, "db3")
    assert printed == [f"  {number}. {step}" for number, step in enumerate(executed, 1)]
    said = capsys.readouterr().out
    assert "etcd has 2 members left; the inventory needs 1, 3, 5 or 7" in said
    assert "/var/lib/etcd/pgquorum and /var/lib/postgresql/18/pgquorum" in said


def test_of_one_that_does_not_answer_it_is_said_that_nothing_was_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran(monkeypatch, "db3", lost())
    assert "What runs on db3 was not stopped" in capsys.readouterr().out


def test_what_can_not_be_is_refused_before_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match="no host is called 'db9'"):
        ran(monkeypatch, "db9")
    with pytest.raises(ClusterError, match="nothing was touched:\n  - db1 is the primary"):
        ran(monkeypatch, "db1")


class Hosts:
    """Hosts that have noted a layout, each its own; and what is asked of them."""

    def __init__(self, **notes: str) -> None:
        self.notes = notes
        self.commands: dict[str, list[str]] = {}

    def run_all(self, commands: dict[str, str], stdin: str = "") -> dict[str, CommandResult]:
        answers = {}
        for name, command in commands.items():
            self.commands.setdefault(name, []).append(command)
            if stdin:
                self.notes[name] = stdin
            answers[name] = CommandResult(name, 0 if name in self.notes else None, self.notes.get(name, ""), "unreachable")
        return answers


def forgotten(hosts: Hosts, host: str, *, reachable: bool = True) -> None:
    interrupts: Any = SimpleNamespace()
    fleet: Any = hosts
    patroni: Any = None
    Actions(fleet, SHOP, patroni, interrupts).forget(host, reachable=reachable)


def test_all_others_note_that_it_is_gone_and_the_last_note_counts() -> None:
    whole = layout_of(SHOP)
    hosts = Hosts(db1=Note(4, whole).text, db2=Note(3, whole.without("db1")).text, db3=Note(4, whole).text, proxy1="")
    forgotten(hosts, "db3")
    for name in ("db1", "db2", "proxy1"):
        assert parse_note(hosts.notes[name]) == Note(5, whole.without("db3"))
    assert "mv -f /etc/pgquorum/cluster.json /etc/pgquorum/removed.json" in hosts.commands["db3"][0]


def test_one_that_is_lost_and_others_that_do_not_answer_keep_nobody_from_noting_it() -> None:
    whole = layout_of(SHOP)
    hosts = Hosts(db1=Note(4, whole).text, proxy1=Note(4, whole).text)
    forgotten(hosts, "db3", reachable=False)
    assert parse_note(hosts.notes["db1"]) == Note(5, whole.without("db3"))
    assert "db3" not in hosts.commands


def test_that_nobody_could_note_it_is_an_error() -> None:
    with pytest.raises(ClusterError, match="that db3 is out could not be noted"):
        forgotten(Hosts(), "db3", reachable=False)


def test_all_of_a_proxys_pools_end_with_it() -> None:
    two = cluster(pooling=True, pooling_processes=2)
    units = {f"pgquorum-pool@{name}.service": "active" for name in ("write-1", "read-1", "write-2")}
    view = views.backed_up(proxy1=views.pooler(units=views.UNITS | {"haproxy.service": "active"} | units))
    stopped = str(steps(view, two, "proxy1")[0])
    assert stopped == f"stop {', '.join([*units, 'haproxy.service'])} on proxy1, for good"


def test_who_keeps_the_backups_may_go_and_makes_no_more() -> None:
    view = views.backed_up()
    assert list(objections(view, views.BACKED_UP, "keep1")) == []
    assert [str(step) for step in steps(view, views.BACKED_UP, "keep1")] == [
        "stop pgquorum-backup-full.timer, pgquorum-backup-incr.timer, pgquorum-backup-drill.timer, pgbackrest.service on keep1,"
        " for good",
        "note on all hosts that keep1 is no part of the cluster any more",
    ]
