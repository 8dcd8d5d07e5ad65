"""Clients who are kept waiting while the primary changes: what is held and for how long, who stands in the way; and the program
that does it, before a PgBouncer and a HAProxy that are played."""

from __future__ import annotations

import getpass
import json
import pwd
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clusters import cluster
from played import Played, with_systemd

from agents.proxies import Console
from agents.sent import shipped
from cluster.errors import ClusterError
from day2.history.writes import Write, WriteOutcome, longest_wait
from day2.procedures import hold
from day2.procedures.hold import Session, given_up, hold_for, patience_of, program, query, sessions_of, too_long
from day2.procedures.steps import AwaitSpared, Checkpoint, HandOver
from day2.procedures.switchover import steps

SHOP = cluster()
POOLED = cluster(pooling=True, pooling_processes=2)
OLD = Session(4711, "app", "shop", "10.0.0.77", "idle in transaction", "2026-11-29 12:00:00", 61.0)
NEW = Session(4712, "app", "shop", "10.0.0.78", "active", "2026-11-29 12:01:00", 0.2)


def test_new_connections_are_held_and_the_pools_of_writes_paused() -> None:
    assert hold_for(SHOP).pools == ()
    held = hold_for(POOLED, 3)
    assert (held.hosts, held.port, held.pools, held.patience) == (("proxy1",), 5000, ("write-1", "write-2"), 3)
    assert held.bound == 3 + hold.HANDOVER_SECONDS
    assert str(held) == (
        "with write-1, write-2 paused within 3 s, and new connections to port 5000 held on proxy1, for 18 s at most"
    )


def test_clients_who_log_in_meanwhile_are_not_sent_away() -> None:
    """PgBouncer does that after client_login_timeout."""
    route = (Path(hold.__file__).parents[2] / "templates/pgbouncer/route.ini.j2").read_text()
    limit = next(int(line.split("=")[1]) for line in route.splitlines() if line.startswith("client_login_timeout"))
    assert hold_for(SHOP).bound <= limit


@pytest.mark.parametrize("seconds", [0, 16, -1])
def test_a_patience_that_can_not_be(seconds: int) -> None:
    with pytest.raises(ClusterError, match=f"--patience {seconds}: should be from 1 to 15"):
        patience_of(seconds)
    assert patience_of(1) == 1 and patience_of(15) == 15


def test_the_program_is_told_of_what_is_there() -> None:
    (proxy,) = POOLED.haproxy_hosts
    asked = program(POOLED, proxy, "me", hold_for(POOLED))
    assert asked["pools"]["write-2"] == {
        "socket": "/run/pgquorum-pool/write-2", "port": 6432, "unit": "pgquorum-pool@write-2.service"
    }  # fmt: skip
    assert set(asked["pools"]) == {"write-1", "write-2"} and asked["through"] == [proxy.address, 5000]
    assert set(program(POOLED, proxy, "me")["pools"]) == {"write-1", "read-1", "write-2", "read-2"}
    assert program(SHOP, SHOP.haproxy_hosts[0], "me")["through"] is None


def test_an_old_transaction_is_not_waited_for() -> None:
    assert too_long((NEW, OLD), 5) == (OLD,)
    assert too_long((NEW,), 5) == ()


def test_who_stands_in_the_way_is_named() -> None:
    text = str(given_up((NEW, OLD), 5))
    assert "could not be paused within 5 s, and go on; nothing was changed" in text
    named = "pid 4711 of role app in database shop from 10.0.0.77 (idle in transaction)"
    assert f"  - {named}, in a transaction since 2026-11-29 12:00:00 UTC (61 s)" in text
    assert text.index("4711") < text.index("4712")
    many = str(given_up([NEW] * 9, 5))
    assert many.count("4712") == hold.NAMED and "and 4 more" in many
    assert "has ended by now" in str(given_up((), 5))


