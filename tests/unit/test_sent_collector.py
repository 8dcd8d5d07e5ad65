"""The program that runs on the hosts, run here as it is there: as text, by a bare Python."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from https_servers import serving

from agents.parts import asking, files, haproxy, postgres
from agents.sent import collector, shipped

STAT = """# pxname,svname,scur,status,lastchg,check_status,last_chk,bck,slim,
writes,FRONTEND,1,OPEN,,,,,0,
reads,FRONTEND,1,OPEN,,,,,1000,
write,db1,2,UP,10,L7OK,,0,,
write,db2,0,DOWN,10,L4CON,Connection refused,0,,
write,BACKEND,2,UP,10,,,,0,
"""


def run(argument: dict[str, Any]) -> dict[str, Any]:
    command, source = shipped("collector", argument)
    done = subprocess.run(
        ["sh", "-c", command.replace("python3", sys.executable, 1)],
        input=source, capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_every_part_answers_or_says_why_not(tmp_path: Path) -> None:
    tls = {name: str(tmp_path / name) for name in ("ca", "cert", "key")}
    said = run({
        "etcd": {"url": "127.0.0.1:1", "tls": tls, "prefix": "/service/x/"},
        "haproxy": {"socket": str(tmp_path / "none.sock")},
        "marker": {"path": str(tmp_path / "marker.json")},
        "layout": {"path": str(tmp_path / "layout.json")},
        "certificates": {"directories": [str(tmp_path)]},
    })  # fmt: skip
    assert said["marker"] == said["layout"] == {"is": None}
    assert said["certificates"] == {"is": {}}
    assert "No such file" in said["etcd"]["problem"]
    assert "No such file" in said["haproxy"]["problem"]
    assert said["time"] > 0


def test_a_server_s_refusal_is_told_with_its_words(tmp_path: Path) -> None:
    with serving(tmp_path, (503, "x" * 300)) as server:
        said = run({"patroni": {"url": server.address, "tls": server.tls}})
    assert said["patroni"] == {"problem": f"/patroni says 503: {'x' * 200}"}


def test_what_etcd_says_of_the_cluster(tmp_path: Path) -> None:
    def kv(key: str, value: str, revision: int) -> dict[str, str]:
        key, value = (base64.b64encode(text.encode()).decode() for text in (key, value))
        return {"key": key, "value": value, "mod_revision": str(revision)}

    answers: list[dict[str, Any]] = [
        {"version": "3.6.9"},
        {"members": [{"name": "db1"}]},
        {"kvs": [kv("/service/shop/leader", "db1", 9)]},
        {"kvs": [kv("/pgquorum/shop/confirmed", '{"revision": 5}', 6)]},
        {"kvs": [kv("/service/shop/sync", "now", 8)]},
        {"kvs": [kv("/service/shop/sync", "before", 5)]},
    ]
    read = tmp_path / "etcd.conf"
    read.touch()
    spec = {"prefix": "/service/shop/", "ours": "/pgquorum/shop/", "reads": [str(read), str(tmp_path / "gone")]}
    shown = f"MainPID={os.getpid()}\nExecMainStartTimestamp=Mon 2026-11-30 12:00:00.000000 UTC"
    os.utime(read, (0, 0))
    with serving(tmp_path, *((200, json.dumps(answer)) for answer in answers), (504, "no quorum")) as server:
        (tmp_path / "systemctl").write_text(f"#!/bin/sh\necho '{shown}'\n")
        (tmp_path / "systemctl").chmod(0o700)
        with pytest.MonkeyPatch.context() as patched:
            patched.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
            said = run({"etcd": {"url": server.address, "tls": server.tls, **spec}})["etcd"]["is"]
    assert (said["status"], said["members"], said["quorum"]) == ({"version": "3.6.9"}, [{"name": "db1"}], False)
    assert said["keys"] == {"leader": "db1"} and said["outdated"] is False
    assert said["configurations"]["values"] == [["now", 8], ["before", 5]] and said["configurations"]["complete"]


def test_the_reason_why_postgresql_does_not_take_a_value_is_its_program_s(tmp_path: Path) -> None:
    """Its view has a reason for what it can't read, and of a value says only that it could not be applied."""
    program = tmp_path / "postgres"
    zone = 'invalid value for parameter "log_timezone": "Europe/Berln"'
    program.write_text(f"#!/bin/sh\necho '2026-11-30 12:00:00.000 GMT [77] LOG:  {zone}' >&2\nexit 1\n")
    program.chmod(0o755)
    refused = [
        {"name": "log_timezone", "value": "Europe/Berln", "file": "f", "error": "setting could not be applied"},
        {"name": None, "value": None, "file": "f", "error": "syntax error"},
    ]
    assert postgres.with_reasons(refused, (str(program),)) == [{**refused[0], "error": zone}, refused[1]]
    assert postgres.with_reasons(refused, (str(tmp_path / "none"),)) == refused


