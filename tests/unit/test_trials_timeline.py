"""The timeline of a trial, read off what hosts and writers saw."""

from __future__ import annotations

from typing import Any

from day2.faults.base import last_write
from day2.history.writes import Write, WriteOutcome
from day2.hosts.watch import Event
from day2.trials.result import LogLine, Phase
from day2.trials.timeline import KEYS, log_lines, timeline

PREDICTED = {"new_leader": (19.5, 23.0), "first_write": (20.0, 24.5)}


def write(at: float, outcome: WriteOutcome = WriteOutcome.ACKNOWLEDGED, timeline: int = 1) -> Write:
    return Write(0, int(at * 1000), outcome, at - 0.002, at, "", timeline)


def seen(*events: tuple[float, str, str, Any]) -> tuple[Event, ...]:
    return tuple(Event(*event) for event in sorted(events, key=lambda event: event[0]))


def log(unit: str, text: str) -> dict[str, str]:
    return {"unit": unit, "text": text}


def told(phases: tuple[Phase, ...]) -> list[tuple[float | None, str, str]]:
    return [(phase.seconds, phase.key, phase.name) for phase in phases]


BEFORE = seen(
    (90.0, "db2", "leader", "db1"),
    (90.0, "db1", "primary", True),
    (90.0, "db2", "primary", False),
    (90.0, "db1", "streaming", ["db2", "db3"]),
    (90.0, "db2", "streaming", []),
    (90.0, "db1", "etcd", True),
    (90.0, "proxy1", "routed", ["db1"]),
    (90.0, "proxy1", "reads", ["db2", "db3"]),
    (90.0, "proxy1", "failing", []),
)
FAILOVER = seen(
    *((e.at, e.host, e.what, e.value) for e in BEFORE if e.host != "db1"),
    (102.0, "proxy1", "failing", ["write/db1"]),
    (103.0, "proxy1", "routed", []),
    (120.0, "db2", "leader", None),
    (120.1, "db3", "leader", None),
    (122.0, "db3", "leader", "db2"),
    (122.1, "db2", "leader", "db2"),
    (122.2, "proxy1", "routed", ["db2"]),
    (122.3, "db2", "primary", True),
    (122.5, "db2", "streaming", ["db3"]),
    (131.0, "db2", "streaming", ["db1", "db3"]),
)
WRITES = [
    write(99.9),
    write(100.0),
    write(110.0, WriteOutcome.FAILED),
    write(122.6, timeline=2),
    write(122.7, timeline=2),
]


def test_the_timeline_of_a_failover() -> None:
    phases = timeline(
        FAILOVER, WRITES, fault_at=100.0, heal_started=125.0, primary="db1", name="host-off", targets=["db1"], predicted=PREDICTED
    )
    assert told(phases) == [
        (0.0, "fault", "host-off"),
        (2.0, "detected", "HAProxy's check of write/db1 fails"),
        (3.0, "old_out", "HAProxy sends no more writes to db1"),
        (20.0, "key_gone", "leader key gone"),
        (22.0, "new_leader", "db2 takes the leader key"),
        (22.2, "routed", "HAProxy sends writes to db2"),
        (22.3, "promoted", "db2 is promoted"),
        (22.5, "followed", "a replica streams from db2"),
        (22.6, "first_write", "first acknowledged write"),
        (25.0, "healing", "healing db1 begins"),
        (31.0, "returned", "db1 streams as a replica"),
    ]
    assert {phase.key: phase.predicted for phase in phases if phase.predicted} == PREDICTED
    assert {phase.key for phase in phases} | {"last_write", "moved"} == set(KEYS)


def test_what_the_old_primary_still_acknowledges_is_not_the_first_write_of_the_new_one() -> None:
    writes = [*WRITES[:3], write(122.4, timeline=1), *WRITES[3:]]
    phases = timeline(FAILOVER, writes, fault_at=100.0, heal_started=None, primary="db1", name="partition")
    assert {phase.key: phase.seconds for phase in phases}["first_write"] == 22.6


def test_what_never_came_is_told_last() -> None:
    silent = FAILOVER[:8]
    phases = timeline(silent, WRITES[:3], fault_at=100.0, heal_started=125.0, primary="db1", name="host-off", predicted=PREDICTED)
    assert [p.key for p in phases if p.seconds is not None] == ["fault", "detected", "old_out", "healing"]
    assert {"new_leader", "first_write", "returned"} < {p.key for p in phases if p.seconds is None}
    assert [p.seconds for p in phases[-7:]] == [None] * 7
    keys = [p.key for p in phases]
    assert len(keys) == len(set(keys))


def test_a_replica_that_is_lost_and_comes_back() -> None:
    events = seen(
        *((e.at, e.host, e.what, e.value) for e in BEFORE if e.host != "db3"),
        (102.0, "proxy1", "failing", ["read/db3"]),
        (103.0, "proxy1", "reads", ["db2"]),
        (115.0, "db1", "streaming", ["db2"]),
        (140.0, "db1", "streaming", ["db2", "db3"]),
    )
    writes = [write(100.0 + n / 10) for n in range(500)]
    phases = timeline(events, writes, fault_at=100.0, heal_started=130.0, primary="db1", name="replica-off", targets=["db3"])
    assert told(phases) == [
        (0.0, "fault", "replica-off"),
        (2.0, "detected", "HAProxy's check of read/db3 fails"),
        (30.0, "healing", "healing db3 begins"),
        (40.0, "returned", "db3 is back"),
    ]
    phases = timeline(events[:-1], writes, fault_at=100.0, heal_started=130.0, primary="db1", name="replica-off", targets=["db3"])
    assert phases[-1] == Phase("returned", "db3 is back", None)


