"""Patroni's `pre_promote`: asks the service on this host that has the promotion gate (gate_server.py), or does its work itself.

    python3 -I -S ask_gate.py SPECIFICATION

Each hundredth of a second here is one more without a primary, and a machine that has just lost one is busy. So this imports next
to nothing: not even `socket`, whose import takes longer than all of this.
"""

import _socket
import sys

SOCKET = "/run/pgquorum-agents/promotion-gate"
# The gate's own deadline, and its last questions.
PATIENCE_SECONDS = 6


def answer(path: str) -> bytes:
    """What the service says: `0` or `1`, Patroni's exit code, and a line for the journal; empty where nobody answers."""
    said = b""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect(path)
        while part := connection.recv(4096):
            said += part
    except OSError:
        return b""
    finally:
        connection.close()
    return said if said.endswith(b"\n") else b""


def main(specification: str) -> int:
    """The exit code for Patroni."""
    code, _, why = answer(SOCKET).partition(b" ")
    if code not in (b"0", b"1"):
        judge_here(specification)
    print(why.decode().rstrip(), file=sys.stderr, flush=True)
    return int(code)


def judge_here(specification: str) -> None:
    """Goes on as the gate itself; does not return."""
    import os
    from pathlib import Path

    agents = str(Path(__file__).resolve().parent.parent)
    os.execv(sys.executable, [sys.executable, "-I", "-S", agents, "promotion-gate", specification])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
