"""The lock that holds as long as a channel is open, tried with the real bash and flock."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import paramiko
import pytest
from pyinfra.api.state import StateStage

from cluster import lock, paths
from day2.hosts import operator_lock
from operations import connections, ending, refusal


@pytest.fixture(autouse=True)
def lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "LOCK", str(tmp_path / "the lock"))
    return tmp_path / "the lock"


class Holder:
    """A run of the holder command; `answer` is the first line it printed."""

    def __init__(self, owner: str) -> None:
        self.process = subprocess.Popen(
            shlex.split(lock.holder_command(owner)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # tests may be run under nohup
        )  # fmt: skip
        assert self.process.stdout
        self.answer = self.process.stdout.readline().strip()

    def close(self) -> int:
        self.process.communicate(timeout=10)
        return self.process.returncode


@pytest.fixture
def first() -> Iterator[Holder]:
    holder = Holder(lock.owner("deploy"))
    yield holder
    holder.process.kill()
    holder.process.wait()


def test_the_first_has_it_and_the_second_is_told_who(first: Holder) -> None:
    second = Holder(lock.owner("switchover"))
    assert first.answer == lock.HELD
    assert json.loads(second.answer)["doing"] == "deploy"
    assert second.process.wait(10) != 0
    assert first.process.poll() is None


def test_a_heartbeat_does_not_end_it(first: Holder) -> None:
    assert first.process.stdin
    first.process.stdin.write("\n\n")
    first.process.stdin.flush()
    assert Holder("x").answer != lock.HELD


def test_closing_the_channel_releases_it(first: Holder) -> None:
    assert first.close() == 0
    again = Holder("x")
    assert again.answer == lock.HELD
    again.close()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_holder_that_dies_releases_it(first: Holder, end: signal.Signals) -> None:
    first.process.send_signal(end)
    first.process.wait(10)
    again = Holder("x")
    assert again.answer == lock.HELD
    again.close()


def test_silence_releases_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator's machine is gone without a word: the channel stays open and nothing comes."""
    monkeypatch.setattr(lock, "SILENCE_SECONDS", 1)
    silent = Holder("x")
    assert silent.answer == lock.HELD
    assert silent.process.wait(10) == 0
    again = Holder("y")
    assert again.answer == lock.HELD
    again.close()


def test_the_heart_beats_well_within_the_silence() -> None:
    assert 3 * lock.HEARTBEAT_SECONDS <= lock.SILENCE_SECONDS


@pytest.mark.parametrize("owner", ["it's", '"; touch pwned; "', "$(touch pwned)", "`touch pwned`"])
def test_an_owner_with_odd_characters_is_only_text(owner: str, lock_file: Path, tmp_path: Path) -> None:
    holder = Holder(owner)
    assert holder.answer == lock.HELD
    assert lock_file.read_text() == owner + "\n"
    holder.close()
    assert not (tmp_path / "pwned").exists()
    assert not Path("pwned").exists()


def test_what_the_second_is_told() -> None:
    owner = json.loads(lock.owner("deploy"))
    said = lock.refusal("db1", json.dumps(owner))
    for word in (owner["who"], owner["directory"], owner["since"], "deploy", "Seen on db1"):
        assert word in said


@pytest.mark.parametrize("answer", ["", "garbage", "[]", "{}"])
def test_an_answer_that_names_nobody_still_refuses(answer: str) -> None:
    assert f"the lock {paths.LOCK} on db1 could not be taken" in lock.refusal("db1", answer)


@pytest.mark.parametrize("lost", [OSError, EOFError, paramiko.SSHException])
def test_a_holder_whose_connection_is_lost_is_replaced(lost: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        closed = False

        def sendall(self, line: bytes) -> None:
            raise lost

    taken, released = [], threading.Event()

    def take(fleet: object, host: str, line: str) -> Broken:
        taken.append(host)
        if len(taken) == 2:
            released.set()
        return Broken()

    monkeypatch.setattr("cluster.lock.HEARTBEAT_SECONDS", 0.01)
    monkeypatch.setattr("day2.hosts.operator_lock._take", take)
    operator_lock._heartbeats(None, {"db1": Broken()}, "line", released)  # type: ignore[arg-type, dict-item]
    assert taken == ["db1", "db1"]


def test_a_deploy_that_comes_second_ends_with_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has stopped half way, and nothing is to be mended."""
    owner = lock.owner("deploy")
    hosts = [SimpleNamespace(name=f"db{n}") for n in (1, 2, 3)]
    state: Any = SimpleNamespace(current_stage=StateStage.Execute)
    monkeypatch.setattr(refusal, "_locked_out", {})
    for one in hosts:
        monkeypatch.setattr(refusal, "host", one)
        assert [str(command) for command in refusal.lock_out(owner)] == ["false"]
    (line,) = str(ending.reason(state, hosts)).splitlines()
    assert "is changing this cluster (deploy, since" in line and line.endswith("Seen on db1, db2, db3")
    refusal._locked_out["db2"] = ""  # which was asked before its holder had said who it is
    assert len(str(ending.reason(state, hosts)).splitlines()) == 2


def test_a_deploy_that_loses_a_connection_ends_with_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not with what stands further up, where other hosts had something to say, too."""
    gone, there = (
        SimpleNamespace(name=name, op_hash_order=[], connector=SimpleNamespace(client=SimpleNamespace(get_transport=transport)))
        for name, transport in (
            ("db1", lambda: SimpleNamespace(is_active=lambda: False)), ("db2", lambda: SimpleNamespace(is_active=lambda: True)),
        )
    )  # fmt: skip
    state: Any = SimpleNamespace(current_stage=StateStage.Execute)
    monkeypatch.setattr(refusal, "_locked_out", {})
    monkeypatch.setattr(connections, "_lost", set())
    for one in (gone, there):
        connections.LostConnections.operation_host_error(state, one, "")
    assert str(ending.reason(state, [gone])).splitlines() == [
        "the deploy stopped; when it is mended, the same command goes on from there:",
        "  - db1: the connection was lost: once the host can be reached, the same command goes on",
    ]
    assert str(ending.reason(state, [there])).endswith("  - db2: what it said stands above")


JOURNAL = """\
2026-12-01T04:24:38+00:00 db1 patroni[79]: what it wrote before it was stopped
2026-12-01T04:24:38+00:00 db1 systemd[1]: Stopped patroni.service - Patroni and PostgreSQL.
2026-12-01T04:24:57+00:00 db1 systemd[1]: Starting patroni.service - Patroni and PostgreSQL...
2026-12-01T04:24:57+00:00 db1 sh[5695]: out of luck
2026-12-01T04:24:57+00:00 db1 systemd[1]: patroni.service: Control process exited, code=exited, status=1/FAILURE
2026-12-01T04:24:57+00:00 db1 systemd[1]: patroni.service: Failed with result 'exit-code'.
2026-12-01T04:24:57+00:00 db1 systemd[1]: Failed to start patroni.service - Patroni and PostgreSQL.""".splitlines()


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        pytest.param(JOURNAL, JOURNAL[3:4], id="a program that said why"),
        pytest.param(JOURNAL[:3] + JOURNAL[4:], JOURNAL[-3:], id="one that said nothing"),
        pytest.param(["a", "b", "c", "d"], ["b", "c", "d"], id="no journal"),
        pytest.param([], [], id="nothing"),
    ],
)
def test_a_program_that_does_not_start_is_told_by_its_own_words(lines: list[str], told: list[str]) -> None:
    assert ending.last_words(lines) == told
