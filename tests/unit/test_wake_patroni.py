"""What tells Patroni that PostgreSQL has ended: which process it watches, and that it goes on whatever comes."""

from __future__ import annotations

import importlib.util
import os
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from repository import ROOT


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wake_patroni", ROOT / "files/patroni/wake-patroni.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    return tmp_path / "link"


@pytest.fixture
def server(data: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has the data directory as its own, as a postmaster has."""
    process = subprocess.Popen(["sleep", "60"], cwd=data)
    yield process
    process.kill()
    process.wait()


def test_the_end_of_the_postmaster_is_seen_at_once(program: ModuleType, data: Path, server: subprocess.Popen[bytes]) -> None:
    (data / "postmaster.pid").write_text(f"{server.pid}\n{data}\n1234567\n5432\n")
    pid, descriptor = program.postmaster(data)
    assert pid == server.pid
    assert select.select([descriptor], [], [], 0)[0] == []
    server.kill()
    assert select.select([descriptor], [], [], 20)[0] == [descriptor]
    os.close(descriptor)


def test_it_is_told_when_the_last_process_of_the_server_has_gone(
    program: ModuleType, data: Path, tmp_path: Path, server: subprocess.Popen[bytes]
) -> None:
    (tmp_path / "postgres").symlink_to("/bin/sleep")
    backend = subprocess.Popen([tmp_path / "postgres", "60"], cwd=data)
    try:
        assert not program.gone(server.pid, data)
        server.kill()
        os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
        assert not program.gone(server.pid, data)  # ended, but in the process table
        server.wait()
        assert not program.gone(server.pid, data)
    finally:
        backend.kill()
        backend.wait()
    assert program.gone(server.pid, data)


@pytest.mark.parametrize("text", [None, "", "\n", "rubbish\n", "-17\n", f"{2**22 + 5}\n", "{me}\n/data\n"])
def test_what_a_crash_has_left_is_not_taken_for_a_postmaster(program: ModuleType, data: Path, text: str | None) -> None:
    if text is not None:
        (data / "postmaster.pid").write_text(text.format(me=os.getpid()))
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert program.postmaster(data) is None
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("text", ["restapi: {authentication: {password: 'geheim}", "restapi: geheim", "geheim", "", "[geheim"])
def test_a_broken_file_of_secrets_is_named_and_not_quoted(program: ModuleType, tmp_path: Path, text: str) -> None:
    secrets = tmp_path / "secrets.yml"
    secrets.write_text(text)
    with pytest.raises(OSError, match=r"secrets\.yml does not hold the REST API's login") as error:
        program.login(secrets)
    assert "geheim" not in str(error.value)
    assert error.value.__cause__ is None and error.value.__suppress_context__


def test_a_patroni_that_can_t_be_told_is_no_reason_to_end(
    program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = tmp_path / "secrets.yml"
    secrets.write_text("restapi:\n  authentication:\n    username: patroni\n    password: word\n")
    monkeypatch.setattr(program, "PAUSE_SECONDS", 0)
    program.tell("127.0.0.1:1", tmp_path, secrets)
    said = capsys.readouterr().out
    assert said.startswith("PostgreSQL has ended, and Patroni can't be told: ")
    assert "word" not in said