def test_haproxys_servers(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                assert connection.recv(100) == b"show info; show stat\n"
                connection.sendall(f"Name: HAProxy\nVersion: 3.2.5-1\nMemmax_MB: 0\n\n{STAT}".encode())

        thread = threading.Thread(target=serve)
        thread.start()
        said = haproxy.haproxy({"socket": str(path)})
        thread.join()
    assert [(row["svname"], row["status"], row["last_chk"]) for row in said["servers"]] == [
        ("db1", "UP", ""),
        ("db2", "DOWN", "Connection refused"),
    ]
    assert said["version"] == "3.2.5-1" and said["held"] == ["writes"]


def test_who_lets_clients_wait_is_told(tmp_path: Path) -> None:
    path = tmp_path / "hold"
    assert files.hold({"path": str(path)}) is None
    path.write_text("anna")
    assert files.hold({"path": str(path)}) == "anna"


def test_who_holds_the_lock_is_seen_without_taking_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert files.operator({"path": str(path)}) is None
    path.write_text("anna\n")
    assert files.operator({"path": str(path)}) is None
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert files.operator({"path": str(path)}) == "anna\n"


def test_of_a_file_with_a_key_only_the_certificate_is_told(tmp_path: Path) -> None:
    pem = "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----"
    (tmp_path / "haproxy.pem").write_text(f"-----BEGIN KEY-----\nsecret\n-----END KEY-----\n{pem}\n{pem}\n")
    (tmp_path / "server.key").write_text("secret")
    assert files.certificates({"directories": [str(tmp_path)]}) == {str(tmp_path / "haproxy.pem"): pem}


def test_a_file_that_was_edited_or_taken_away_is_named(tmp_path: Path) -> None:
    kept, edited, gone = (tmp_path / name for name in ("kept", "edited", "gone"))
    kept.write_text("as it was\n")
    edited.write_text("as it was\n")
    digest = hashlib.sha256(b"as it was\n").hexdigest()
    (tmp_path / "list").write_text("".join(f"{digest}  {path}\n" for path in (kept, edited, gone)))
    edited.write_text("by hand\n")
    assert files.edited({"path": str(tmp_path / "list")}) == [str(edited), str(gone)]


def test_what_was_kept_of_a_rewound_log_is_listed_by_age(tmp_path: Path) -> None:
    for name, commits in (("2026-02", 2), ("2026-01", 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "salvage.json").write_text(json.dumps({"commits": commits}))
    listed = files.salvage({"path": str(tmp_path)})
    assert listed == [{"path": str(tmp_path / name), "commits": n} for name, n in (("2026-01", 1), ("2026-02", 2))]
    assert files.salvage({"path": str(tmp_path / "none")}) == []


def test_what_a_failed_start_has_left_is_named(tmp_path: Path) -> None:
    (tmp_path / "shop.failed").mkdir()
    paths = [str(tmp_path / name) for name in ("shop.failed", "pg_wal.failed")]
    assert files.failed_starts({"paths": paths}) == paths[:1]


def test_what_a_restore_has_noted_where_it_holds_patroni_is_told(tmp_path: Path) -> None:
    note = tmp_path / "restoring.json"
    assert files.restoring({"path": str(note)}) is None
    note.write_text('{"to": "latest", "done": 7}')
    assert files.restoring({"path": str(note)}) == {"to": "latest", "done": 7}


def test_the_data_of_before_restores_is_found_and_nothing_else(tmp_path: Path) -> None:
    for name in ("shop", "shop.before-2", "shop.before-1", "shop.failed", "other.before-1"):
        (tmp_path / name).mkdir()
    (tmp_path / "shop.before-3").touch()
    found = files.old_data({"paths": [str(tmp_path / "shop"), str(tmp_path / "none/pg_wal")]})
    assert found == [str(tmp_path / "shop.before-1"), str(tmp_path / "shop.before-2")]


def test_a_program_that_takes_too_long_is_told_without_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "SECONDS", -0.9)
    monkeypatch.setitem(collector.PARTS, "units", lambda spec: asking.run("sleep", "9"))
    assert collector.collect({"units": {}})["units"] == {"problem": "no answer within 0.1 s"}


LOCKS: dict[str, Any] = {"at": 1.0, "used": 9, "capacity": 99}


def test_a_process_that_is_none_of_postgresqls_is_never_told(tmp_path: Path) -> None:
    note = tmp_path / "locks.json"
    holders = [{"pid": pid, "session": "app shop", "locks": 9, "since": 1.0} for pid in (os.getpid(), 1, 2**22 + 1, None)]
    note.write_text(json.dumps(LOCKS | {"holders": holders}))
    assert run({"locks": {"path": str(note)}})["locks"] == {"is": LOCKS | {"holders": holders[-1:]}}
    note.write_text(json.dumps(LOCKS | {"holders": [{"pid": "1; true"}]}))
    assert "invalid literal" in run({"locks": {"path": str(note)}})["locks"]["problem"]
    assert run({"locks": {"path": str(tmp_path / "none")}})["locks"] == {"is": None}


@pytest.mark.parametrize("kind", ["fifo", "link", "endless", "directory", "long"])
def test_what_a_services_user_has_put_there_holds_nothing_up(tmp_path: Path, kind: str) -> None:
    note = tmp_path / "salvage" / "one" / "salvage.json"
    note.parent.mkdir(parents=True)
    match kind:
        case "fifo":
            os.mkfifo(note)
        case "link":
            tmp_path.joinpath("victim").write_text("{}")
            note.symlink_to(tmp_path / "victim")
        case "endless":
            note.symlink_to("/dev/zero")
        case "directory":
            note.mkdir()
        case "long":
            note.write_text('["' + "x" * 10_000_000 + '"]')
    said = run({"salvage": {"path": str(tmp_path / "salvage")}, "locks": {"path": str(note)}})
    assert set(said["salvage"]) == set(said["locks"]) == {"problem"}


def test_the_room_on_a_disk_is_told_once_for_all_that_is_there(tmp_path: Path) -> None:
    (disk,) = run({"disks": {"paths": [str(tmp_path / "none"), str(tmp_path), str(tmp_path)]}})["disks"]["is"]
    assert disk["path"] == str(tmp_path)
    assert 0 < disk["free"] <= disk["size"]


def test_a_file_that_postgresql_s_user_can_not_read_is_one_of_the_settings_it_does_not_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runuser").write_text('#!/bin/sh\nshift 3; exec "$@"\n')
    (tmp_path / "runuser").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    there = {"name": "ssl_dh_params_file", "value": "runuser", "file": "/data/postgresql.conf", "path": str(tmp_path / "runuser")}
    gone = {**there, "value": "gone", "path": f"{tmp_path}/gone"}
    (said,) = postgres.unreadable([there, gone])
    assert said.pop("error") == f"there is no {tmp_path}/gone that PostgreSQL's user could read"
    assert said == {"name": "ssl_dh_params_file", "value": "gone", "file": "/data/postgresql.conf"}
