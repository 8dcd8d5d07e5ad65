"""What a host is like, as one JSON document on stdout. Runs on the host, as root, and leaves nothing behind.

The argument is a JSON object: `address`; `directories` to measure (name to path); `connect`, a list of [host, port] to try;
`packages` by name. Made by health/preflight.py, which also judges the answer.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

CONNECT_SECONDS = 2.0
SYNCS = 100
SYNC_SECONDS = 1.0  # at most so long for each directory
SYNC_BYTES = 2300  # what etcd's own guide measures with


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}, check=False)
    return done.stdout


def existing(path: Path) -> Path:
    """The directory itself, or the nearest one above it that is there."""
    while not path.is_dir():
        path = path.parent
    return path


def sync_latency(path: Path) -> float:
    """The 99th percentile of writing a little and waiting until it is on disk, in seconds."""
    taken: list[float] = []
    with tempfile.NamedTemporaryFile(dir=existing(path), prefix=".pgquorum-preflight-") as file:
        end = time.monotonic() + SYNC_SECONDS
        while len(taken) < SYNCS and time.monotonic() < end:
            began = time.monotonic()
            file.write(b"x" * SYNC_BYTES)
            file.flush()
            os.fdatasync(file.fileno())
            taken.append(time.monotonic() - began)
    return sorted(taken)[int(len(taken) * 0.99)] if len(taken) > 1 else taken[0]


def directory(path: Path) -> dict[str, float]:
    free = os.statvfs(existing(path))
    return {"free": free.f_bavail * free.f_frsize, "sync_p99": sync_latency(path)}


def connect(target: tuple[str, int]) -> str:
    """Whether a TCP connection reaches `target`: connected, refused, or why it got lost on the way."""
    try:
        with socket.create_connection(target, timeout=CONNECT_SECONDS):
            return "connected"
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "no answer"
    except OSError as error:
        return error.strerror or str(error)


def packages(names: list[str]) -> dict[str, dict[str, str | None]]:
    """For each package what is installed or would be: `{"installed": version or None, "candidate": version or None}`."""
    found: dict[str, dict[str, str | None]] = {}
    name = ""
    for line in run("apt-cache", "policy", *names).splitlines():
        word, _, rest = line.strip().partition(": ")
        if line and not line[0].isspace():
            name = line.rstrip(":")
        elif name and word in ("Installed", "Candidate"):
            found.setdefault(name, {})[word.lower()] = None if rest == "(none)" else rest
    return found


def units() -> list[str]:
    """Services of others that could get in the way, and whether the clock is kept: what is active."""
    names = ("postgresql.service", "unattended-upgrades.service", "chrony.service", "ntpsec.service", "systemd-timesyncd.service")
    states = run("systemctl", "is-active", *names).split()
    return [name for name, state in zip(names, states, strict=False) if state == "active"]


def ssh_sessions() -> int | None:
    """How many sessions sshd lets one connection have, as it reads its configuration; None where it can't be asked."""
    return sessions_of(run("/usr/sbin/sshd", "-T"))


def sessions_of(said: str) -> int | None:
    """The same in the words of sshd, whose keys are in lower case in OpenSSH 10.0 and before, and as in its manual in 10.6."""
    lines = dict(line.lower().split(" ", 1) for line in said.splitlines() if " " in line)
    return int(lines["maxsessions"]) if "maxsessions" in lines else None


def main(argument: dict[str, Any]) -> dict[str, Any]:
    """The document."""
    with ThreadPoolExecutor(max(1, len(argument["connect"]))) as pool:
        reached = pool.map(connect, map(tuple, argument["connect"]))
        answer = {
            "directories": {name: directory(Path(path)) for name, path in argument["directories"].items()},
            "connect": list(reached),
        }
    addresses = run("ip", "-json", "address")
    local = [a["local"] for link in json.loads(addresses or "[]") for a in link["addr_info"]]
    return {
        **answer,
        "addresses": local,
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "packages": packages(argument["packages"]),
        "active": units(),
        "needrestart": Path("/etc/needrestart").is_dir() and bool(run("which", "needrestart")),
        "watchdog": Path("/dev/watchdog").exists(),
        "ssh_sessions": ssh_sessions() if Path("/usr/sbin/sshd").exists() else None,
        "clock": time.time(),
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
