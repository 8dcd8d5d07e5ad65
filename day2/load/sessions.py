"""Sessions as an application would hold them, which can be cut from outside when no answer comes. They belong to threads."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

CONNECT = {
    "connect_timeout": 2,
    # A server that is gone without a word is noticed, whether an answer is awaited or a statement on its way.
    "tcp_user_timeout": 3000,
    "keepalives_idle": 1,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "application_name": "pgquorum failover-test",
}
# Who connects while planned work goes on may have to wait, and that is no failure: as most drivers have it.
PATIENT = {"connect_timeout": 10}
PATIENCE_SECONDS = 3.0
RECONNECT_SECONDS = 0.05


class Sessions:
    """`connection` are libpq's parameters, `password` its password, `more` whatever is to be asked for beyond or instead of
    CONNECT."""

    def __init__(self, connection: dict[str, str], password: str, **more: str | int) -> None:
        self.parameters: dict[str, Any] = {**connection, **CONNECT, **more, "password": password, "autocommit": True}
        self._sockets: dict[int, int] = {}

    @contextmanager
    def open(self, key: int) -> Iterator[psycopg.Connection[Any]]:
        """A session for the thread that calls itself `key`, closed at the block's end. Raises psycopg.Error."""
        with psycopg.connect(**self.parameters) as session:
            self._sockets[key] = session.fileno()
            try:
                yield session
            finally:
                del self._sockets[key]

    def end(self, threads: Sequence[threading.Thread]) -> None:
        """Waits for threads that have been told to stop. Whoever then still waits for an answer gets none."""
        for _ in range(2):
            deadline = time.monotonic() + PATIENCE_SECONDS
            for thread in threads:
                if thread.ident:
                    thread.join(max(0.0, deadline - time.monotonic()))
            for descriptor in list(self._sockets.values()):
                with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
                    connection.shutdown(socket.SHUT_RDWR)
