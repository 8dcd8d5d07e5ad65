"""What tells Patroni that PostgreSQL has ended: which process it watches, and that it goes on whatever comes."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jinja2
import pytest
from https_servers import serving
from repository import ROOT

from agents import wake_patroni
from agents.postmaster import postmaster
from agents.specification import Specification


class Vault:
    """One of passwords that need to be quoted."""

    def password(self, name: str) -> str:
        return f'{name} "<&>\\ \u00e9'


def specification(api: str, tls: Path) -> Specification:
    return Specification("db1", "shop", (), {"db1": api, "db2": "10.0.0.2:8008"}, str(tls), "psql", "/run", 5432, "/data/pg_wal")


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


def test_the_end_of_the_postmaster_is_seen_at_once(data: Path, server: subprocess.Popen[bytes]) -> None:
    (data / "postmaster.pid").write_text(f"{server.pid}\n{data}\n1234567\n5432\n")
    pid, descriptor = postmaster(data)
    assert pid == server.pid
    assert select.select([descriptor], [], [], 0)[0] == []
    server.kill()
    assert select.select([descriptor], [], [], 20)[0] == [descriptor]
    os.close(descriptor)


def test_it_is_told_when_the_last_process_of_the_server_has_gone(
    data: Path, tmp_path: Path, server: subprocess.Popen[bytes]
) -> None:
    (tmp_path / "postgres").symlink_to("/bin/sleep")
    backend = subprocess.Popen([tmp_path / "postgres", "60"], cwd=data)
    try:
        assert not wake_patroni.gone(server.pid, data)
        server.kill()
        os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
        assert not wake_patroni.gone(server.pid, data)  # ended, but in the process table
        server.wait()
        assert not wake_patroni.gone(server.pid, data)
    finally:
        backend.kill()
        backend.wait()
    assert wake_patroni.gone(server.pid, data)


@pytest.mark.parametrize("text", [None, "", "\n", "rubbish\n", "-17\n", f"{2**22 + 5}\n", "{me}\n/data\n"])
def test_what_a_crash_has_left_is_not_taken_for_a_postmaster(data: Path, text: str | None) -> None:
    if text is not None:
        (data / "postmaster.pid").write_text(text.format(me=os.getpid()))
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert postmaster(data) is None
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("text", ["restapi: {authentication: {password: 'geheim}", "restapi: geheim", "geheim", "", "[geheim"])
def test_a_broken_file_of_secrets_is_named_and_not_quoted(tmp_path: Path, text: str) -> None:
    secrets = tmp_path / "secrets.yml"
    secrets.write_text(text)
    with pytest.raises(OSError, match=r"secrets\.yml does not hold the REST API's login") as error:
        wake_patroni.login(secrets)
    assert "geheim" not in str(error.value)
    assert error.value.__cause__ is None and error.value.__suppress_context__


def test_a_patroni_that_can_t_be_told_is_no_reason_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = tmp_path / "secrets.yml"
    secrets.write_text('restapi:\n  authentication:\n    username: patroni\n    password: "word"\n')
    monkeypatch.setattr(wake_patroni, "PAUSE_SECONDS", 0)
    wake_patroni.tell(specification("127.0.0.1:1", tmp_path), secrets)
    said = capsys.readouterr().out
    assert said.startswith("PostgreSQL has ended, and Patroni can't be told: ")
    assert "word" not in said


def test_patroni_is_told_with_the_login_that_the_deploy_has_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    templates = jinja2.Environment(loader=jinja2.FileSystemLoader(ROOT / "templates"))
    secrets = tmp_path / "secrets.yml"
    secrets.write_text(templates.get_template("patroni/secrets.yml.j2").render(vault=Vault()))
    with serving(tmp_path, (200, "{}")) as server:
        wake_patroni.tell(specification(server.address, tmp_path), secrets)
    [(method, path, body, login)] = server.asked
    assert (method, path, json.loads(body)) == ("PATCH", "/config", wake_patroni.NOTHING)
    assert login and base64.b64decode(login.removeprefix("Basic ")).decode() == f"patroni:{Vault().password('rest_api')}"
    assert capsys.readouterr().out == "PostgreSQL has ended, Patroni is told\n"


def test_a_patroni_that_refuses_is_quoted_by_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    secrets = tmp_path / "secrets.yml"
    secrets.write_text('restapi:\n  authentication:\n    username: patroni\n    password: "word"\n')
    monkeypatch.setattr(wake_patroni, "PAUSE_SECONDS", 0)
    with serving(tmp_path, *[(503, "not now")] * wake_patroni.TRIES) as server:
        wake_patroni.tell(specification(server.address, tmp_path), secrets)
    assert capsys.readouterr().out == "PostgreSQL has ended, and Patroni can't be told: it says 503\n"
