"""Whether the system's own roles can log in where they have to: from each PostgreSQL host to the primary. Pure.

A password that was changed on one side only shows nowhere before the next failover.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from cluster import paths
from cluster.topology import Cluster

from .finding import Finding, finding, ok

SECONDS = 5
# All that pg_rewind calls (cluster/databases.py, REWIND_FUNCTIONS).
REWINDS = (
    "select pg_stat_file('PG_VERSION', true), pg_read_binary_file('PG_VERSION'), pg_read_binary_file('PG_VERSION', 0, 1, true),"
    " (select count(*) from pg_ls_dir('.', true, false))"
)
# Each role with the name of its password, how it connects, and what it does then.
ROLES = {
    paths.REPLICATION_ROLE: ("replication", "replication=true", "IDENTIFY_SYSTEM"),
    paths.REWIND_ROLE: ("rewind", "dbname=postgres", REWINDS),
}


def login_script(cluster: Cluster, primary: str, passwords: Mapping[str, str]) -> str:
    """A shell script, for its standard input since it holds passwords (by their names), that logs in to `primary` from a
    PostgreSQL host as each role, with the host's own certificate, and prints `role: why not` for one that is refused."""
    server = cluster.host(primary)
    pair = f"sslrootcert={paths.PATRONI_TLS}/ca.crt sslcert={paths.PATRONI_TLS}/server.crt sslkey={paths.PATRONI_TLS}/server.key"
    lines = []
    for role, (secret, way, statement) in ROLES.items():
        settings = (
            f"host={server.address} port={cluster.postgres.port} user={role} {way} sslmode=verify-full {pair}"
            f" connect_timeout={SECONDS}"
        )
        psql = f"timeout {2 * SECONDS} psql -XAtq {shlex.quote(settings)} -c {shlex.quote(statement)} 2>&1 >/dev/null"
        lines.append(f"e=$(PGPASSWORD={shlex.quote(passwords[secret])} {psql}) || echo {role}: $e")
    return "\n".join([*lines, "true"]) + "\n"


def logins(host: str, primary: str, output: str) -> Iterator[Finding]:
    """What the script has printed on a host."""
    refused = [line for line in output.splitlines() if line.strip()]
    for line in refused:
        role, _, why = line.partition(": ")
        yield finding("roles.refused", host, f"{role} can't log in from here to {primary}: {why or 'no answer'}")
    if not refused:
        yield ok("roles", host, f"{' and '.join(ROLES)} log in from here to {primary}")
