"""The smaller programs that run on hosts, and the journals' lines."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from https_servers import serving
from repository import ROOT

from agents.sent import follow, shipped, watcher
from day2.hosts.journal import selections

CONNECTION = "primary_conninfo = 'dbname=postgres passfile={} host=10.0.0.1 port=5432 application_name=db2'\n"


def test_a_replica_is_pointed_to_the_new_leader_as_patroni_would_do_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # as a server's process is in its data directory
    passwords, config = tmp_path / "pgpass", tmp_path / "postgresql.conf"
    passwords.write_text("10.0.0.1:5432:*:replicator:word\n")
    passwords.chmod(0o600)
    config.write_text(f"port = 5432\n{CONNECTION.format(passwords)}cluster_name = 'host=10.0.0.1 '\n")
    config.chmod(0o640)
    told = []
    before = signal.signal(signal.SIGHUP, lambda *_: told.append("reload"))
    try:
        (tmp_path / "postmaster.pid").write_text(f"{os.getpid()}\n/data\n")
        follow.follow({"data": str(tmp_path), "old": "10.0.0.1", "new": "10.0.0.2"})
        follow.follow({"data": str(tmp_path), "old": "10.0.0.1", "new": "10.0.0.2"})
    finally:
        signal.signal(signal.SIGHUP, before)
    expected = CONNECTION.format(passwords).replace("10.0.0.1", "10.0.0.2")
    assert config.read_text() == f"port = 5432\n{expected}{follow.REASON}cluster_name = 'host=10.0.0.1 '\n"
    assert passwords.read_text() == "10.0.0.2:5432:*:replicator:word\n"
    assert (passwords.stat().st_mode & 0o777, config.stat().st_mode & 0o777) == (0o600, 0o640)
    assert told == ["reload"]
    assert {path.name for path in tmp_path.iterdir()} == {"pgpass", "postgresql.conf", "postmaster.pid"}


def admin_socket(path: Path, *answers: bytes) -> list[str]:
    """A HAProxy that gives these answers, one after the other; returns what it is asked."""
    server, asked = socket.socket(socket.AF_UNIX), list[str]()
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        for answer in answers:
            connection, _ = server.accept()
            with connection:
                asked.append(connection.recv(100).decode().strip())
                connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return asked


@pytest.fixture
def folder() -> Iterator[Path]:
    """With a short name, as sockets need it."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@contextmanager
