"""`invoke dsn`, `psql` and `secrets`: what an application needs to reach the cluster."""

from __future__ import annotations

import os
import shutil
import sys
from typing import NoReturn

from cluster.errors import ClusterError, did_you_mean
from cluster.topology import Cluster
from cluster.vault import password_names
from day2.hosts.dsn import application, as_string, open_vault
from day2.ui.console import EXIT_OK

from .formats import written

# Why there is no channel_binding=require in the string of a pooled connection.
UNBOUND = (
    "without channel_binding: PgBouncer ends TLS itself, and refuses what asks for it (docs/security.md, Pooled connections)"
)


def secret(cluster: Cluster, name: str) -> str:
    """One password by name (`haproxy_stats`, `role_app`, ...). Raises ClusterError for an unknown name."""
    names = password_names(cluster)
    if name not in names:
        raise ClusterError(f"--name: no secret is called {name!r}{did_you_mean(name, names)}: there are {', '.join(names)}")
    return open_vault(cluster).password(name)


def dsn(
    cluster: Cluster,
    *,
    role: str | None,
    database: str | None,
    read_only: bool,
    with_password: bool,
    form: str = "libpq",
    pooled: bool = False,
    by_address: bool = False,
) -> int:
    """`invoke dsn`: the connection string alone on stdout, so that `psql "$(invoke dsn)"` works, in one of formats.FORMS."""
    values = application(cluster, role=role, database=database, read_only=read_only, pooled=pooled, by_address=by_address)
    vault = open_vault(cluster)
    # What a person should know goes to stderr: stdout is for the string alone.
    if with_password:
        values["password"] = vault.password(f"role_{values['user']}")
    text = written(form, values)
    if not with_password:
        print(f"password: {password_hint(form, values['user'])}", file=sys.stderr)
    print("sslrootcert is a file of this machine: copy it to where the application runs", file=sys.stderr)
    if pooled:
        print(UNBOUND, file=sys.stderr)
    print(text)
    return EXIT_OK


def password_hint(form: str, role: str) -> str:
    """How a program gets the password that is not in the string: drivers that are no libpq read no PGPASSWORD."""
    said = f"invoke secrets --name role_{role}"
    return f"`{said}`, as the driver's property `password`" if form == "jdbc" else f'export PGPASSWORD="$({said})"'


def psql(
    cluster: Cluster,
    *,
    role: str | None,
    database: str | None,
    read_only: bool,
    command: str | None,
    pooled: bool = False,
    by_address: bool = False,
) -> NoReturn:
    """`invoke psql`: becomes psql, in a session through HAProxy or for one command."""
    program = shutil.which("psql")
    if program is None:
        raise ClusterError("psql is not installed on this machine: `apt-get install postgresql-client` brings it")
    values = application(cluster, role=role, database=database, read_only=read_only, pooled=pooled, by_address=by_address)
    environment = {**os.environ, "PGPASSWORD": open_vault(cluster).password(f"role_{values['user']}")}
    words = ["-c", command] if command else []
    os.execve(program, [program, as_string(values), *words], environment)


def secrets(cluster: Cluster, *, name: str) -> int:
    """`invoke secrets`: one password, or the names of all."""
    if name:
        print(secret(cluster, name))
    else:
        print("\n".join(password_names(cluster)))
    return EXIT_OK
