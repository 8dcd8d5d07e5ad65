"""Another port of pgBackRest's breaks off no backup and no drill: a deploy is refused while one goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.backup_port import command, problems


@pytest.fixture
def server() -> Iterator[int]:
    """A program that was started as pgBackRest's server is; its process id."""
    wait = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", wait, "--tls-server-port=8432", "server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as program:
        assert program.stdout is not None
        program.stdout.readline()
        yield program.pid
        assert program.stdin is not None
        program.stdin.close()


def asked(folder: Path, port: int, pid: int, running: str = "") -> list[str]:
    fake = folder / "systemctl"
    says = f'"show -P") echo {pid} ;; "is-active {running}") echo activating ;; *) echo inactive ;;'
    fake.write_text(f'#!/bin/sh\ncase "$1 $2" in {says} esac\n')
    fake.chmod(0o755)
    there = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-c", command(port)], env=there, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("unit", "what"),
    [("pgquorum-backup@full.service", "a backup is being made (full)"), ("pgquorum-backup-drill.service", "a drill goes on")],
)
def test_a_host_tells_of_its_server_and_of_what_goes_on(tmp_path: Path, server: int, unit: str, what: str) -> None:
    assert asked(tmp_path, 8432, server) == []
    assert asked(tmp_path, 8433, server) == ["restarts"]
    assert asked(tmp_path, 8432, server, unit) == [what]
    assert asked(tmp_path, 8433, server, unit) == ["restarts", what]
    assert asked(tmp_path, 8433, 0) == []  # it does not run


def test_only_both_together_are_in_the_way_and_on_whichever_hosts() -> None:
    making = "a backup is being made (full)"
    (said,) = problems(8433, {"db1": ["restarts"], "keep1": [making]})
    assert said.startswith("backup_port = 8433: ") and said.endswith(
        "keep1: a backup is being made (full): wait until it is done"
    )
    assert not list(problems(8433, {"db1": ["restarts"], "keep1": ["restarts"]}))
    assert not list(problems(8433, {"db1": [], "keep1": [making]}))
