"""The leader in etcd is the only server not in recovery and the only one UP for writes: every way to break it is told."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from clusters import cluster

from cluster.dynamic_config import postgres_parameters
from cluster.invariant import Seen, broken, pending_restarts

SHOP = cluster()
MEMBERS: tuple[dict[str, Any], ...] = (
    {"name": "db1", "role": "leader", "state": "running"},
    {"name": "db2", "role": "quorum_standby", "state": "streaming"},
    {"name": "db3", "role": "replica", "state": "streaming"},
)
WELL = Seen(
    members=MEMBERS,
    in_recovery={"db1": False, "db2": True, "db3": True},
    up={"proxy1": {"write": ("db1",), "read": ("db2", "db3")}},
    probes={"proxy1": ""},
)


def told(**differs: Any) -> list[str]:
    return list(broken(SHOP, replace(WELL, **differs)))


def test_all_is_well() -> None:
    assert told() == []


@pytest.mark.parametrize(
    ("differs", "sentences"),
    [
        ({"members": ()}, ["Patroni does not answer"]),
        ({"members": MEMBERS[1:]}, ["no member leads"]),
        ({"members": MEMBERS[:2]}, ["db3 is not a member, should be streaming"]),
        ({"members": (*MEMBERS[:2], {**MEMBERS[2], "state": "starting"})}, ["db3 is starting, should be streaming"]),
        ({"members": ({**MEMBERS[0], "state": "stopping"}, *MEMBERS[1:])}, ["db1 is stopping, should be running"]),
        (
            {"members": (MEMBERS[0], {**MEMBERS[1], "role": "replica"}, MEMBERS[2])},
            ["no replica confirms writes yet, and durability is quorum"],
        ),
        (
            {"members": (MEMBERS[0], MEMBERS[1], {**MEMBERS[2], "role": "sync_standby"})},
            ["db3 still is a sync_standby, and durability is quorum"],
        ),
        ({"in_recovery": {"db1": False, "db2": None, "db3": True}}, ["PostgreSQL on db2 does not answer"]),
        (
            {"in_recovery": {"db1": False, "db2": False, "db3": True}},
            ["db2 is not in recovery, but the leader is db1"],
        ),
        ({"in_recovery": {"db1": True, "db2": True, "db3": True}}, ["db1 is in recovery, but the leader is db1"]),
        (
            {"up": {"proxy1": {"write": ("db1", "db2"), "read": ("db2", "db3")}}},
            ["proxy1 sends writes to db1, db2, should be db1"],
        ),
        ({"up": {"proxy1": {"write": ("db2",), "read": ("db2", "db3")}}}, ["proxy1 sends writes to db2, should be db1"]),
        ({"up": {"proxy1": {"write": (), "read": ("db2", "db3")}}}, ["proxy1 sends writes to nobody, should be db1"]),
        ({"up": {"proxy1": {"write": ("db1",), "read": ("db2",)}}}, ["proxy1 sends no reads to db3"]),
        ({"up": {"proxy1": {}}}, ["proxy1 sends writes to nobody, should be db1", "proxy1 sends no reads to db2, db3"]),
        ({"probes": {"proxy1": "no route"}}, ["a client that goes through proxy1 is told: no route"]),
    ],
)
def test_what_is_broken_is_told(differs: dict[str, Any], sentences: list[str]) -> None:
    assert told(**differs) == sentences


def test_a_host_that_is_left_out_of_the_run_is_not_asked_for() -> None:
    assert told(members=MEMBERS[:2], in_recovery={"db1": False, "db2": True}) == []


def test_replicas_confirm_writes_as_the_settings_say_and_not_as_before() -> None:
    lazy, strict = cluster(durability="asynchronous"), cluster(durability="synchronous")
    still = "db2 still is a quorum_standby, and durability is"
    assert list(broken(lazy, WELL)) == [f"{still} asynchronous"]
    assert list(broken(strict, WELL)) == ["no replica confirms writes yet, and durability is synchronous", f"{still} synchronous"]
    bare = replace(WELL, members=tuple({**m, "role": "replica"} if m["role"] != "leader" else m for m in MEMBERS))
    assert list(broken(lazy, bare)) == []


def test_as_many_replicas_confirm_a_write_as_the_settings_say() -> None:
    every = cluster(durability="all")
    both = tuple({**m, "role": "quorum_standby"} if m["role"] != "leader" else m for m in MEMBERS)
    one, two = (replace(WELL, members=both, waits_for=f'ANY {n} ("db2","db3")') for n in (1, 2))
    assert list(broken(every, two)) == list(broken(SHOP, one)) == []
    assert list(broken(every, one)) == ["writes still wait for 1 of the replicas, and durability is all"]
    assert list(broken(SHOP, two)) == ["writes still wait for 2 of the replicas, and durability is quorum"]
    # Whoever is left out of the run, or gone, is none to wait for.
    left = replace(two, members=both[:2], in_recovery={"db1": False, "db2": True}, waits_for='ANY 1 ("db2")')
    assert list(broken(every, left)) == []


def test_after_a_failover_another_leads_and_all_is_well() -> None:
    members = ({**MEMBERS[0], "role": "replica", "state": "streaming"}, MEMBERS[1],
               {**MEMBERS[2], "role": "leader", "state": "running"})  # fmt: skip
    seen = Seen(members, {"db1": True, "db2": True, "db3": False},
                up={"proxy1": {"write": ("db3",), "read": ("db1", "db2")}})  # fmt: skip
    assert list(broken(SHOP, seen)) == []


RUNNING = {name: str(value) for name, value in postgres_parameters(SHOP).items()}


def test_what_postgresql_runs_with_is_compared_in_its_own_units() -> None:
    in_base_units = RUNNING | {"wal_sender_timeout": "10000", "tcp_user_timeout": "30000"}
    assert told(parameters={"db1": in_base_units}) == []
    assert told(parameters={"db1": RUNNING, "db2": RUNNING | {"wal_sender_timeout": "60000"}}) == [
        "wal_sender_timeout is 60000 on db2, should be 10s"
    ]
    without = {name: value for name, value in RUNNING.items() if name != "track_io_timing"}
    assert told(parameters={"db1": without}) == ["track_io_timing is None on db1, should be on"]


def test_what_waits_for_a_restart_is_not_broken_but_pending() -> None:
    bigger = cluster(postgres_parameters={"max_connections": 300, "work_mem": "8MB"})
    members = tuple({**m, "pending_restart_reason": {"max_connections": {}}} for m in MEMBERS)
    running = {name: str(value) for name, value in postgres_parameters(bigger).items()} | {"max_connections": "200"}
    seen = replace(WELL, members=members, parameters=dict.fromkeys(("db1", "db2", "db3"), running))
    assert list(broken(bigger, seen)) == []
    assert pending_restarts(bigger, seen) == {host: ["max_connections"] for host in ("db1", "db2", "db3")}
    assert pending_restarts(SHOP, replace(WELL, parameters={"db1": RUNNING})) == {}
