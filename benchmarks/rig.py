"""A lab of the benchmarks' own, and commands run on it with their time."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
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


def add_settings(group: str, text: str) -> None:
    """Adds lines to the lab's own settings of a group."""
    with (CHECKOUT / Path(INVENTORY).parent / "group_data" / f"{group}.py").open("a", encoding="utf-8") as data:
        data.write(text)


def answered(*command: str) -> str:
    """What a command prints. Raises CalledProcessError, with its errors shown, when it fails."""
    done = subprocess.run(command, cwd=CHECKOUT, env=_environment(), text=True, capture_output=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        done.check_returncode()
    return done.stdout


def pgbench(lab: Lab, words: Sequence[str], switches: str) -> str:
    """What pgbench says that runs on the last database host, as the application, by the way of `invoke dsn WORDS`."""
    return as_application(lab, words, f"/usr/lib/postgresql/*/bin/pgbench {switches}")


def figure(said: str, what: str = "tps") -> float:
    """A figure of those that pgbench has said: `tps`, or `latency average`."""
    found = re.search(rf"^{what} = ([\d.]+)", said, re.MULTILINE)
    if not found:
        sys.exit(f"pgbench says no {what}, so there is nothing to say:\n{said}")
    return float(found[1])


def as_application(lab: Lab, words: Sequence[str], command: str) -> str:
    """What a client says that runs on the last database host, with the application's login, which it gets by standard input."""
    login = answered("invoke", "dsn", "--with-password", "--format", "env", *words)
    # TLS is not verified here: whose it is makes no difference to how long it takes.
    script = f"set -a\n{login}\nPGSSLMODE=require\nunset PGSSLROOTCERT PGCHANNELBINDING\nulimit -n 8192\n{command} 2>&1\n"
    host = [host.name for host in lab.spec.hosts if host.kind == "database"][-1]
    done = subprocess.run([*lab.ssh_command(host), "bash -s"], input=script, text=True, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"{command}: exit code {done.returncode}\n{done.stdout[-2000:]}")
    return done.stdout


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
