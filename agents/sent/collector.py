"""Everything one host can say about the cluster, as one JSON document on stdout. Runs on the host, as root.

The argument is a JSON object (made by health/questions.py). All parts (agents/parts) are asked for at the same time, each for as
long as it may take; one that fails is `{"problem": "why"}`, and never keeps the others from being told.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

from agents.parts.etcd import etcd
from agents.parts.files import (
    certificates,
    edited,
    failed_starts,
    hold,
    last_deploy,
    layout,
    marker,
    old_data,
    operator,
    restoring,
    salvage,
)
from agents.parts.haproxy import haproxy
from agents.parts.keepalived import keepalived
from agents.parts.libraries import libraries
from agents.parts.machine import disks, firewall, packages, units, watchdog
from agents.parts.patroni import patroni
from agents.parts.pgbackrest import drilled, pgbackrest
from agents.parts.pgbouncer import pgbouncer
from agents.parts.postgres import locks, postgres

MOST_SECONDS = 5.0  # for all parts together, some of which ask several times
OF_SERVERS = (etcd, patroni, postgres, haproxy, pgbouncer, keepalived, pgbackrest)
OF_MACHINES = (units, packages, libraries, watchdog, firewall)
OF_FILES = (
    certificates, disks, marker, layout, last_deploy, edited, salvage, failed_starts, old_data, restoring, locks, operator, hold,
    drilled,
)  # fmt: skip
PARTS: dict[str, Any] = {f.__name__: f for f in (*OF_SERVERS, *OF_MACHINES, *OF_FILES)}


def collect(argument: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The document: for each part asked for, what its function returned or why it failed."""

    told: dict[str, Any] = {}

    def ask(part: str) -> None:
        try:
            told[part] = {"is": PARTS[part](argument[part])}
        except subprocess.TimeoutExpired as error:  # its own words are the whole command
            told[part] = {"problem": f"no answer within {error.timeout:g} s"}
        except Exception as error:  # whatever it is, the other parts must still be told
            told[part] = {"problem": getattr(error, "strerror", None) or str(error) or type(error).__name__}

    # Not concurrent.futures: to import that would be a third of all that this takes.
    threads = {part: threading.Thread(target=ask, args=(part,), daemon=True) for part in argument}
    until = time.monotonic() + MOST_SECONDS
    for thread in threads.values():
        thread.start()
    for part, thread in threads.items():
        thread.join(max(0.0, until - time.monotonic()))
        told.setdefault(part, {"problem": f"no answer within {MOST_SECONDS:g} s"})
    return {**told, "time": time.time()}


if __name__ == "__main__":
    print(json.dumps(collect(json.loads(sys.argv[1]))), flush=True)
    os._exit(0)  # a thread that still waits for an answer must not hold up the others' results
