"""Has the HAProxy on this host give a server no new connections, for as long as its input lasts. Runs on the host, as root.

The argument has `socket` and `server`, as `read/NAME`. It says `drained` when that holds. At the end of its input, whatever the
reason, the server gets connections again.
"""

from __future__ import annotations

import json
import sys

from agents.proxies import HAProxy

if __name__ == "__main__":
    argument = json.loads(sys.argv[1])
    haproxy, server = HAProxy(argument["socket"], "reads", "read"), argument["server"]
    try:
        haproxy.change(f"set server {server} state drain")
        try:
            print("drained", flush=True)
            sys.stdin.buffer.read()
        finally:
            haproxy.change(f"set server {server} state ready")
    except OSError as error:
        sys.exit(str(error))
