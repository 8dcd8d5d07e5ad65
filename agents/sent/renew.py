"""Has processes of PgBouncer on this host begin their connections to PostgreSQL anew, each when nobody is at work on the old one.
Runs on the host, as root.

PgBouncer's RECONNECT ends a connection, too, that is just being made, takes that for a server that refuses, and sends away who
asks for one (objects.c, tag_pool_dirty and check_fast_fail). It begins one at a time in each pool, when clients come or a pool
grows; so RECONNECT is given in a moment when none is being made.

The argument has `pools`, by name the `socket` (a directory) and `port` of a process; and the `user` who may command it.
"""

from __future__ import annotations

import json
import sys

from agents.proxies import Console, await_no_login

# A server that does not answer may take longer to be given up: then who asks is sent away, as without this.
MADE_SECONDS = 3.0

if __name__ == "__main__":
    spec = json.loads(sys.argv[1])
    try:
        for pool in spec["pools"].values():
            console = Console(spec["user"], pool["socket"], pool["port"])
            await_no_login(console, MADE_SECONDS)
            console.ask("reconnect")
    except OSError as error:
        sys.exit(str(error))
