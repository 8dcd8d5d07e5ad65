"""How clients reach the cluster: libpq connection strings through HAProxy, always with sslmode=verify-full."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn

from cluster import paths
from cluster.errors import ClusterError, did_you_mean
from cluster.topology import Cluster, Host
from cluster.vault import Vault, password_names

from .console import FINE


def open_vault(cluster: Cluster) -> Vault:
    """The cluster's secrets. Raises ClusterError before the first deploy, which makes them."""
    vault = Vault(cluster)
    if not vault.existed:
        raise ClusterError(f"{vault.directory} holds no secrets yet: `pyinfra {cluster.inventory} deploy.py` makes them")
    return vault


def parameters(
    cluster: Cluster, *, database: str, role: str, read_only: bool = False, through: Host | None = None
) -> dict[str, str]:
    """libpq's connection parameters, without the password; through every HAProxy, or the one host `through`.

    Each HAProxy is named and given by address: the name is what the certificate is checked for, and no DNS is needed.
    """
    port = cluster.haproxy.read_port if read_only else cluster.haproxy.write_port
    proxies = (through,) if through else cluster.haproxy_hosts
    authority = Path(cluster.all.secrets_directory) / cluster.name / "postgres-ca.crt"
    return {
        "host": ",".join(h.name for h in proxies),
        "hostaddr": ",".join(h.address for h in proxies),
        "port": ",".join(str(port) for _ in proxies),
        "dbname": database,
        "user": role,
        "sslmode": "verify-full",
        # Whoever passes for the server can't get at the password, nor pass it on (SCRAM over this very TLS session).
        "channel_binding": "require",
        "sslrootcert": str(authority.resolve()),
    }


def application(cluster: Cluster, *, role: str, database: str, read_only: bool) -> dict[str, str]:
    """The parameters for an application role. Raises ClusterError for a role or database that is not in the settings."""
    known = {
        "role": (role, [r.name for r in cluster.postgres.roles]),
        "database": (database, [d.name for d in cluster.postgres.databases]),
    }
    problems = [
        f"no {what} is called {name!r}{did_you_mean(name, names)}: postgres_{what}s has {', '.join(names) or 'none'}"
        for what, (name, names) in known.items()
        if name not in names
    ]
    if problems:
        raise ClusterError("\n".join(problems))
    return parameters(cluster, database=database, role=role, read_only=read_only)


def probe(cluster: Cluster, through: Host | None = None, *, read_only: bool = False) -> dict[str, str]:
    """The parameters of the tool's own role and database, without the password."""
    return parameters(cluster, database=paths.PROBE_DATABASE, role=paths.PROBE_ROLE, read_only=read_only, through=through)


def as_string(values: dict[str, str]) -> str:
    """libpq's `key=value` form, quoted where needed."""
    return " ".join(f"{key}={_quoted(value)}" for key, value in values.items())


def _quoted(value: str) -> str:
    if value and not set(value) & set(" '\\"):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def secret(cluster: Cluster, name: str) -> str:
    """One password by name (`haproxy_stats`, `role_app`, ...). Raises ClusterError for an unknown name."""
    names = password_names(cluster)
    if name not in names:
        raise ClusterError(f"no secret is called {name!r}{did_you_mean(name, names)}: there are {', '.join(names)}")
    return open_vault(cluster).password(name)


def dsn(cluster: Cluster, *, role: str, database: str, read_only: bool, with_password: bool) -> int:
    """`invoke dsn`: the connection string alone on stdout, so that `psql "$(invoke dsn)"` works."""
    values = application(cluster, role=role, database=database, read_only=read_only)
    vault = open_vault(cluster)
    # What a person should know goes to stderr: stdout is for the string alone.
    if with_password:
        values["password"] = vault.password(f"role_{role}")
    else:
        print(f'password: export PGPASSWORD="$(invoke secrets --name role_{role})"', file=sys.stderr)
    print("sslrootcert is a file of this machine: copy it to where the application runs", file=sys.stderr)
    print(as_string(values))
    return FINE


def psql(cluster: Cluster, *, role: str, database: str, read_only: bool, command: str | None) -> NoReturn:
    """`invoke psql`: becomes psql, in a session through HAProxy or for one command."""
    program = shutil.which("psql")
    if program is None:
        raise ClusterError("psql is not installed on this machine: `apt-get install postgresql-client` brings it")
    values = application(cluster, role=role, database=database, read_only=read_only)
    environment = {**os.environ, "PGPASSWORD": open_vault(cluster).password(f"role_{role}")}
    words = ["-c", command] if command else []
    os.execve(program, [program, as_string(values), *words], environment)  # noqa: S606


def secrets(cluster: Cluster, *, name: str) -> int:
    """`invoke secrets`: one password, or the names of all."""
    if name:
        print(secret(cluster, name))
    else:
        print("\n".join(password_names(cluster)))
    return FINE
