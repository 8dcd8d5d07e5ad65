"""How the last phase of a deploy asks whether a client's write is acknowledged: its shell script, with a stand-in for psql."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from clusters import cluster

from health.deployed import client
from operations import verify

# Where Debian has the coreutils that are Ubuntu's since 25.10; first in the path, where they are.
RUST = "/usr/lib/cargo/bin/coreutils"
WAITS = """#!/usr/bin/python3 -IS
import signal, time
try:
    time.sleep(20)
except KeyboardInterrupt:
    open("cancelled", "w").close()
"""
ANSWERS = "#!/bin/sh\necho 1\n"


REFUSES = "#!/bin/sh\ncase $* in *port={}*) echo {} refuses >&2; exit 2;; esac; echo 1\n"


def said(folder: Path, psql: str, *, pooling: bool = False) -> tuple[str, str]:
    """The script's output and its errors."""
    (folder / "psql").write_text(psql)
    (folder / "psql").chmod(0o755)
    script = verify.probe_script(cluster(pooling=pooling), "proxy1", "none")
    path = f"{folder}:{RUST}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-s"], input=script, cwd=folder, env={"PATH": path}, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout.strip(), done.stderr.strip()


def test_a_write_that_waits_is_cancelled_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed, it would go on waiting in the server."""
    monkeypatch.setattr(verify, "PROBE_SECONDS", 4)
    assert said(tmp_path, WAITS) == (verify.WRITE_FAILS, "a write is not acknowledged within 4 s")
    assert (tmp_path / "cancelled").exists()


def test_one_that_is_acknowledged_passes(tmp_path: Path) -> None:
    assert said(tmp_path, ANSWERS) == (verify.PASSED, "")


@pytest.mark.parametrize(
    ("port", "rule"),
    [
        (5000, "client.write-fails"),
        (5001, "client.read-fails"),
        (6432, "client.pooled-write-fails"),
        (6433, "client.pooled-read-fails"),
    ],
)
def test_a_port_that_refuses_is_named_by_its_rule(tmp_path: Path, port: int, rule: str) -> None:
    out, err = said(tmp_path, REFUSES.format(port, port), pooling=True)
    found = client("proxy1", out, err)
    assert (found.rule, found.text) == (rule, f"a client that goes through it is told: {port} refuses")


def test_pools_are_asked_where_there_are_some(tmp_path: Path) -> None:
    assert said(tmp_path, REFUSES.format(6432, 6432)) == (verify.PASSED, "")
    assert said(tmp_path, ANSWERS, pooling=True) == (verify.PASSED, "")
