"""Patroni's question at the promotion gate: who answers it, and what happens where nobody does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from repository import ROOT

from agents import ask_gate, gate_server
from agents.specification import Specification

ASK = ROOT / "agents" / "ask_gate.py"
SPECIFICATION = Specification("db1", "shop", (), {}, "/tls", "/psql", "/sockets", 5432, "/wal")


@pytest.mark.parametrize(("code", "why"), [(0, "db1 may be promoted: it holds every acknowledged write"), (1, "must not \u2013")])
def test_the_verdict_of_the_service_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int, why: str
) -> None:
    monkeypatch.setattr("agents.promotion_gate.judge", lambda specification: (code, why))
    path = tmp_path / "gate"
    gate_server.start(SPECIFICATION, path)
    monkeypatch.setattr(ask_gate, "SOCKET", str(path))
    for _ in range(2):
        assert ask_gate.main("/etc/pgquorum/agents.json") == code
        assert capsys.readouterr().err == why + "\n"


def test_a_service_that_was_killed_leaves_a_socket_that_the_next_one_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents.promotion_gate.judge", lambda specification: (0, "may"))
    path = tmp_path / "gate"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    assert ask_gate.answer(str(path)) == b""
    gate_server.start(SPECIFICATION, path)
    assert ask_gate.answer(str(path)) == b"0 may\n"


def test_a_question_that_goes_wrong_is_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    verdicts = iter([AssertionError("never"), (0, "may")])

    def judge(specification: Specification) -> tuple[int, str]:
        verdict = next(verdicts)
        if isinstance(verdict, Exception):
            raise verdict
        return verdict

    monkeypatch.setattr("agents.promotion_gate.judge", judge)
    gate_server.start(SPECIFICATION, tmp_path / "gate")
    assert ask_gate.answer(str(tmp_path / "gate")) == b""
    assert ask_gate.answer(str(tmp_path / "gate")) == b"0 may\n"


@pytest.mark.parametrize("said", [b"", b"0 cut sho", b"nonsense\n"])
def test_where_nobody_answers_well_it_is_judged_on_the_spot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    path = tmp_path / "gate"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()

    def serve() -> None:
        connection, _ = listening.accept()
        connection.sendall(said)
        connection.close()

    threading.Thread(target=serve, daemon=True).start()
    started: list[list[str]] = []

    def execv(program: str, command: list[str]) -> None:
        started.append(command)
        raise SystemExit(1)

    monkeypatch.setattr(ask_gate, "SOCKET", str(path))
    monkeypatch.setattr(os, "execv", execv)
    with pytest.raises(SystemExit):
        ask_gate.main("/etc/pgquorum/agents.json")
    assert started == [[sys.executable, "-I", "-S", str(ROOT), "promotion-gate", "/etc/pgquorum/agents.json"]]


def test_without_the_service_the_gate_itself_is_started(tmp_path: Path) -> None:
    """As Patroni starts it, with a specification that says too little: nobody is let through."""
    folder = tmp_path / "agents"
    folder.mkdir()
    (folder / "ask_gate.py").write_text(ASK.read_text())
    (tmp_path / "__main__.py").write_text("import sys; print(sys.argv[1:]); sys.exit(1)")
    done = subprocess.run(
        [sys.executable, "-I", "-S", folder / "ask_gate.py", "about"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "['promotion-gate', 'about']\n")
