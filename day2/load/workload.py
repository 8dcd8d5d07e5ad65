"""Writers that behave as an application would: through port 5000 or a pool, over TLS, with a new connection when one breaks.

Each inserts rows with ids of its own and never sends an id twice, so afterwards the table tells which writes are there.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from typing import Any, Self

import psycopg
from psycopg import sql

from cluster.errors import ClusterError
from day2.history.writes import Id, Row, Write, WriteCheck, WriteOutcome, check_writes, outcome_of_error

from .sessions import RECONNECT_SECONDS, Sessions

CONNECT_SECONDS = 10
EVIDENCE_DAYS = 90  # so long a table is kept in which something was wrong
TABLES = "SELECT relname FROM pg_class WHERE relname ~ '^(write|evidence)_' AND relkind = 'r'"
# The name of a WAL file begins with the timeline.
HERE = "host(inet_server_addr()), ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int"
WHERE_AM_I = f"SELECT {HERE}"
# No primary key: it would refuse a row that is there twice, which is what is looked for.
# A row as long as many an application's, so that a replica on a slow link really falls behind.
CREATE = (
    "CREATE TABLE {} (writer int, number bigint, server text, timeline int, lsn pg_lsn DEFAULT pg_current_wal_insert_lsn(),"
    " filling text DEFAULT repeat('-', 1000))",
    "CREATE INDEX ON {} (writer, number)",
)


class Workload:
    """`writers` threads that write from `with` to `stop`, into a table made for them, each with a `pause` (seconds) after
    a write.

    `connection` are libpq's parameters, `password` its password. `pooled`: they lead to a pool, in which each write may go to
    another server than the one before. Raises ClusterError when the table can't be made.
    """

    def __init__(
        self,
        connection: dict[str, str],
        password: str,
        writers: int,
        pause: float = 0.0,
        *,
        pooled: bool = False,
        **more: str | int,
    ) -> None:
        # HAProxy sends writes to a new leader a moment before that one is out of recovery. A pool says of all its servers what
        # it has heard from the first.
        asked = {} if pooled else {"target_session_attrs": "read-write"}
        self._sessions = Sessions(connection, password, **asked, **more)
        self._pooled = pooled
        self.table = f"write_{time.strftime('%Y%m%d_%H%M%S', time.gmtime())}_{secrets.token_hex(2)}"
        values = f"(%s, %s, {HERE}) RETURNING server, timeline" if pooled else "(%s, %s, %s, %s)"
        insert = f"INSERT INTO {{}} VALUES {values}"  # noqa: S608 - both are ours
        self._insert = sql.SQL(insert).format(sql.Identifier(self.table))
        self.writers = writers
        self._pause = pause
        self._stopping = threading.Event()
        self._writes: list[list[Write]] = [[] for _ in range(writers)]
        self._acknowledged = [0.0] * writers
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(writers)]
        self.stopped_at = 0.0
        self.found: AbstractSet[Id] = frozenset()

    def __enter__(self) -> Self:
        with self._session() as session:
            # Two tests at once can't be: the operator lock sees to that.
            for (left,) in session.execute(TABLES).fetchall():
                if is_left(left, time.time()):
                    session.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(left)))
        self._execute(*CREATE)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    @property
    def writes(self) -> Iterator[Write]:
        """Every attempt to write so far."""
        return (write for one in self._writes for write in list(one))

    @property
    def acknowledged(self) -> int:
        """How many writes were acknowledged so far."""
        return sum(write.outcome is WriteOutcome.ACKNOWLEDGED for write in self.writes)

    @property
    def last_acknowledged(self) -> float:
        """When a write was acknowledged last, on the monotonic clock; 0.0 for never."""
        return max(self._acknowledged)

    def stop(self) -> None:
        """Ends all writers, within a few seconds. Whoever still waits for an answer then gets none: indeterminate."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self.stopped_at = time.monotonic()
        self._sessions.end(self._threads)

    def check(self) -> WriteCheck:
        """Looks for every id in the table, through port 5000, and keeps those in `found`. Call it after `stop`. Raises
        ClusterError."""
        with self._session() as session, session.cursor() as cursor:
            query = sql.SQL("COPY (SELECT writer, number, server, timeline, lsn - '0/0' FROM {}) TO STDOUT")
            with cursor.copy(query.format(sql.Identifier(self.table))) as copied:
                rows = [row_of(line) for line in lines_of(copied)]
        self.found = frozenset(row.id for row in rows)
        return check_writes(self.writes, rows)

    def drop(self) -> None:
        """Removes the table. Raises ClusterError."""
        self._execute("DROP TABLE IF EXISTS {}")

    def keep(self) -> str:
        """Keeps the table as evidence, under a name that no test removes for EVIDENCE_DAYS: returns that. Raises ClusterError."""
        kept = self.table.replace("write_", "evidence_")
        self._execute(f"ALTER TABLE {{}} RENAME TO {kept}")
        return kept

    def _execute(self, *statements: str) -> None:
        with self._session() as session, session.transaction():
            for statement in statements:
                session.execute(sql.SQL(statement).format(sql.Identifier(self.table)))

    @contextmanager
    def _session(self) -> Iterator[psycopg.Connection[Any]]:
        values = self._sessions.parameters
        try:
            # Nothing is measured by this one: on a machine that is busy it may take its time.
            with psycopg.connect(**values | {"connect_timeout": CONNECT_SECONDS}) as session:
                yield session
        except psycopg.Error as error:
            raise ClusterError(f"no writing through {values['host']} port {values['port']}: {str(error).strip()}") from None

    def _run(self, writer: int) -> None:
        """One writer, from connection to connection."""
        done = self._writes[writer]
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                with self._sessions.open(writer) as session:
                    self._write(session, writer, done[-1].number if done else 0)
            except (psycopg.Error, OSError) as error:
                number = done[-1].number + 1 if done else 1
                why = f"no connection: {error}"
                done.append(Write(writer, number, WriteOutcome.FAILED, began, time.monotonic(), "", 0, why))
                self._stopping.wait(RECONNECT_SECONDS)

    def _write(self, session: psycopg.Connection[Any], writer: int, number: int) -> None:
        """Writes over one connection until it is of no use any more; `number` was the last one. Raises psycopg.Error when the
        server does not even say who it is."""
        row = session.execute(WHERE_AM_I).fetchone()
        assert row
        server, timeline = row
        warnings = _collect_warnings(session)
        cursor, done = session.cursor(), self._writes[writer]
        outcome = WriteOutcome.ACKNOWLEDGED
        while outcome is WriteOutcome.ACKNOWLEDGED and not self._stopping.is_set():
            number += 1
            began = time.monotonic()
            row_of_it = (writer, number) if self._pooled else (writer, number, server, timeline)
            outcome, why = self._attempt(cursor, row_of_it, warnings)
            ended = time.monotonic()
            if self._pooled:
                server, timeline = (cursor.fetchone() if outcome is WriteOutcome.ACKNOWLEDGED else None) or ("", 0)
            done.append(Write(writer, number, outcome, began, ended, server, timeline, why))
            if outcome is WriteOutcome.ACKNOWLEDGED:
                self._acknowledged[writer] = ended
                if self._pause:
                    time.sleep(self._pause)

    def _attempt(self, cursor: psycopg.Cursor[Any], row: tuple[int | str, ...], warnings: list[str]) -> tuple[WriteOutcome, str]:
        """Sends one row. A warning with the answer says that the wait for a replica was given up."""
        try:
            cursor.execute(self._insert, row, prepare=True)
        except psycopg.Error as error:
            return outcome_of_error(error.sqlstate, error.diag.severity_nonlocalized), str(error)
        return (WriteOutcome.INDETERMINATE, warnings[0]) if warnings else (WriteOutcome.ACKNOWLEDGED, "")


def _collect_warnings(connection: psycopg.Connection[Any]) -> list[str]:
    """A list that gets the text of every warning the server sends from now on."""
    warnings: list[str] = []

    def note(notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            warnings.append(notice.message_primary or "a warning")

    connection.add_notice_handler(note)
    return warnings


def is_left(table: str, now: float) -> bool:
    """Whether nobody needs a table of writers any more, by its name: one that an interrupted test could not remove, or evidence
    of long ago. `now`: seconds since 1970."""
    if table.startswith("write_"):
        return True
    made = re.match(r"evidence_(\d{8})_", table)
    return made is not None and made[1] < time.strftime("%Y%m%d", time.gmtime(now - EVIDENCE_DAYS * 86_400))


def row_of(line: str) -> Row:
    """A row in COPY's text form."""
    writer, number, server, timeline, lsn = line.split("\t")
    return Row(int(writer), int(number), server, int(timeline), int(lsn))


def lines_of(blocks: Iterable[Any]) -> Iterator[str]:
    """The lines of COPY's text form, which arrives in blocks that need not end where lines do."""
    rest = b""
    for block in blocks:
        *lines, rest = (rest + bytes(block)).split(b"\n")
        yield from (line.decode() for line in lines)
