"""How lines of the hosts' journals become one stream: their order, who wrote them, how bad they are."""

from __future__ import annotations

import json

import pytest

from cluster.errors import ClusterError
from day2.commands.look.log_lines import Line, in_order, once, parse, selection
from day2.commands.look.logs import command, component_of, latest

PATRONI = "2031-01-01 10:00:00,123 "
POSTGRES = "2031-01-01 10:00:00.500 UTC [3590] "


def line(text: str, unit: str = "patroni", at: float = 1.0, host: str = "db1", priority: int = 6) -> Line:
    return Line(at, host, unit, text, priority)


def test_journal_lines() -> None:
    entry = {"__REALTIME_TIMESTAMP": "1700000000500000", "_SYSTEMD_UNIT": "patroni.service", "MESSAGE": "hello"}
    assert list(parse("db1", json.dumps(entry))) == [Line(1700000000.5, "db1", "patroni", "hello")]
    stopped = entry | {"_SYSTEMD_UNIT": "init.scope", "UNIT": "etcd.service"}
    assert next(parse("db1", json.dumps(stopped))).unit == "etcd"
    assert next(parse("db1", json.dumps(entry | {"MESSAGE": [104, 105, 255]}))).text == "hi\ufffd"
    assert list(parse("db1", "-- No entries --")) == []
    assert list(parse("db1", json.dumps({"MESSAGE": None}))) == []
    assert next(parse("db1", json.dumps(entry | {"PRIORITY": "3"}))).priority == 3


def test_lines_of_the_same_moment_stay_as_they_came() -> None:
    db1 = [line(text, at=5.0) for text in ("FATAL: it failed", "DETAIL: and why", "a last word")]
    db2 = [line("z", host="db2", at=4.0), line("b", host="db2", at=5.0), line("a", host="db2", at=5.0)]
    assert [one.text for one in in_order([*db1, *db2])] == ["z", "FATAL: it failed", "DETAIL: and why", "a last word", "b", "a"]


@pytest.mark.parametrize(
    ("unit", "text", "component"),
    [
        ("etcd", '{"level":"info","msg":"raft.node: d5 elected leader d5 at term 3"}', "etcd"),
        ("haproxy", "Proxy writes started.", "haproxy"),
        ("keepalived", "(entry) Entering BACKUP STATE", "keepalived"),
        ("patroni", f"{PATRONI}INFO: Lock owner: db1; I am db2", "patroni"),
        ("patroni", f"{POSTGRES}LOG:  selected new timeline ID: 2", "postgres"),
        ("patroni", f"{POSTGRES}app@shop ERROR:  syntax error", "postgres"),
        ("patroni", "\tselect 1 from a long statement", "postgres"),
        ("patroni", "Traceback (most recent call last):", "patroni"),
        ("pgquorum-wake-patroni", "Patroni is told", "patroni"),
        ("pgquorum-pool@write-2", "C-0x55e: app/app@10.0.0.4:39190 login attempt: db=app user=app tls=TLSv1.3", "pgbouncer"),
        ("pgbackrest", "Started pgbackrest.service - pgBackRest, for the backups of cluster shop.", "pgbackrest"),
        ("pgquorum-backup@full", "P00   INFO: backup start archive = 000000010000000000000006, lsn = 0/6000028", "pgbackrest"),
    ],
)
def test_who_wrote_it(unit: str, text: str, component: str) -> None:
    assert line(text, unit).component == component


@pytest.mark.parametrize(
    ("unit", "text", "bad"),
    [
        ("patroni", f"{PATRONI}WARNING: Request failed", True),
        ("patroni", f"{PATRONI}INFO: Demoting self (immediate)", True),
        ("patroni", f"{PATRONI}INFO: no action. I am (db1), the leader with the lock", False),
        ("patroni", f"{POSTGRES}FATAL:  could not open file", True),
        ("patroni", f"{POSTGRES}LOG:  checkpoint starting: immediate", False),
        ("etcd", '{"level":"warn","msg":"apply request took too long"}', True),
        ("etcd", '{"level":"info","msg":"compacted"}', False),
        ("haproxy", "[ALERT]    (465) : backend 'write' has no server available!", True),
        ("haproxy", "[NOTICE]   (465) : New worker (467) forked", False),
    ],
)
def test_what_is_an_error(unit: str, text: str, bad: bool) -> None:
    assert line(text, unit).is_error is bad


