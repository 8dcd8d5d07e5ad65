"""Keeps the promotion gate (promotion_gate.py) at hand, on a socket of this host: started anew it takes longer than its work."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

from agents import promotion_gate
from agents.ask_gate import SOCKET
from agents.specification import Specification

# Whoever asks has gone by then.
SEND_SECONDS = 1.0


def start(specification: Specification, path: Path = Path(SOCKET)) -> None:
    """Answers on the socket from now on, one question after the other. Raises OSError where there can be no socket."""
    path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()
    threading.Thread(target=_serve, args=(listening, specification), daemon=True).start()


def _serve(listening: socket.socket, specification: Specification) -> None:
    while True:
        connection, _ = listening.accept()
        # Whatever goes wrong with one question, the next one is taken: without an answer the asker is its own judge.
        with connection, suppress(Exception):
            code, why = promotion_gate.judge(specification.as_now())
            connection.settimeout(SEND_SECONDS)
            connection.sendall(f"{code} {why}\n".encode())
