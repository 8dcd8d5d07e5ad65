"""Commands to the HAProxy on this host through its admin socket. Runs on the host, as root.

The argument has `socket` and `commands`. HAProxy answers a command of change with nothing; anything else is an error.
"""

from __future__ import annotations

import json
import socket
import sys


def send(path: str, command: str) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(path)
        connection.sendall(f"{command}\n".encode())
        with connection.makefile() as answer:
            return answer.read().strip()


if __name__ == "__main__":
    argument = json.loads(sys.argv[1])
    try:
        refused = [f"{command}: {said}" for command in argument["commands"] if (said := send(argument["socket"], command))]
    except OSError as error:
        sys.exit(f"HAProxy: {error}")
    if refused:
        sys.exit("\n".join(refused))
