"""How long a deploy waits for Patroni: for a PostgreSQL that was started, the copy that it may need before, a password that was
changed."""

from __future__ import annotations

import base64
import http.server
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest
import yaml
from clusters import cluster

from operations import await_postgres, patroni
from operations.managed import render


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    # The clock has whole seconds: of one alone nothing would be left where it moves on between two looks.
    for name, seconds in (("START_SECONDS", 2), ("COPY_BEGINS_SECONDS", 4)):
        monkeypatch.setattr(await_postgres, name, seconds)


class Host:
    """A host by files: whether PostgreSQL is ready, whether Patroni makes a copy, and what there is of the data."""

    def __init__(self, folder: Path, restarts: str = "echo 0") -> None:
        self.ready, self.copied, self.data = folder / "ready", folder / "copied", folder / "data"
        self.data.mkdir()
        program = folder / "systemctl"
        program.write_text(f"#!/bin/sh\n{restarts}\n")
        program.chmod(0o755)
        self._environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}

    def wait(self, copied_for: int | None = None) -> tuple[int, str, float]:
        """The exit code, what it says, and how many seconds it took."""
        ready, copied = f"[ -e {self.ready} ]", f"[ -e {self.copied} ]"
        command = await_postgres.await_postgres("patroni.service", ready, copied, str(self.data), copied_for)
        begun = time.monotonic()
        done = subprocess.run(
            ["sh", "-c", f"( {command} )"], env=self._environment, capture_output=True, text=True, check=False, timeout=60
        )
        return done.returncode, done.stderr.strip(), time.monotonic() - begun


pytestmark = pytest.mark.usefixtures("quick")


def test_one_that_is_ready_is_not_waited_for(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.ready.touch()
    assert host.wait()[:2] == host.wait(30)[:2] == (0, "")


def test_one_that_does_not_start_ends_it_soon(tmp_path: Path) -> None:
    assert Host(tmp_path).wait()[:2] == (1, "PostgreSQL is not ready after 2 s")


def test_one_that_fails_again_and_again_ends_it_at_once(tmp_path: Path) -> None:
    count = tmp_path / "count"
    code, said, _ = Host(tmp_path, f"echo x >>{count}; wc -l <{count}").wait()
    assert (code, said) == (1, "patroni.service starts and fails again and again")


def test_a_copy_takes_as_long_as_it_takes(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.copied.touch()
    (host.data / "PG_VERSION").touch()
    threading.Timer(5.0, host.ready.touch).start()
    code, said, seconds = host.wait()
    assert (code, said) == (0, "") and seconds > 4


def test_but_not_for_ever_and_then_it_is_said_that_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(await_postgres, "COPY_SECONDS", 4)
    host = Host(tmp_path)
    host.copied.touch()
    (host.data / "PG_VERSION").touch()
    code, said, _ = host.wait()
    assert code == 1 and said.endswith("and goes on to be: deploy again")


def test_one_that_never_begins_is_none(tmp_path: Path) -> None:
    """As where the primary lets nobody in: each try leaves nothing."""
    host = Host(tmp_path)
    host.copied.touch()
    assert host.wait()[:2] == (1, "PostgreSQL is not ready after 4 s")


def test_what_was_written_meanwhile_is_replayed_for_as_long_as_that_takes(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.copied.touch()
    (host.data / "PG_VERSION").touch()
    threading.Timer(2.0, host.copied.unlink).start()
    threading.Timer(6.0, host.ready.touch).start()
    assert host.wait()[:2] == (0, "")


def test_a_copy_that_fails_again_and_again_ends_it(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.copied.touch()
    going = True

    def fails() -> None:
        while going:
            (host.data / "PG_VERSION").touch()
            time.sleep(0.7)
            (host.data / "PG_VERSION").unlink()
            time.sleep(0.7)

    copy = threading.Thread(target=fails)
    copy.start()
    try:
        assert host.wait()[:2] == (1, "its copy of the data fails again and again")
    finally:
        going = False
        copy.join()


def test_one_that_takes_long_is_to_be_told_of(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.copied.touch()
    (host.data / "PG_VERSION").touch()
    code, said, seconds = host.wait(1)
    assert (code, said) == (0, "") and seconds < 30


@pytest.mark.parametrize(("until", "code"), [(0, 0), (2, 0), (99, 1)])
def test_a_password_that_patroni_has_not_read_yet_is_tried_again(until: int, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patroni, "ROUND_SECONDS", 1)
    right = f"Basic {base64.b64encode(b'patroni:new-password').decode()}"
    asked: list[tuple[str, str, int]] = []

    class Patroni(http.server.BaseHTTPRequestHandler):
        def do_PATCH(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            status = 200 if self.headers["Authorization"] == right and len(asked) >= until else 401
            asked.append((self.path, body, status))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Patroni)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = patroni.sending(f"curl -sS --max-time 10 http://127.0.0.1:{server.server_port}/config", {"ttl": 30}, 2)
    done = subprocess.run(
        ["sh", "-c", command], input='user = "patroni:new-password"', capture_output=True, text=True, check=False, timeout=60
    )
    server.shutdown()
    assert done.returncode == code
    assert asked == [("/config", '{"ttl": 30}', 200 if n == until else 401) for n in range(min(until, 3) + 1)]
    assert ("401" in done.stderr and "another password of rest_api" in done.stderr) == bool(code)


@pytest.mark.parametrize("pooling", [False, True])
def test_patroni_asks_its_own_replica_without_a_password(pooling: bool) -> None:
    """Its user is let in for replication by the socket: while a password is being changed it could not know the timeline."""
    shop = cluster(pooling=pooling)
    text = render("patroni/patroni.yml.j2", cluster=shop, host=shop.host("db1"), prefix=32, rest_trusts="/ca.crt")
    written = yaml.safe_load(text)["postgresql"]
    assert [line for line in written["pg_hba"] if line.startswith("local")] == [
        "local all postgres peer",
        "local replication replicator peer map=replicator",
        "local all all scram-sha-256",
    ]
    pooler = ["pgquorum_pooler proxy1 pgquorum_pooler"] if pooling else []
    assert written["pg_ident"] == ["replicator postgres replicator", *pooler]