def test_an_address_that_moves_is_told_by_who_took_it() -> None:
    took, predicted = log("keepalived", "(entry) Entering MASTER STATE"), {"moved": (1.0, 2.0)}
    events = seen(
        *((e.at, e.host, e.what, e.value) for e in BEFORE),
        (95.0, "proxy2", "log", took),
        (101.4, "proxy2", "log", log("keepalived", "(entry) Backup received priority 0 advertisement")),
        (101.5, "proxy2", "log", took),
        (109.0, "proxy1", "log", took),
    )
    given = {"fault_at": 100.0, "heal_started": None, "primary": "db1", "name": "proxy-host-off", "targets": ["proxy1"]}
    phases = timeline(events, WRITES[:2], predicted=predicted, **given)  # type: ignore[arg-type]
    assert Phase("moved", "proxy2 has the virtual address", 1.5, (1.0, 2.0)) in phases
    phases = timeline(BEFORE, WRITES[:2], predicted=predicted, **given)  # type: ignore[arg-type]
    assert phases[-1] == Phase("moved", "another proxy host has the virtual address", None, (1.0, 2.0))
    assert "moved" not in {phase.key for phase in timeline(BEFORE, WRITES[:2], **given)}  # type: ignore[arg-type]


def test_writes_that_stop_until_healed_though_the_primary_stays() -> None:
    events = seen(
        *((e.at, e.host, e.what, e.value) for e in BEFORE),
        (101.0, "db1", "etcd", False),
        (108.0, "db1", "primary", False),
        (108.5, "proxy1", "routed", []),
        (120.0, "db2", "leader", None),
        (131.0, "db1", "etcd", True),
        (132.0, "db2", "leader", "db1"),
        (133.0, "db1", "primary", True),
        (133.5, "proxy1", "routed", ["db1"]),
    )
    writes = [write(99.9), write(107.9), write(110.0, WriteOutcome.FAILED), write(133.6, timeline=2)]
    phases = timeline(
        events, writes, fault_at=100.0, heal_started=130.0, primary="db1", name="etcd-all-stop", targets=["db1", "db2"]
    )
    assert told(phases) == [
        (0.0, "fault", "etcd-all-stop"),
        (1.0, "detected", "etcd on db1 does not answer"),
        (7.9, "last_write", "last acknowledged write before the gap"),
        (8.5, "old_out", "HAProxy sends no more writes to db1"),
        (20.0, "key_gone", "leader key gone"),
        (30.0, "healing", "healing db1, db2 begins"),
        (31.0, "returned", "db1, db2 is back"),
        (32.0, "new_leader", "db1 takes the leader key again"),
        (33.5, "routed", "HAProxy sends writes to db1 again"),
        (33.6, "first_write", "first acknowledged write after the gap"),
    ]


def test_a_gap_that_never_ends_has_no_first_write_after_it() -> None:
    writes = [write(99.9), write(100.0), write(130.0, WriteOutcome.FAILED)]
    phases = timeline(BEFORE, writes, fault_at=100.0, heal_started=None, primary="db1", name="haproxy-kill", targets=["proxy1"])
    assert [(p.key, p.seconds) for p in phases] == [
        ("fault", 0.0),
        ("last_write", 0.0),
        ("detected", None),
        ("first_write", None),
    ]


def test_a_proxy_that_is_killed_and_started_again() -> None:
    events = seen(
        *((e.at, e.host, e.what, e.value) for e in BEFORE),
        (100.1, "proxy1", "log", log("haproxy", "haproxy.service: Main process exited, code=killed, status=9/KILL")),
        (100.2, "proxy1", "routed", None),
        (101.5, "proxy1", "routed", []),
        (101.6, "proxy1", "routed", ["db1"]),
    )
    writes = [write(100.0), write(101.7)]
    phases = timeline(events, writes, fault_at=100.0, heal_started=None, primary="db1", name="haproxy-kill", targets=["proxy1"])
    text = "haproxy on proxy1: haproxy.service: Main process exited, code=killed, status=9/KILL"
    assert told(phases) == [
        (0.0, "fault", "haproxy-kill"),
        (0.0, "last_write", "last acknowledged write before the gap"),
        (0.1, "detected", text),
        (1.5, "returned", "proxy1 is back"),
        (1.6, "routed", "HAProxy sends writes to db1 again"),
        (1.7, "first_write", "first acknowledged write after the gap"),
    ]


def test_the_logs_since_the_fault() -> None:
    events = seen(
        (99.0, "db2", "log", log("patroni", "Lock owner: db1; I am db2")),
        (106.4, "db2", "log", log("patroni", "INFO: promoted self to leader by acquiring session lock")),
        (106.0, "db2", "leader", "db2"),
    )
    expected = (LogLine(6.4, "db2", "patroni", "INFO: promoted self to leader by acquiring session lock"),)
    assert log_lines(events, fault_at=100.0) == expected


def test_the_fault_began_when_the_last_write_got_through() -> None:
    assert last_write([write(100.0), write(101.5), write(104.0)], began=100.5, ended=102.0) == 101.5
    assert last_write([write(100.0)], began=100.5, ended=102.0) == 100.5
