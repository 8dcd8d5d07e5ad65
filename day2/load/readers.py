"""Readers through port 5001 or a pool: do reads always find a server, is what they see there to stay, and how old is it?"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Any, Self

import psycopg
from psycopg import sql

from day2.history.reads import Read, ReadCheck, ReadFailure, check_reads
from day2.history.writes import Id, Write

from .sessions import RECONNECT_SECONDS, Sessions

# As an application's pool does, but oftener: so a drained server is left soon.
CONNECTION_SECONDS = 1.0
# Reads find out about replicas, and must not take from the writers what those need to find out about losses.
PAUSE_SECONDS = 0.015


class Readers:
    """`count` threads that read from `with` to the end of the block, each time the last number of one of the `writers` that
    fill `table` (a Workload's). `connection` are libpq's parameters, which lead to a pool or to a server each, and `more` those
    that differ from the usual ones."""

    def __init__(
        self, connection: dict[str, str], password: str, count: int, table: str, writers: int, **more: str | int
    ) -> None:
        self._sessions = Sessions(connection, password, **more)
        last = "SELECT coalesce(max(number), 0), host(inet_server_addr()) FROM {} WHERE writer = %s"
        self._query = sql.SQL(last).format(sql.Identifier(table))
        self._writers = writers
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(count)]
        self.reads: list[Read] = []
        self.failures: list[ReadFailure] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._sessions.end(self._threads)

    @property
    def succeeded(self) -> int:
        """How many reads succeeded so far."""
        return len(self.reads)

    def check(self, found: AbstractSet[Id], writes: Iterable[Write], fault_at: float) -> ReadCheck:
        """What they saw, checked against the ids `found` in the table after the trial. Call it after the block."""
        return check_reads(self.reads, self.failures, found, writes, fault_at)

    def _run(self, reader: int) -> None:
        """One reader, from connection to connection."""
        while not self._stopping.is_set():
            connected = False
            try:
                with self._sessions.open(reader) as session:
                    connected = True
                    self._read(session)
            except psycopg.Error as error:
                self.failures.append(ReadFailure(time.monotonic(), connected, " ".join(str(error).split())))
                self._stopping.wait(RECONNECT_SECONDS)

    def _read(self, session: psycopg.Connection[Any]) -> None:
        """Reads over one connection for a while."""
        until = time.monotonic() + CONNECTION_SECONDS
        while time.monotonic() < until and not self._stopping.is_set():
            writer = random.randrange(self._writers)  # noqa: S311
            began = time.monotonic()
            number, server = self._last_number(session, writer)
            self.reads.append(Read(writer, number, began, time.monotonic(), server))
            self._stopping.wait(PAUSE_SECONDS)

    def _last_number(self, session: psycopg.Connection[Any], writer: int) -> tuple[int, str]:
        """And the server that has said so: in a pool, another one each time."""
        try:
            row = session.execute(self._query, (writer,), prepare=True).fetchone()
        except psycopg.errors.UndefinedTable:
            # A replica that has not come to the table's creation yet shows what is true of then: no rows.
            row = session.execute("SELECT 0, host(inet_server_addr())").fetchone()
        return row or (0, "")
