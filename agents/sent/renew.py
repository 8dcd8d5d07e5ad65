"""Has processes of PgBouncer on this host begin their connections to PostgreSQL anew, each when nobody is at work on the old one.
Runs on the host, as root.

RECONNECT, which is made for that, ends a connection, too, that is just being made, takes that for a server that refuses, and,
where the pool has no other, sends away who asks for one (objects.c, tag_pool_dirty and check_fast_fail). So does PAUSE. So first
connections are given no time to live: those that nobody uses are closed, others after their transaction, and new ones are used
once. Only where some are in use for longer RECONNECT sees to those: then the pool has others.

Should this program be killed in between, a timer of systemd's has the process read its settings again.

The argument has `pools`, by name the `socket` (a directory), `port` and `unit` of a process; the `user` who may command it; and
the `timer`'s name.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from agents.proxies import Console, arm, await_no_login, disarm

LOOK_SECONDS = 0.05
# PgBouncer looks three times a second for connections that are too old.
CLOSED_SECONDS, MADE_SECONDS = 2.0, 1.0
READ_AGAIN_SECONDS = 15


def renew(console: Console) -> None:
    """Raises OSError."""
    lifetime = next(row["value"] for row in console.ask("show config") if row["key"] == "server_lifetime")
    old = servers(console)
    console.ask("set server_lifetime = 0")
    try:
        until = time.monotonic() + CLOSED_SECONDS
        while (left := old & servers(console)) and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
    finally:
        console.ask(f"set server_lifetime = {lifetime}")
    if left:
        await_no_login(console, MADE_SECONDS)
        console.ask("reconnect")


def servers(console: Console) -> set[tuple[str, str]]:
    """Its connections to PostgreSQL that are made, each with since when."""
    return {(row["ptr"], row["connect_time"]) for row in console.ask("show servers") if row["state"] != "new"}


if __name__ == "__main__":
    spec: dict[str, Any] = json.loads(sys.argv[1])
    units = " ".join(pool["unit"] for pool in spec["pools"].values())
    try:
        arm(spec["timer"], READ_AGAIN_SECONDS * len(spec["pools"]), f"systemctl reload {units}")
        for one in spec["pools"].values():
            renew(Console(spec["user"], one["socket"], one["port"]))
        disarm(spec["timer"])
    except OSError as error:
        sys.exit(str(error))
