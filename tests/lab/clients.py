"""Applications at work while something happens to the cluster."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg
from helpers import Site
from hosts import wait_until

# What an application sets so that a server that dies without a word is given up soon, even when HAProxy dies with it.
WITHOUT_A_WORD = {"tcp_user_timeout": 10_000, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}


class Traffic:
    """Clients at work while something happens: `with Traffic(...) as traffic: ...`. Ends when the block ends."""

    def __init__(self, *jobs: Callable[[], None]) -> None:
        self._stop = threading.Event()
        self.failures: list[str] = []
        self.done = 0
        self.longest = 0.0  # seconds that a client waited for an answer, those before it that failed included
        self._threads = [threading.Thread(target=self._work, args=(job,), daemon=True) for job in jobs]

    def _work(self, job: Callable[[], None]) -> None:
        answered = time.monotonic()
        while not self._stop.is_set():
            try:
                job()
                self.done += 1
                answered, before = time.monotonic(), answered
                self.longest = max(self.longest, answered - before)
            except Exception as error:
                self.failures.append(f"{time.time():.3f} {type(error).__name__}: {error}")
            time.sleep(0.01)

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        wait_until(lambda: self.done or self.failures, "the first client has an answer")
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


def reads_and_writes(site: Site, seconds: int = 5) -> Traffic:
    """One client that writes and one that reads, each over a new connection every time, which it waits for so many seconds."""

    def write() -> None:
        with site.connect(5000, connect_timeout=seconds) as connection:
            connection.execute("select pg_current_wal_lsn()")

    def read() -> None:
        with site.connect(5001, connect_timeout=seconds) as connection:
            connection.execute("select 1")

    return Traffic(write, read)


class Writers:
    """Clients that write numbered rows through port 5000, each on a connection that it opens again when it breaks."""

    def __init__(self, site: Site, count: int = 4) -> None:
        self.site = site
        with site.connect(5000) as connection:
            connection.execute("drop table if exists written")
            connection.execute("create table written (writer int, seq int, primary key (writer, seq))")
        self.acknowledged: list[tuple[int, int]] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(n,), daemon=True) for n in range(count)]

    def _write(self, writer: int) -> None:
        seq = 0
        while not self._stop.is_set():
            with suppress(psycopg.Error), self.site.connect(5000, **WITHOUT_A_WORD) as connection:
                while not self._stop.is_set():
                    seq += 1
                    connection.execute("insert into written values (%s, %s)", (writer, seq))
                    self.acknowledged.append((writer, seq))
                    time.sleep(0.005)  # as an application that does something else, too
            time.sleep(0.05)

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        wait_until(lambda: len(self.acknowledged) > 100, "writes are acknowledged")
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def lost(self) -> set[tuple[int, int]]:
        """The acknowledged rows that are not there."""
        with self.site.connect(5000) as connection:
            there = set(connection.execute("select writer, seq from written").fetchall())
        return set(self.acknowledged) - there
