"""Tells Patroni at once when PostgreSQL on this host has ended. Written by the deploy.

Patroni looks after its PostgreSQL once in `loop_wait` seconds, and so long a primary that has crashed keeps the leader key.
This watches the postmaster. When that has ended, however it did, it sends Patroni's REST API a change of the configuration
that changes nothing, on which Patroni does its next round right away (patroni/api.py, do_PATCH_config). What is to be done
Patroni decides as ever: without this program it would only do so later.

Arguments: PostgreSQL's data directory, host:port of the REST API, the directory of its certificates, the file with its password.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import select
import ssl
import sys
import time
from pathlib import Path

import yaml

PAUSE_SECONDS = 0.5
TRIES, TIMEOUT_SECONDS = 3, 2
# Taking out a key that is not there.
NOTHING = {"pgquorum_wake": None}


def postmaster(data: Path) -> int | None:
    """A descriptor of the process that runs on a data directory, readable when that has ended; None while there is none."""
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        descriptor = os.pidfd_open(pid)
    except (OSError, ValueError, IndexError):
        return None
    try:
        # The file may have been left by a crash, and its number belong to some other process by now.
        if Path(f"/proc/{pid}/cwd").readlink() == data.resolve():
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def wake(api: str, tls: Path, secrets: Path) -> None:
    """Makes Patroni do a round now. Raises OSError or HTTPException when it can't be told, as when it is dead, too."""
    login = yaml.safe_load(secrets.read_text())["restapi"]["authentication"]
    token = base64.b64encode(f"{login['username']}:{login['password']}".encode()).decode()
    context = ssl.create_default_context(cafile=tls / "ca.crt")
    context.load_cert_chain(tls / "server.crt", tls / "server.key")
    connection = http.client.HTTPSConnection(api, timeout=TIMEOUT_SECONDS, context=context)
    try:
        connection.request("PATCH", "/config", json.dumps(NOTHING), {"Authorization": f"Basic {token}"})
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != http.client.OK:
        raise OSError(f"it says {status}")


def tell(api: str, tls: Path, secrets: Path) -> None:
    """Wakes Patroni, or says why not."""
    for left in reversed(range(TRIES)):
        try:
            wake(api, tls, secrets)
            print("PostgreSQL has ended, Patroni is told", flush=True)
            return
        except (OSError, http.client.HTTPException) as error:
            if not left:
                print(f"PostgreSQL has ended, and Patroni can't be told: {error}", flush=True)
        time.sleep(PAUSE_SECONDS)


def main(data: Path, api: str, tls: Path, secrets: Path) -> None:
    """Watches one postmaster after the other, for ever."""
    while True:
        watched = postmaster(data)
        if watched is not None:
            select.select([watched], [], [])
            os.close(watched)
            tell(api, tls, secrets)
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
