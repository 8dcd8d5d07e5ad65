"""The roles and databases of the settings, made on whichever host is the primary."""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator
from typing import Any

from pyinfra import host, state
from pyinfra.api import FactBase, StringCommand, operation

from cluster import paths
from cluster.databases import PROBE_OWNER, QUERY, password_statements, remarks, statements
from cluster.weaker_commits import GUARDED, plain, quoted

from .context import Run, warn

# Neither the verifiers nor anything else of this session shall stand in PostgreSQL's log.
QUIET = "set log_statement = 'none'; set log_min_duration_statement = -1; set log_min_error_statement = 'panic';\n"


def psql(port: int, *arguments: str) -> str:
    """psql as the superuser, through the socket."""
    return f"runuser -u postgres -- psql -X -q -v ON_ERROR_STOP=1 -h {paths.POSTGRES_SOCKETS} -p {port} -d postgres " + " ".join(
        shlex.quote(a) for a in arguments
    )


class LiveDatabases(FactBase[dict[str, Any] | None]):
    """The primary's answer to QUERY; None on every other host and where PostgreSQL does not run."""

    def command(self, port: int) -> str:
        ask = psql(port, "-At", "-c", "select 1 where not pg_is_in_recovery()")
        return f'if [ "$({ask} 2>/dev/null)" = 1 ]; then {psql(port, "-At", "-c", " ".join(QUERY.split()))}; fi'

    def process(self, output: list[str]) -> dict[str, Any] | None:
        return json.loads("".join(output)) if output else None


class Guarded(FactBase[list[str]]):
    """Those of the named databases that refuse sessions with a weaker synchronous_commit."""

    def command(self, port: int, names: tuple[str, ...]) -> str:
        asked = (part for name in names for part in ("-c", f"\\connect {quoted(name)}", "-c", GUARDED))
        return f"env PGOPTIONS='-c search_path=pg_catalog' {psql(port, '-At', *asked)}"

    def process(self, output: list[str]) -> list[str]:
        return output


class ProbeOwner(FactBase[str | None]):
    """Whose the table is that the tool writes to; empty where it is gone, None where its database can't be asked."""

    def command(self, port: int) -> str:
        asked = psql(port, "-At", "-c", f"\\connect {quoted(paths.PROBE_DATABASE)}", "-c", PROBE_OWNER)
        return f"env PGOPTIONS='-c search_path=pg_catalog' {asked} 2>/dev/null || true"

    def process(self, output: list[str]) -> str | None:
        return next((line.removeprefix("owner ") for line in output if line.startswith("owner ")), None)


@operation()
def change_passwords(run: Run) -> Generator[StringCommand]:
    """Gives the roles by which hosts log in to the primary other passwords before Patroni reads them: on a replica it then asks
    the primary at once. Sessions that are open go on. Does nothing on a replica, and where PostgreSQL does not run yet."""
    port = run.cluster.postgres.port
    live = host.get_fact(LiveDatabases, port=port)
    if live is not None and (sql := password_statements(run.cluster, run.vault, live)):
        yield StringCommand(psql(port, "-f", "-"), _stdin=QUIET + "\n".join(sql))


@operation()
def ensure(run: Run) -> Generator[StringCommand]:
    """Makes what is missing and mends what differs; drops nothing. Does nothing on a replica."""
    port = run.cluster.postgres.port
    live = host.get_fact(LiveDatabases, port=port)
    if live is None:
        if not state.is_executing and run.new_cluster and run.host == run.first(run.cluster.postgres_hosts):
            yield StringCommand("true")  # what a dry run tells of: the first PostgreSQL will have none of them
        return
    suspected = tuple(filter(plain, live["with_login_trigger"]))
    guarded = host.get_fact(Guarded, port=port, names=suspected) if suspected else None
    probe = host.get_fact(ProbeOwner, port=port) if paths.PROBE_DATABASE in live["databases"] else None
    sql = statements(run.cluster, run.vault, live, guarded or (), probe)
    for statement in sql:
        if not statement.startswith("\\"):
            said = statement.partition("\n")[0].partition(" login")[0]  # never the verifier, which comes after
            host.log(said.removeprefix("-- ").rstrip(";"))
    for line in remarks(run.cluster, live) if state.is_executing else ():
        warn(line)
    if sql:
        yield StringCommand(psql(port, "-f", "-"), _stdin=QUIET + "\n".join(sql))