def draining(folder: Path, silence: int) -> Iterator[subprocess.Popen[str]]:
    """The program that drains a server, once it has said that it does."""
    command, source = shipped("drain", {"socket": str(folder / "admin.sock"), "server": "read/db1", "silence": silence})
    words = ["sh", "-c", command.replace("python3", sys.executable, 1)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as there:
        assert there.stdin and there.stdout
        there.stdin.write(source)
        there.stdin.flush()
        assert there.stdout.readline() == "drained\n"
        yield there


@pytest.mark.parametrize("gone", [False, True])
def test_a_server_is_drained_for_as_long_as_somebody_is_there(folder: Path, gone: bool) -> None:
    asked = admin_socket(folder / "admin.sock", b"\n", b"\n")
    with draining(folder, silence=60) as there:
        assert asked == ["set server read/db1 state drain"]
        assert there.stdin and there.stdout
        there.stdin.write("\n\n")
        if gone:
            there.stdout.close()
        there.stdin.close()
        assert there.wait(20) == 0
    assert asked[1:] == ["set server read/db1 state ready"]


def test_a_server_is_drained_no_longer_when_nobody_says_anything(folder: Path) -> None:
    """Its input has no end: whoever was there is gone without a word."""
    asked = admin_socket(folder / "admin.sock", b"\n", b"\n")
    with draining(folder, silence=1) as there:
        assert there.wait(20) == 0
    assert asked[1:] == ["set server read/db1 state ready"]


def test_what_haproxy_answers_to_a_change_is_an_error(folder: Path) -> None:
    admin_socket(folder / "admin.sock", b"No such server.\n")
    command, source = shipped("drain", {"socket": str(folder / "admin.sock"), "server": "read/db9", "silence": 60})
    words = ["sh", "-c", command.replace("python3", sys.executable, 1)]
    done = subprocess.run(words, input=source, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "HAProxy: set server read/db9 state drain: No such server.\n"


def test_a_patroni_that_does_not_answer_is_told_in_one_line(tmp_path: Path) -> None:
    tls = {name: str(tmp_path / name) for name in ("ca", "cert", "key")}
    spec = {"url": "127.0.0.1:1", "tls": tls, "method": "GET", "path": "/", "body": None, "seconds": 1}
    command, source = shipped("request", spec)
    words = ["sh", "-c", command.replace("python3", sys.executable, 1)]
    done = subprocess.run(words, input=f"{source}user:word\n", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Patroni: ") and "Traceback" not in done.stderr and "word" not in done.stderr


def test_patroni_s_answer_is_told_whatever_it_is(tmp_path: Path) -> None:
    refusal = "x" * 1000
    with serving(tmp_path, (200, "done\n"), (412, refusal)) as server:
        spec = {
            "url": server.address,
            "tls": server.tls,
            "method": "PATCH",
            "path": "/config",
            "body": {"a": None},
            "seconds": 20,
        }
        command, source = shipped("request", spec)
        words = ["sh", "-c", command.replace("python3", sys.executable, 1)]
        replies = [
            json.loads(subprocess.run(words, input=f"{source}user:word\n", capture_output=True, text=True, check=True).stdout)
            for _ in range(2)
        ]
    assert replies == [{"status": 200, "text": "done"}, {"status": 412, "text": refusal}]
    login = f"Basic {base64.b64encode(b'user:word').decode()}"
    assert server.asked == [("PATCH", "/config", '{"a": null}', login)] * 2


def test_a_program_that_fails_on_a_host_names_its_file_and_line(tmp_path: Path) -> None:
    command, source = shipped("drain", {})
    words = ["sh", "-c", command.replace("python3", sys.executable, 1)]
    done = subprocess.run(words, input=source, capture_output=True, text=True, check=False, cwd=tmp_path)
    lines = (ROOT / "agents/sent/drain.py").read_text().splitlines()
    (number,) = [n for n, line in enumerate(lines, 1) if "haproxy, server = " in line]
    assert done.stderr.endswith(f"File \"agents/sent/drain.py\", line {number}, in <module>\nKeyError: 'socket'\n")


def test_a_watcher_tells_the_leader_key_from_etcd_s_own_watch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def encoded(text: str) -> str:
        return base64.b64encode(text.encode()).decode()

    key, now = encoded("/service/shop/leader"), {"header": {"revision": "7"}, "kvs": [{"value": encoded("db1")}]}
    events = [
        {"result": {"created": True}},
        {"result": {"events": [{"kv": {"key": key, "value": encoded("db2")}}]}},
        {"result": {"events": [{"type": "DELETE", "kv": {"key": key}}]}},
    ]
    watch = "".join(f"{json.dumps(event)}\n" for event in events)
    watcher.last.clear()
    with serving(tmp_path, (200, json.dumps(now)), (200, watch)) as server, pytest.raises(OSError, match="the watch ended"):
        watcher.etcd({"url": server.address, "tls": server.tls, "prefix": "/service/shop/"})
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["what"], one["value"]) for one in said] == [
        ("etcd", True),
        ("leader", "db1"),
        ("leader", "db2"),
        ("leader", None),
    ]
    assert json.loads(server.asked[1][2]) == {"create_request": {"key": key, "start_revision": 8}}


def test_a_watcher_tells_the_lines_that_matter_by_the_monotonic_clock_and_answers_at_once(tmp_path: Path) -> None:
    entries = [
        ("patroni", "2031-01-01 10:00:00,123 INFO: no action. I am (db2), a secondary, and following a leader (db1)"),
        ("patroni", "2031-01-01 10:00:00,123 INFO: promoted self to leader by acquiring session lock"),
        ("patroni", "2031-01-01 10:00:00.500 UTC [3590] LOG:  selected new timeline ID: 2"),
        ("etcd", '{"level":"info","msg":"raft.node: d5 elected leader d5 at term 3"}'),
        ("haproxy", "[WARNING]  (465) : Server write/db1 is DOWN, reason: Layer4 timeout."),
        ("haproxy", "Server write/db1 is DOWN, reason: Layer4 timeout."),
        ("cron", "Server write/db1 is DOWN"),
    ]
    lines = [
        json.dumps({"__MONOTONIC_TIMESTAMP": str(5_000_000 + n), "_SYSTEMD_UNIT": f"{unit}.service", "MESSAGE": text})
        for n, (unit, text) in enumerate(entries)
    ]
    (tmp_path / "lines").write_text("\n".join(lines) + "\n")
    journalctl = tmp_path / "journalctl"
    journalctl.write_text(f"#!/bin/sh\ncat {tmp_path}/lines\nexec sleep 60\n")
    journalctl.chmod(0o700)
    command, source = shipped("watcher", {"journal": {"units": selections()}})
    words = ["sh", "-c", f"exec {command.replace('python3', sys.executable, 1)}"]
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdin and process.stdout
        process.stdin.write(source + "\n")
        process.stdin.flush()
        said = [json.loads(process.stdout.readline()) for _ in range(5)]
        process.stdin.close()
        assert process.wait(10) == 0
    assert [one["what"] for one in said].count("pong") == 1
    logs = [one for one in said if one["what"] == "log"]
    assert [(one["t"], one["value"]["unit"], one["value"]["text"]) for one in logs] == [
        (5.000001, "patroni", "INFO: promoted self to leader by acquiring session lock"),
        (5.000002, "patroni", "LOG:  selected new timeline ID: 2"),
        (5.000003, "etcd", "raft.node: d5 elected leader d5 at term 3"),
        (5.000004, "haproxy", "Server write/db1 is DOWN, reason: Layer4 timeout."),
    ]


def test_a_flood_of_lines_is_kept_away() -> None:
    sieve = watcher.Sieve()
    assert sieve.lets_through("peer 1 became inactive", 0.0)
    assert not sieve.lets_through("peer 2 became inactive", 9.0)
    assert not sieve.lets_through("peer 2 became inactive", 18.0)  # it never stopped
    assert sieve.lets_through("peer 2 became inactive", 28.0)
    passed = [sieve.lets_through(f"line {chr(97 + n)}", 50 + n / 1000) for n in range(26)]
    assert passed.count(True) == watcher.MOST_PER_SECOND
    assert sieve.lets_through("later", 52.0)


def test_a_journals_entry_without_text_is_no_line() -> None:
    entry = {"__MONOTONIC_TIMESTAMP": "1500000", "_SYSTEMD_UNIT": "init.scope", "UNIT": "etcd.service", "MESSAGE": "{broken"}
    assert watcher.log_line(entry) == (1.5, "etcd", "{broken")
    assert watcher.log_line(entry | {"MESSAGE": [104, 105, 255]}) == (1.5, "etcd", "hi\ufffd")
    assert watcher.log_line(entry | {"MESSAGE": None}) is None
