"""Has the HAProxy on this host give a server no new connections, for as long as its input lasts. Runs on the host, as root.

The argument has `socket` and `server`, as `read/NAME`. It says `drained` when that holds. At the end of its input, whatever the
reason, the server gets connections again; and when no line has come for `silence` seconds: a connection whose other end is gone
without a word has no end for hours.
"""

from __future__ import annotations

import json
import os
import select
import sys

from agents.proxies import HAProxy

if __name__ == "__main__":
    argument = json.loads(sys.argv[1])
    haproxy, server = HAProxy(argument["socket"], "reads", "read"), argument["server"]
    try:
        haproxy.change(f"set server {server} state drain")
        try:
            print("drained", flush=True)
            while select.select([0], [], [], argument["silence"])[0] and os.read(0, 1024):
                pass
        finally:
            haproxy.change(f"set server {server} state ready")
    except OSError as error:
        sys.exit(str(error))