def test_what_the_journal_itself_calls_a_warning_is_one() -> None:
    assert line("etcd.service: Failed with result", "etcd", priority=4).is_error


def test_what_patroni_says_itself_is_as_bad_as_it_says() -> None:
    """To the journal all of it is a warning."""
    assert not line(f"{PATRONI}INFO: no action", priority=4).is_error
    assert line(f"{PATRONI}ERROR: unexpected", priority=4).is_error
    assert line("patroni.service: Failed with result 'exit-code'.", priority=4).is_error


def test_an_error_is_told_with_what_goes_on_from_it() -> None:
    wanted = selection(None, errors=True)
    lines = [
        line(f"{PATRONI}INFO: starting"),
        line(f"{PATRONI}ERROR: unexpected"),
        line("Traceback (most recent call last):"),
        line("KeyError: 'x'"),
        line("quite another host's", host="db2"),
        line(f"{POSTGRES}app@shop ERROR:  syntax error"),
        line(f"{POSTGRES}app@shop STATEMENT:  selekt 1"),
        line("\tfrom t"),
        line(f"{POSTGRES}LOG:  checkpoint starting"),
        line("\tand more of it"),
        line(f"{PATRONI}INFO: no action"),
    ]
    assert [number for number, one in enumerate(lines) if wanted(one)] == [1, 2, 3, 5, 6, 7]


def test_of_one_component_only() -> None:
    wanted = selection("postgres", errors=False)
    assert [wanted(line(text)) for text in (f"{POSTGRES}LOG:  x", f"{PATRONI}INFO: y", "\tz")] == [True, False, True]


def test_haproxy_is_told_once_but_again_when_it_says_so_again() -> None:
    first = once()
    down = "Server write/db1 is DOWN, reason: Layer4 timeout."
    lines = [
        line(f"[WARNING]  (465) : {down}", "haproxy", 10.0),
        line(down, "haproxy", 10.001),
        line(down, "haproxy", 10.001, host="proxy2"),
        line(f"[WARNING]  (465) : {down}", "haproxy", 20.0),
        line("twice by Patroni", at=20.0),
        line("twice by Patroni", at=20.0),
        line("10.0.0.9:4711 on port 7000 is answered 401", "haproxy", 21.0),
        line("10.0.0.9:4711 on port 7000 is answered 401", "haproxy", 21.1),
    ]
    assert [first(one) for one in lines] == [True, False, True, True, True, True, True, True]


def test_the_last_lines_are_shown_and_what_is_left_out_is_said() -> None:
    said: list[str] = []
    lines = [line(str(number)) for number in range(1200)]
    assert latest(iter(lines), 200, said.append) == lines[-200:]
    assert [text.split(":")[0] for text in said] == ["the last 200 of 1,200 lines"]
    assert latest(iter(lines), 0, said.append) == latest(iter(lines), 1200, said.append) == lines
    assert len(said) == 1


def test_a_component_by_name() -> None:
    assert (component_of(""), component_of("etcd")) == (None, "etcd")
    with pytest.raises(ClusterError, match="did you mean 'postgres'"):
        component_of("postgre")


def test_only_a_stream_that_goes_on_is_cut_on_the_host() -> None:
    assert "--lines" not in command("10 min ago") and command("10 min ago", 200).endswith("--lines=200")


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("P00   INFO: new backup label = 20261129-032902F", False),
        ("WARN: a timeline switch has occurred since the 20261129-032902F backup, enabling delta checksum", True),
        ("ERROR: [103]: unable to find a valid repository:", True),
        ("P00  ERROR: [056]: unable to find primary cluster - cannot proceed", True),
    ],
)
def test_pgbackrest_says_how_bad_a_line_is_on_its_standard_error_and_elsewhere(text: str, bad: bool) -> None:
    assert line(text, unit="pgquorum-backup@incr").is_error == bad
