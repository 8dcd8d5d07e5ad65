"""Commands for what an application needs to connect."""

from __future__ import annotations

from invoke.context import Context

from day2.commands.declare import command, on_cluster

ROLE = {
    "role": "the application role; without it, the database's owner",
    "database": "the database; without it, the first of the settings",
    "read-only": "the replicas (port 5001)",
    "pooled": "through PgBouncer's pools (port 6432, with --read-only 6433)",
    "address": "by proxy_address, whichever proxy host has it, in place of a list of them",
}


@command(
    help={
        **ROLE,
        "format": "libpq (default), uri, jdbc, sqlalchemy, env or pgpass",
        "with-password": "with the password in it: mind where you paste it",
    }
)
def _dsn(
    c: Context,
    role: str | None = None,
    database: str | None = None,
    read_only: bool = False,
    pooled: bool = False,
    address: bool = False,
    format: str = "libpq",
    with_password: bool = False,
) -> None:
    """Print the connection string of an application role, through every HAProxy, with TLS verified."""
    from day2.commands.connect.clients import dsn

    on_cluster(
        c, dsn, role=role, database=database, read_only=read_only, pooled=pooled, by_address=address, form=format,
        with_password=with_password,
    )  # fmt: skip


@command(help={**ROLE, "command": "run this and leave"})
def _psql(
    c: Context,
    role: str | None = None,
    database: str | None = None,
    read_only: bool = False,
    pooled: bool = False,
    address: bool = False,
    command: str | None = None,
) -> None:
    """Open psql through HAProxy as an application role."""
    from day2.commands.connect.clients import psql

    on_cluster(c, psql, role=role, database=database, read_only=read_only, pooled=pooled, by_address=address, command=command)


@command(help={"name": "which one; without it, their names are listed"})
def _secrets(c: Context, name: str = "") -> None:
    """Print a password by --name: haproxy_stats (for user admin on port 7000), role_app, ...; or list the names."""
    from day2.commands.connect.clients import secrets

    on_cluster(c, secrets, name=name)


COMMANDS = (_dsn, _psql, _secrets)
