"""A replica whose replay is kept still: where it is stopped, what lets it go on, and that it does."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import held_replay
from agents.contents import ContentsError
from agents.held_replay import Replica
from agents.specification import Specification

PID_FILE = "{}\n/data\n0\n5432\n/run\n\n0\n{}   \n"


@pytest.fixture
def replica(tmp_path: Path) -> Replica:
    wal = str(tmp_path / "pg_wal")
    return Replica(Specification("db2", "shop", (), {}, "/tls", "/bin/false", "/run", 5432, wal))


@pytest.fixture
def postmaster(replica: Replica) -> Iterator[subprocess.Popen[str]]:
    """A process with two children, which are called as PostgreSQL calls its own; it prints the id of the first."""
    script = (
        "bash -c 'exec -a \"postgres: shop: startup recovering 0001\" sleep 600' & echo $!;"
        " bash -c 'exec -a \"postgres: shop: walreceiver streaming 0/1\" sleep 600' & wait"
    )
    process = subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, text=True)
    (replica.data / "postmaster.pid").write_text(PID_FILE.format(process.pid, "standby"))
    deadline = time.monotonic() + 60
    while len([1 for _, words in replica.children(process.pid) if b"postgres" in words]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield process
    for pid, _ in list(replica.children(process.pid)):
        subprocess.run(["kill", "-KILL", str(pid)], check=False)
    process.kill()
    process.communicate()


def startup(replica: Replica, postmaster: subprocess.Popen[str]) -> int:
    return next(pid for pid, words in replica.children(postmaster.pid) if b"startup" in words)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def becomes(pid: int, stopped: bool) -> bool:
    deadline = time.monotonic() + 60
    while (state_of(pid) == "T") != stopped:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


class Says:
    """What PostgreSQL says of its replay, one after the other."""

    def __init__(self, pid: int, *states: str) -> None:
        self.pid, self.states, self.asked = pid, list(states), list[str]()

    def ask(self, statement: str) -> str:
        self.asked.append(statement)
        return str(self.pid)

    def state(self) -> tuple[str, str]:
        return self.states.pop(0), "0/9000108"


def told(replica: Replica, says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica, "ask", says.ask)
    monkeypatch.setattr(replica, "state", says.state)


def test_it_is_stopped_while_it_is_paused_and_the_pause_taken_back(
    replica: Replica, postmaster: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = startup(replica, postmaster)
    says = Says(pid, "pause requested", "paused", "paused")
    told(replica, says, monkeypatch)
    assert replica.hold() == "0/9000108"
    assert becomes(pid, stopped=True) and says.asked[-1] == held_replay.RESUME
    replica.go_on()
    assert becomes(pid, stopped=False)


def test_where_patroni_was_quicker_it_is_let_go_on_and_tried_again(
    replica: Replica, postmaster: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = startup(replica, postmaster)
    told(replica, Says(pid, *["paused", "not paused"] * held_replay.TRIES), monkeypatch)
    with pytest.raises(ContentsError, match="could not be paused"):
        replica.hold()
    assert becomes(pid, stopped=False)


def test_a_replica_that_streams_is_not_needed_and_whatever_else_it_is_it_is(
    replica: Replica, postmaster: subprocess.Popen[str]
) -> None:
    file = replica.data / "postmaster.pid"
    assert replica.needed() == ""
    (replica.data / "promote").touch()
    assert replica.needed() == "it is to be promoted"
    (replica.data / "promote").unlink()
    file.write_text(PID_FILE.format(postmaster.pid, "stopping"))
    assert replica.needed() == "it is being stopped"
    file.write_text(PID_FILE.format(startup(replica, postmaster), "standby"))  # who has no children
    assert replica.needed() == "it has lost its primary"
    file.unlink()
    assert replica.needed() == "it was stopped"
    replica.go_on()  # nobody is there to be let


def test_the_last_command_of_the_unit_lets_it_go_on_without_asking_postgresql(
    replica: Replica, postmaster: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = startup(replica, postmaster)
    subprocess.run(["kill", f"-{signal.SIGSTOP.value}", str(pid)], check=True)
    assert becomes(pid, stopped=True)
    of = Specification("db2", "shop", (), {}, "/tls", "/bin/false", "/run", 5432, f"{replica.data}/pg_wal")
    assert held_replay.main(of, []) == 0
    assert becomes(pid, stopped=False)


def test_one_that_is_paused_by_somebody_else_is_left_alone(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    says = Says(1, "paused")
    told(replica, says, monkeypatch)
    with pytest.raises(ContentsError, match="is paused already"):
        held_replay.held(replica, "0/1", 10.0)
    assert says.asked == []
