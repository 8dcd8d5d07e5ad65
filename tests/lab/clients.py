"""Applications at work while something happens to the cluster."""

from __future__ import annotations

import asyncio
import base64
import http.client
import ssl
import threading
import time
from collections.abc import Callable

import psycopg
from helpers import Site
from hosts import ADDRESS, PROXY, wait_until

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


def reads_and_writes(site: Site, seconds: int = 5, ports: tuple[int, int] = (5000, 5001)) -> Traffic:
    """One client that writes and one that reads, each over a new connection every time, which it waits for so many seconds."""
    writes, reads = ports
    with site.connect(5000) as connection:
        connection.execute("create table if not exists ticks (at timestamptz)")

    def write() -> None:  # acknowledged, so that a replica that is kept from its work is felt
        with site.connect(writes, connect_timeout=seconds) as connection:
            connection.execute("insert into ticks values (now())")

    def read() -> None:
        with site.connect(reads, connect_timeout=seconds) as connection:
            connection.execute("select 1")

    return Traffic(write, read)


class Writers:
    """Clients that write numbered rows through port 5000, or another one of any host (`where`, in libpq's words), each on a
    connection that it opens again when it breaks, which is a failure."""

    def __init__(self, site: Site, count: int = 4, **where: object) -> None:
        self.site = site
        self._where = WITHOUT_A_WORD | {"port": 5000} | where
        with site.connect(5000) as connection:
            connection.execute("drop table if exists written")
            connection.execute("create table written (writer int, seq int, primary key (writer, seq))")
        self.acknowledged: list[tuple[int, int]] = []
        self.tried = 0  # rows, whatever became of them
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(n,), daemon=True) for n in range(count)]

    def _write(self, writer: int) -> None:
        seq = 0
        while not self._stop.is_set():
            try:
                with self.site.connect(**self._where) as connection:
                    while not self._stop.is_set():
                        seq += 1
                        self.tried += 1
                        connection.execute("insert into written values (%s, %s)", (writer, seq))
                        self.acknowledged.append((writer, seq))
                        time.sleep(0.005)  # as an application that does something else, too
            except psycopg.Error as error:
                self.failures.append(f"{time.time():.3f} {type(error).__name__}: {error}")
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


def statistics(site: Site, password: str, port: int = 7000) -> int:
    """The status of what HAProxy's statistics answer to who asks with a password."""
    through = ssl.create_default_context(cafile=str(site.secrets / "haproxy-ca.crt"))
    connection = http.client.HTTPSConnection(ADDRESS[PROXY], port, timeout=10, context=through)
    given = base64.b64encode(f"admin:{password}".encode()).decode()
    connection.request("GET", "/", headers={"Authorization": f"Basic {given}"})
    return connection.getresponse().status


class Pooled:
    """Many clients of a pool, each on a connection that it keeps: they write numbered rows, or read. A connection that
    breaks, or an error of any kind, is a failure; nobody tries again."""

    def __init__(self, site: Site, count: int, port: int, *, write: bool = True, **differs: object) -> None:
        self._site, self._count, self._port, self._write, self._differs = site, count, port, write, differs
        self._stop = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), daemon=True)
        self.failures: list[str] = []
        self.acknowledged: list[tuple[int, int]] = []
        self.done = 0
        self.longest = 0.0  # seconds that a client waited for an answer
        if write:
            with site.connect(5000) as connection:
                connection.execute("drop table if exists pooled")
                connection.execute("create table pooled (writer int, seq int, primary key (writer, seq))")

    async def _all(self) -> None:
        gate = asyncio.Semaphore(20)  # PgBouncer has one core
        await asyncio.gather(*(self._one(number, gate) for number in range(self._count)))

    async def _one(self, number: int, gate: asyncio.Semaphore) -> None:
        parameters = self._site.parameters(self._port, **{"connect_timeout": 60} | self._differs)
        try:
            async with gate:
                connection = await psycopg.AsyncConnection.connect(autocommit=True, **parameters)
            async with connection:
                seq = 0
                while not self._stop:
                    seq += 1
                    began = time.monotonic()
                    if self._write:
                        await connection.execute("insert into pooled values (%s, %s)", (number, seq))
                        self.acknowledged.append((number, seq))
                    else:
                        await connection.execute("select pg_is_in_recovery()")
                    self.done += 1
                    self.longest = max(self.longest, time.monotonic() - began)
                    await asyncio.sleep(self._count / 100)  # a hundred queries a second, of all together
        except Exception as error:
            self.failures.append(f"{time.time():.3f} {type(error).__name__}: {error}")

    def __enter__(self) -> Pooled:
        self._thread.start()
        wait_until(lambda: self.done > self._count or self.failures, "every client has an answer")
        return self

    def __exit__(self, *error: object) -> None:
        self._stop = True
        self._thread.join(60)

    def lost(self) -> set[tuple[int, int]]:
        """The acknowledged rows that are not there."""
        with self._site.connect(5000) as connection:
            there = set(connection.execute("select writer, seq from pooled").fetchall())
        return set(self.acknowledged) - there


class LongTransactions:
    """Two clients of a pool whose transactions last for so many `seconds`, by turns: one is always open, and once `until` holds
    it stays open to the end of the block."""

    def __init__(self, site: Site, port: int, seconds: int, until: Callable[[], bool]) -> None:
        self._site, self._port, self._seconds, self._until = site, port, seconds, until
        self._stop, self._stay = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n * seconds / 2,), daemon=True) for n in range(2)]
        self._threads.append(threading.Thread(target=self._watch, daemon=True))
        self.failures: list[str] = []
        self.open = 0

    def _run(self, later: float) -> None:
        time.sleep(later)
        try:
            with self._site.connect(self._port) as connection:
                while not self._stop.is_set():
                    with connection.transaction():
                        connection.execute("select 1")
                        self.open += 1
                        until = time.monotonic() + self._seconds
                        while (time.monotonic() < until or self._stay.is_set()) and not self._stop.wait(0.05):
                            pass
        except psycopg.Error as error:
            self.failures.append(str(error))

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            if self._until():
                self._stay.set()
                return

    def __enter__(self) -> LongTransactions:
        for thread in self._threads:
            thread.start()
        wait_until(lambda: self.open > 1 or self.failures, "both are at work")
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
