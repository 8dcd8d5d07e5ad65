"""A lab of the benchmarks' own, and commands run on it with their time."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import Lab, LabSpec

CHECKOUT = Path(__file__).resolve().parent.parent
# Another release of Debian than the lab's own with LAB_SUITE, as for the tests.
SPEC = LabSpec(name="bench", subnet="10.77.3.0/24", suite=os.environ.get("LAB_SUITE") or "forky")
INVENTORY = ".lab/bench/inventory.py"
SSH_CONFIG = ".lab/bench/ssh_config"
# What an SSLRequest is and how a PostgreSQL server answers it (protocol documentation, "SSL Session Encryption").
SSL_REQUEST = bytes.fromhex("0000000804d2162f")


@contextmanager
def blank_lab(spec: LabSpec = SPEC) -> Iterator[Lab]:
    """Blank hosts, four if `spec` says nothing else; gone again afterwards, with the secrets of their cluster."""
    lab = Lab(spec, CHECKOUT, lambda line: None)
    lab.up()
    lab.down()
    lab.up()
    try:
        yield lab
    finally:
        lab.down()
        shutil.rmtree(CHECKOUT / "secrets" / SPEC.name, ignore_errors=True)


def timed(*command: str) -> float:
    """Seconds a command took. Raises CalledProcessError, with its output shown, when it fails."""
    began = time.monotonic()
    done = subprocess.run(command, cwd=CHECKOUT, env=_environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    seconds = time.monotonic() - began
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        done.check_returncode()
    return seconds


def watched(*command: str, **environment: str) -> int:
    """The exit code of a command whose output is shown as it comes."""
    return subprocess.run(command, cwd=CHECKOUT, env=_environment() | environment).returncode


def _environment() -> dict[str, str]:
    """That of a user: whoever measures in a container may have Python compile everything anew each time."""
    own = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**own, "PATH": f"{Path(sys.executable).parent}:{own['PATH']}", "INVOKE_INVENTORY": INVENTORY}


def deploy() -> float:
    """Seconds of a deploy, from typing the command to its end, verification included."""
    return timed("pyinfra", INVENTORY, "deploy.py", "-y")


def until_writable(lab: Lab, deadline: float = 60) -> None:
    """Returns when a PostgreSQL server answers on the write port. Raises TimeoutError."""
    address = next(h.address for h in lab.spec.hosts if h.kind == "proxy")
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        try:
            with socket.create_connection((address, 5000), timeout=1) as connection:
                connection.sendall(SSL_REQUEST)
                if connection.recv(1) == b"S":
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise TimeoutError("no server answers on the write port")