def test_a_name_can_not_command_the_terminal() -> None:
    assert "\x1b" not in str(Session(1, "a\x1b[2J", "shop", "::1", "active", "now", 1.0))


def test_postgres_is_asked_for_process_ids_alone() -> None:
    assert query([3, 4]).endswith("pid in (3, 4)") and query([]).endswith("pid in (null)")
    busy = [{"pool": "write-1", "pid": 4711, "client": "10.0.0.77", "role": "app", "database": "shop"}]
    told = {"pid": 4711, "role": "app", "database": "shop", "state": "idle in transaction", "since": OLD.since, "seconds": 61}
    assert sessions_of(busy, [told, told | {"pid": 99}]) == (OLD,)


def test_the_order_of_a_switchover() -> None:
    held = hold_for(SHOP)
    assert steps(SHOP, "db1", "db2", held) == (AwaitSpared("db1"), Checkpoint("db1"), HandOver("db1", "db2", held, drained=True))
    assert steps(SHOP, "db1", "db2", None) == (HandOver("db1", "db2"),)
    two = replace(SHOP, postgres_hosts=SHOP.postgres_hosts[:2])
    assert steps(two, "db1", "db2", held)[-1] == HandOver("db1", "db2", held)  # else nobody would be read from


def written(writer: int, number: int, began: float, ended: float, outcome: WriteOutcome = WriteOutcome.ACKNOWLEDGED) -> Write:
    return Write(writer, number, outcome, began, ended, "db1", 1)


def test_the_longest_wait_begins_with_the_first_attempt() -> None:
    failed = written(1, 2, 1.0, 1.1, WriteOutcome.FAILED)
    in_vain = written(2, 2, 2.0, 9.9, failed.outcome)
    writes = [written(1, 1, 0.0, 0.9), failed, written(1, 3, 1.2, 2.5), written(2, 1, 1.0, 2.0), in_vain]
    assert longest_wait(writes) == pytest.approx(1.5)
    assert longest_wait(writes[:1]) == pytest.approx(0.9)
    assert longest_wait(writes, since=99.0) is None and longest_wait([]) is None


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    return with_systemd(tmp_path, monkeypatch)


