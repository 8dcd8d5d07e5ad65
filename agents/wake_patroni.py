"""Tells Patroni at once when PostgreSQL on this host has ended.

Patroni looks after its PostgreSQL once in `loop_wait` seconds, and so long a primary that has crashed keeps the leader key.
This watches the postmaster. When that has ended, however it did, it sends Patroni's REST API a change of the configuration
that changes nothing, on which Patroni does its next round right away (patroni/api.py, do_PATCH_config). What is to be done
Patroni decides as ever: without this program it would only do so later.

Patroni is told when the last of the server's processes has gone, which takes them some tenths of a second. In a round before
that, Patroni may find its own session alive and those of the replicas gone, write to etcd that no replica confirms any write,
and so leave nobody who may take over; or find the dead postmaster still in the process table, and look again a round later.

Its argument is the file with the REST API's password.
"""

from __future__ import annotations

import base64
import json
import os
import re
import select
import time
from contextlib import suppress
from pathlib import Path

from agents import https
from agents.postmaster import postmaster
from agents.specification import Specification

PAUSE_SECONDS = 0.5
TRIES, TIMEOUT_SECONDS = 3, 2
GONE_SECONDS, LOOK_SECONDS = 2, 0.02
# Taking out a key that is not there.
NOTHING = {"pgquorum_wake": None}
# The part of the file that is wanted, as templates/patroni/secrets.yml.j2 writes it: there is no YAML in the standard library.
LOGIN = re.compile(r'^restapi:\n  authentication:\n    username: (\w+)\n    password: (".*")$', re.MULTILINE)


def gone(pid: int, data: Path) -> bool:
    """Whether the process is out of the process table, and no process of a server works in the data directory any more."""
    if Path(f"/proc/{pid}").exists():
        return False
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == data.resolve() and (process / "comm").read_text() == "postgres\n":
                return False
        except OSError:  # another user's, or it has just ended
            continue
    return True


def login(secrets: Path) -> str:
    """User and password of the REST API, as HTTP wants them. Raises OSError where they can't be had, and never quotes the file:
    a parser's own message would bring the line it stumbled over, which may be a password, into the journal."""
    with suppress(ValueError):
        if found := LOGIN.search(secrets.read_text(encoding="utf-8")):
            return base64.b64encode(f"{found[1]}:{json.loads(found[2])}".encode()).decode()
    raise OSError(f"{secrets} does not hold the REST API's login") from None


def wake(specification: Specification, secrets: Path) -> None:
    """Makes Patroni do a round now. Raises OSError or ValueError when it can't be told, as when it is dead, too."""
    api, tls = specification.patroni[specification.name], specification.patroni_tls()
    headers = {"Authorization": f"Basic {login(secrets)}"}
    try:
        with https.request(api, "/config", NOTHING, tls, TIMEOUT_SECONDS, method="PATCH", headers=headers):
            pass
    except https.StatusError as error:
        raise OSError(f"it says {error.status}") from None


def tell(specification: Specification, secrets: Path) -> None:
    """Wakes Patroni, or says why not."""
    for left in reversed(range(TRIES)):
        try:
            wake(specification, secrets)
            print("PostgreSQL has ended, Patroni is told", flush=True)
            return
        except (OSError, ValueError) as error:
            if not left:
                print(f"PostgreSQL has ended, and Patroni can't be told: {error}", flush=True)
        time.sleep(PAUSE_SECONDS)


def main(specification: Specification, secrets: Path) -> int:
    """Watches one postmaster after the other, for ever."""
    data = Path(specification.wal).parent
    while True:
        watched = postmaster(data)
        if watched is not None:
            pid, descriptor = watched
            select.select([descriptor], [], [])
            os.close(descriptor)
            # Whoever takes longer has hung, or is a new server: Patroni is told of what has ended all the same.
            until = time.monotonic() + GONE_SECONDS
            while not gone(pid, data) and time.monotonic() < until:
                time.sleep(LOOK_SECONDS)
            tell(specification, secrets)
        time.sleep(PAUSE_SECONDS)
