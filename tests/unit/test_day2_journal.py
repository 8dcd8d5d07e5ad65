"""Which lines of the logs are told, and what is taken for the first sign of a failure. The lines are real ones."""

from __future__ import annotations

import re
from typing import Any

import pytest

from day2.hosts.journal import is_trouble, selections
from day2.hosts.watch import Event
from day2.trials.detection import first_sign, returned

TROUBLE = (
    ("patroni", "INFO: Primary crashed. Failing over."),
    ("patroni", "INFO: Demoting self (immediate)"),
    ("patroni", "INFO: demoting self because DCS is not accessible and I was a leader"),
    ("patroni", "ERROR: Error communicating with DCS"),
    ("patroni", "ERROR: failed to update leader lock"),
    ("patroni", "ERROR: Request to server https://10.0.0.1:2379 failed: ReadTimeoutError(...)"),
    ("patroni", "FATAL:  terminating walreceiver due to timeout"),
    ("patroni", "FATAL:  could not receive data from WAL stream: SSL connection has been closed unexpectedly"),
    ("patroni", 'PANIC:  could not write to file "pg_wal/xlogtemp.1": No space left on device'),
    ("patroni", 'fd00::1(4711) PANIC:  could not write to file "pg_wal/xlogtemp.1": No space left on device'),
    ("patroni", '[local] ERROR:  could not extend file "base/5/1": No space left on device'),
    ("patroni", "patroni.service: Main process exited, code=killed, status=9/KILL"),
    ("etcd", "raft.node: d56663302c826d49 lost leader bd36b9609a0b188d at term 3"),
    ("haproxy", "Server write/db1 is DOWN, reason: Layer4 timeout, check duration: 1001ms. 0 active servers left."),
)
PROGRESS = (
    ("patroni", "INFO: promoted self to leader by acquiring session lock"),
    ("patroni", "INFO: following new leader after trying and failing to obtain lock"),
    ("patroni", "INFO: Lock owner: None; I am db2"),
    ("patroni", "INFO: not healthy enough for leader race"),
    ("patroni", "LOG:  received promote request"),
    ("patroni", "LOG:  selected new timeline ID: 2"),
    ("patroni", "LOG:  database system is ready to accept connections"),
    ("patroni", "INFO: postmaster pid=3588"),
    ("patroni", "Started patroni.service - Patroni and PostgreSQL 18, cluster demo."),
    ("etcd", "raft.node: d56663302c826d49 elected leader d56663302c826d49 at term 3"),
    ("haproxy", "Server write/db3 is UP, reason: Layer7 check passed, code: 200, check duration: 58ms."),
)
NOISE = (
    ("patroni", "INFO: no action. I am (db2), a secondary, and following a leader (db1)"),
    ("patroni", "INFO: no action. I am (db1), the leader with the lock"),
    ("patroni", "LOG:  checkpoint starting: immediate force wait"),
    ("patroni", "FATAL:  the database system is starting up"),
    ("patroni", "rewinder@postgres LOG:  duration: 2232.164 ms  execute fetch_chunks_stmt: SELECT path, begin,"),
    ("patroni", '10.0.0.9(4711) FATAL:  password authentication failed for user "PANIC:  "'),
    ("patroni", '[local] FATAL:  role "promoted self to leader" does not exist'),
    ("patroni", "fd00::9(4711) LOG:  server process (PID 1) was terminated by signal 9: Killed"),
    ("etcd", "established TCP streaming connection with remote peer"),
    ("haproxy", "Proxy writes started."),
)


def told(unit: str, text: str) -> bool:
    return bool(re.search(selections()[unit], text))


@pytest.mark.parametrize(("unit", "text"), TROUBLE)
def test_trouble(unit: str, text: str) -> None:
    assert told(unit, text) and is_trouble(unit, text)


@pytest.mark.parametrize(("unit", "text"), PROGRESS)
def test_what_tells_how_it_goes_on_is_told_and_no_sign_of_trouble(unit: str, text: str) -> None:
    assert told(unit, text) and not is_trouble(unit, text)


@pytest.mark.parametrize(("unit", "text"), NOISE)
def test_what_comes_all_the_time_or_is_about_one_session_is_not_told(unit: str, text: str) -> None:
    assert not told(unit, text) and not is_trouble(unit, text)


@pytest.mark.parametrize(
    ("what", "before", "now", "text"),
    [
        ("leader", "db1", None, "the leader key is gone"),
        ("primary", True, None, "PostgreSQL on h does not answer"),
        ("primary", True, False, "h is not the primary any more"),
        ("primary", False, True, None),
        ("streaming", ["db2", "db3"], ["db3"], "db2 does not stream from h any more"),
        ("streaming", ["db2"], ["db2", "db3"], None),
        ("routed", ["db1"], [], "HAProxy sends no writes to db1 any more"),
        ("routed", [], ["db1"], None),
        ("routed", ["db1"], None, "HAProxy on h does not answer"),
        ("reads", ["db1", "db2"], ["db1"], "HAProxy sends no reads to db2 any more"),
        ("failing", [], ["read/db2"], "HAProxy's check of read/db2 fails"),
        ("failing", ["read/db2"], [], None),
        ("etcd", True, False, "etcd on h does not answer"),
        ("etcd", False, True, None),
    ],
)
def test_the_first_sign(what: str, before: Any, now: Any, text: str | None) -> None:
    events = [Event(90.0, "h", what, before), Event(101.0, "h", what, now)]
    assert first_sign(events, 100.0) == (None if text is None else (101.0, text))
    assert first_sign(events, 102.0) is None


def test_a_line_of_a_log_is_a_sign_only_if_it_tells_of_trouble() -> None:
    lines = ("INFO: Lock owner: db1; I am db2", "ERROR: Error communicating with DCS")
    events = [Event(101.0 + n, "db2", "log", {"unit": "patroni", "text": text}) for n, text in enumerate(lines)]
    assert first_sign(events, 100.0) == (102.0, "patroni on db2: ERROR: Error communicating with DCS")


def test_all_that_was_broken_on_the_targets_has_to_be_healthy_again() -> None:
    events = [
        Event(90.0, "db1", "streaming", ["db2", "db3"]),
        Event(90.0, "db2", "etcd", True),
        Event(101.0, "db2", "etcd", False),
        Event(101.0, "db3", "etcd", False),  # no target
        Event(102.0, "db1", "streaming", ["db3"]),
        Event(110.0, "db2", "etcd", True),
        Event(112.0, "db1", "streaming", ["db2", "db3"]),
    ]
    assert returned(events, ["db2"], 100.0) == (True, 112.0)
    assert returned(events[:-1], ["db2"], 100.0) == (True, None)
    assert returned(events[:2], ["db2"], 100.0)[0] is False
