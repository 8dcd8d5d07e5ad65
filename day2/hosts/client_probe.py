"""A client's view of the cluster: one write and one read through each HAProxy, and by the virtual address, with TLS verified."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Iterator
from typing import Any

from cluster import paths
from cluster.topology import Cluster
from health.finding import Finding, finding, ok

from . import dsn
from .ssh import Fleet

SECONDS = 5
# A write that waits for a replica waits for ever. When it is cancelled the server has an answer all the same.
LATE = f"no answer within {SECONDS} s"
TIMED_OUT = 124  # the exit code of timeout(1)
# Who asks once a minute for years leaves a day's rows.
WRITE = (
    "WITH old AS (DELETE FROM probe WHERE at < now() - interval '1 day')"
    " INSERT INTO probe (run, writer, seq) VALUES (gen_random_uuid(), 0, 0)"
)
READ = "SELECT 1"


def probe(cluster: Cluster, password: str, fleet: Fleet, through: str | None) -> Iterator[Finding]:
    """What a client is told, from this machine or by psql from the host called `through`."""
    ways: list[tuple[str, bool, bool]] = [("client.write-fails", False, False), ("client.read-fails", True, False)]
    if cluster.pooler_hosts:
        ways += [("client.pooled-write-fails", False, True), ("client.pooled-read-fails", True, True)]
    through_each: list[tuple[str, dict[str, Any]]] = [(proxy.name, {"through": proxy}) for proxy in cluster.haproxy_hosts]
    by_address = [("entry", {"by_address": True})] if cluster.entry_hosts else []
    for about, where_to in (*through_each, *by_address):
        for rule, read_only, pooled in ways:
            values = {
                **dsn.probe(cluster, **where_to, read_only=read_only, pooled=pooled),
                "connect_timeout": str(SECONDS),
            }
            port, statement, what = values["port"], READ if read_only else WRITE, "a read" if read_only else "a write"
            error = (
                _from_host(fleet, through, values, statement, password) if through else _from_here(values, statement, password)
            )
            at = f"port {port} of {values['host']}" if about == "entry" else f"port {port}"
            where = f"{what} through {at}"
            if error:
                yield finding(rule, about, f"{where} fails: {error}")
            else:
                yield ok("client", about, f"{where} succeeds, TLS verified")


def _from_here(values: dict[str, Any], statement: str, password: str) -> str:
    import psycopg

    late = threading.Event()
    try:
        with psycopg.connect(**values, password=password, autocommit=True) as session:

            def give_up() -> None:
                late.set()
                session.cancel_safe(timeout=SECONDS)

            limit = threading.Timer(SECONDS, give_up)
            limit.start()
            try:
                session.execute(statement.encode())
            finally:
                limit.cancel()
                limit.join()
    except psycopg.Error as error:
        return LATE if late.is_set() else " ".join(str(error).split())
    return LATE if late.is_set() else ""


def _from_host(fleet: Fleet, host: str, values: dict[str, Any], statement: str, password: str) -> str:
    there = dsn.as_string(values | {"sslrootcert": f"{paths.PATRONI_TLS}/ca.crt"})
    limit = ["timeout", "--signal", "INT", "--kill-after", str(SECONDS), str(SECONDS)]
    psql = shlex.join([*limit, "psql", "-XAtq", there, "-c", statement])
    answer = fleet.run(host, "sh -s", f"export PGPASSWORD={shlex.quote(password)}\n{psql}\n", 3 * SECONDS)
    return "" if answer.ok else LATE if answer.code == TIMED_OUT else answer.problem or f"psql exits with {answer.code}"
