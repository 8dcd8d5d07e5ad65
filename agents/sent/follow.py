"""Lets the replica on this host follow a new leader as soon as that is promoted. Started on the host as root.

In a switchover, Patroni on a replica that is not the candidate sleeps two seconds before it looks for the new leader
(patroni/ha.py, process_unhealthy_cluster), and in the synchronous modes no write is acknowledged before a replica streams.
This does what Patroni will do after that sleep, in the same files and in the same words, and leaves Patroni a reason to do
it again: else Patroni would find it done, keep the old leader in its memory, and write that back at the next change of its
configuration. It ends when its input does.

The argument has `url` and `tls` of the candidate's Patroni, `data` (PostgreSQL's data directory), the `old` and the `new`
address, and `seconds` to wait at most.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from agents import https
from agents.postmaster import postmaster
from agents.rights import become

POLL_SECONDS = 0.05
ANSWER_SECONDS = 1
# What Patroni compares with its own idea of recovery (patroni/postgresql/config.py, check_recovery_conf) and takes out again,
# without the replica losing its connection for it. Had the replica to be promoted before that, this would run, and do nothing.
REASON = "recovery_end_command = 'true'\n"


def promoted(spec: dict[str, Any]) -> bool:
    """Whether the candidate is out of recovery. Before that it would drop the replica's connection once more."""
    tls = https.tls_context(**spec["tls"])
    try:
        return bool(https.ask(spec["url"], "/patroni", None, tls, ANSWER_SECONDS)["role"] == "primary")
    except (OSError, ValueError, KeyError, https.StatusError):
        return False


def follow(spec: dict[str, Any]) -> None:
    """Puts the new address where the old one stood, in the connection and in its password file, and has them read."""
    data = Path(spec["data"])
    old, new = f" host={spec['old']} ", f" host={spec['new']} "
    connection = next(line for line in (data / "postgresql.conf").open() if line.startswith("primary_conninfo "))
    passwords = re.search(r"passfile=([^\s']+)", connection)
    if old not in connection or not passwords:
        return
    replace(Path(passwords[1]), f"{spec['old']}:", f"{spec['new']}:")
    replace(data / "postgresql.conf", connection, connection.replace(old, new) + REASON)
    if running := postmaster(data):
        signal.pidfd_send_signal(running[1], signal.SIGHUP)
        os.close(running[1])


def replace(file: Path, old: str, new: str) -> None:
    """Another text in a file, whole or not at all, with the mode it had."""
    before, draft = file.stat(), file.with_name(f"{file.name}.pgquorum")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        os.fchmod(output.fileno(), before.st_mode & 0o777)
        output.write(file.read_text().replace(old, new))
    draft.rename(file)


def wait_and_follow(spec: dict[str, Any]) -> None:
    deadline = time.monotonic() + spec["seconds"]
    try:
        while time.monotonic() < deadline and not promoted(spec):
            time.sleep(POLL_SECONDS)
        if time.monotonic() < deadline:
            follow(spec)
    finally:  # Patroni will do it, whatever came in between
        os._exit(0)


if __name__ == "__main__":
    argument = json.loads(sys.argv[1])
    become()  # what is there is that user's, who may have put links there
    threading.Thread(target=wait_and_follow, args=(argument,), daemon=True).start()
    print("waiting", flush=True)
    sys.stdin.buffer.read()
    os._exit(0)
