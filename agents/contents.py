"""What is in every table of a server: how many rows, and a sum of the hashes of their text, which is the same in any order.

Asked of a replica whose replay is paused, and of a copy that was recovered to the same moment: nothing changes on either.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import IO, Any

from cluster.drill import Contents

DATABASES = "select json_agg(datname order by datname) from pg_database where datallowconn and datconnlimit <> -2"
# Those that are in the write-ahead log, the system's own among them; the small ones first, so that most are reached in time. By
# what the catalog knows of their size: to ask the table itself would wait for whoever has locked it.
TABLES = """
select coalesce(json_agg(json_build_array(c.oid::bigint, format('%I.%I', n.nspname, c.relname)) order by c.relpages, c.oid), '[]')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'm', 'S') and c.relpersistence = 'p' and (c.relkind <> 'm' or c.relispopulated)
"""
# `.*`: a column may be called as the table is here.
ROWS = """
select json_build_array(count(*), coalesce(sum(hashtextextended(("its row".*)::text collate "C", 0)), 0)::text)
from only {table} as "its row"
"""


class ContentsError(Exception):
    """Why a server could not be asked: words for a person."""


def contents(psql: str, connections: dict[str, str], seconds: float | None = None, like: Contents | None = None) -> Contents:
    """Of every database that can be connected to. `connections` is libpq's environment. None are the tables that are not reached
    within so many seconds, and those that are None in `like`, the contents that are to be compared with. Raises ContentsError."""
    until = None if seconds is None else time.monotonic() + seconds
    with Asked(psql, connections) as asked:
        names = asked.json(DATABASES)
    found: Contents = {}
    for name in names:
        skipped = {table for table, known in (like or {}).get(name, {}).items() if known is None}
        with Asked(psql, connections | {"PGDATABASE": name}) as asked:
            found[name] = dict(_tables(asked, until, name, skipped))
    return found


def _tables(asked: Asked, until: float | None, database: str, skipped: set[str]) -> Iterator[tuple[str, tuple[int, str] | None]]:
    for _, name in asked.json(TABLES):
        left = None if until is None else until - time.monotonic()
        if name in skipped or (left is not None and left <= 0):
            yield name, None
            continue
        try:
            answer = asked.json(ROWS.format(table=name), left)
        except ContentsError as error:
            raise ContentsError(f"{database}: {name}: {error}") from None
        yield name, None if answer is None else (int(answer[0]), str(answer[1]))


class Asked:
    """One session of psql."""

    def __init__(self, psql: str, environment: dict[str, str]) -> None:
        self._errors: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the session
        self._psql = subprocess.Popen(
            [psql, "-XAtqw"], env=environment, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip

    def __enter__(self) -> Asked:
        return self

    def __exit__(self, *error: object) -> None:
        self._psql.kill()
        self._psql.communicate()
        self._errors.close()

    def json(self, query: str, seconds: float | None = None) -> Any:
        """The answer to a query for one value of JSON; None where it takes longer than so many seconds. Raises ContentsError."""
        assert self._psql.stdin and self._psql.stdout
        self._errors.seek(0)
        self._errors.truncate()
        limit = 0 if seconds is None else max(1, int(seconds * 1000))
        try:
            self._psql.stdin.write(f"set statement_timeout = {limit};{query};\n\\echo\n")
            answer = self._psql.stdout.readline()
        except OSError:
            answer = ""
        if answer.strip():
            self._psql.stdout.readline()  # the empty line behind it
            return json.loads(answer)
        self._errors.seek(0)
        said = " ".join(self._errors.read().split())
        if "statement timeout" in said:
            return None
        raise ContentsError(said or "psql has ended")
