"""Has processes of PgBouncer on this host begin their connections to PostgreSQL anew, each when nobody is at work on the old one.
Runs on the host, as root.

PgBouncer's RECONNECT ends a connection, too, that is just being made, takes that for a server that refuses, and sends away all
who wait for one (objects.c, tag_pool_dirty). So for that moment the process is paused, in which none is begun: those that were
being made are awaited, which takes some milliseconds, and nobody waits for transactions to end. Should this program be killed in
between, a timer of systemd's lets the process go on.

The argument has `pools`, by name the `socket` (a directory), `port` and `unit` of a process; the `user` who may command it; and
the `timer`'s name.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from typing import Any

from agents.proxies import Console, arm, disarm

LOOK_SECONDS = 0.005
# A server that does not answer may take longer to be given up: then who waits for it is sent away, as without this.
MADE_SECONDS = 3.0
LET_GO_SECONDS = 10


def renew(user: str, pool: dict[str, Any]) -> None:
    """Raises OSError."""
    console, pausing = (Console(user, pool["socket"], pool["port"]) for _ in "ab")
    if paused(console):  # by somebody else, who lets it go on
        console.ask("reconnect")
        return
    pausing.send("pause")  # its answer comes when all transactions have ended, and is not waited for
    try:
        until = time.monotonic() + MADE_SECONDS
        while (not paused(console) or begun(console)) and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
        console.ask("reconnect")
    finally:
        with suppress(OSError):  # the timer was quicker
            console.ask("resume")


def paused(console: Console) -> bool:
    return {row["key"]: row["value"] for row in console.ask("show state")}["paused"] == "yes"


def begun(console: Console) -> bool:
    """Whether a connection is being made."""
    return any(row["sv_login"] != "0" for row in console.ask("show pools"))


if __name__ == "__main__":
    spec = json.loads(sys.argv[1])
    units = " ".join(pool["unit"] for pool in spec["pools"].values())
    try:
        arm(spec["timer"], LET_GO_SECONDS, f"systemctl kill --signal=USR2 {units}")  # which is PgBouncer's RESUME
        for one in spec["pools"].values():
            renew(spec["user"], one)
        disarm(spec["timer"])
    except OSError as error:
        sys.exit(str(error))