class Program:
    """agents/sent/hold.py as it runs on a host, spoken to."""

    def __init__(self, played: Played, **differs: Any) -> None:
        pools = {"write-1": {"socket": str(played.folder), "port": 6432, "unit": "pgquorum-pool@write-1.service"}}
        spec = program(POOLED, POOLED.haproxy_hosts[0], "me", hold_for(POOLED)) | {
            "haproxy": str(played.folder / "admin.sock"), "pools": pools, "through": None, "user": getpass.getuser(),
            "patience": 0.2, "note": str(played.folder / "note"), **differs,
        }  # fmt: skip
        command, source = shipped("hold", spec)
        words = ["sh", "-c", command.replace("python3", sys.executable, 1)]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._tell(source)

    def _tell(self, text: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(text)
        self._process.stdin.flush()

    def ask(self, command: str = "") -> dict[str, Any]:
        if command:
            self._tell(f"{command}\n")
        assert self._process.stdout
        return dict(json.loads(self._process.stdout.readline()))

    def end(self, how: str = "close") -> None:
        assert self._process.stdin
        self._process.stdin.close() if how == "close" else self._process.kill()
        assert self._process.wait(20) == (0 if how == "close" else -9)


def test_all_is_held_and_let_go_in_order(played: Played) -> None:
    there = Program(played)
    assert there.ask() == {"ready": True}
    assert there.ask("busy")["busy"] == [
        {"pool": "write-1", "client": "10.0.0.77", "pid": 4711, "role": "app", "database": "shop"}
    ]  # fmt: skip
    assert there.ask("hold") == {"held": True}
    assert played.paused and played.limit == 0 and (played.folder / "note").read_text() == "me"
    (armed,) = (played.folder / "systemd").read_text().splitlines()
    assert "--on-active=20s" in armed and "set maxconn frontend writes 100" in armed
    assert "systemctl kill --signal=USR2 pgquorum-pool@write-1.service" in armed
    assert there.ask("open db2") == {"open": True}
    assert played.up == {"db1": False, "db2": True} and played.limit == 100 and played.paused
    assert there.ask("resume") == {"resumed": True, "problems": []}
    there.end()
    assert not played.paused and not (played.folder / "note").exists()
    assert (played.folder / "systemd").read_text().splitlines()[1:] == ["systemctl stop pgquorum-let-go.timer"]


def test_a_console_is_asked_as_its_user_and_then_one_is_who_one_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is root on hosts, and here whoever runs this."""
    became: list[int] = []
    monkeypatch.setattr("os.geteuid", lambda: 4321)
    monkeypatch.setattr("os.seteuid", became.append)
    with pytest.raises(FileNotFoundError):
        Console(getpass.getuser(), str(tmp_path), 6432)
    assert became == [pwd.getpwnam(getpass.getuser()).pw_uid, 4321]


def test_the_pools_are_paused_when_no_connection_is_being_made(played: Played) -> None:
    played.begun = 5
    there = Program(played)
    there.ask()
    assert there.ask("hold") == {"held": True}
    there.end()
    assert played.failed == 0


def test_who_is_in_the_way_is_told_and_all_goes_on(played: Played) -> None:
    played.stuck = True
    there = Program(played)
    there.ask()
    answer = there.ask("hold")
    assert [one["pid"] for one in answer["stuck"]] == [4711] and answer["problems"] == []
    there.end()
    assert not played.paused and played.limit == 100 and "set maxconn frontend writes 0" not in played.asked


def test_all_goes_on_when_the_operator_is_gone(played: Played) -> None:
    there = Program(played)
    there.ask()
    there.ask("hold")
    there.end()
    assert not played.paused and played.limit == 100


def test_who_commands_nothing_until_the_timer_lets_go_is_obeyed_no_more(played: Played) -> None:
    """An operator's machine that slept: what it says then would be done in another time."""
    there = Program(played, bound=1)
    assert there.ask() == {"ready": True}
    assert there.ask("hold") == {"held": True}
    assert there.ask("still") == {"still": True}
    assert there.ask() == {"problem": "no command has come until all flows again by itself"}
    there.end()
    assert not played.paused and played.limit == 100


def test_the_timer_is_left_where_the_program_is_gone_too(played: Played) -> None:
    there = Program(played)
    there.ask()
    there.ask("hold")
    there.end("kill")
    assert played.paused and len((played.folder / "systemd").read_text().splitlines()) == 1


def test_what_somebody_else_has_paused_is_left_to_them(played: Played) -> None:
    played.paused = True
    there = Program(played)
    there.ask()
    assert there.ask("hold") == {"problem": "write-1: already suspended/paused"}
    there.end()
    assert played.paused and played.limit == 100


def test_what_is_held_is_not_held_again(played: Played) -> None:
    played.limit = 0
    there = Program(played)
    there.ask()
    assert "takes no new connections as it is" in there.ask("hold")["problem"]
    assert "pause" not in played.asked and not (played.folder / "systemd").exists()


def test_a_timer_that_can_not_be_armed_is_the_end(played: Played) -> None:
    (played.folder / "systemd-run").write_text("#!/bin/sh\necho 'already loaded' >&2; exit 1\n")
    there = Program(played)
    there.ask()
    assert "nothing is held: already loaded" in there.ask("hold")["problem"]
    there.end()
    assert "pause" not in played.asked


def test_whatever_is_held_is_released(played: Played) -> None:
    played.paused, played.limit = True, 0
    there = Program(played, limit=77)
    there.ask()
    assert there.ask("release")["released"] == ["frontend writes takes new connections again", "write-1: resume"]
    assert not played.paused and played.limit == 77
    again = Program(played, limit=77)
    again.ask()
    assert again.ask("release")["released"] == []
