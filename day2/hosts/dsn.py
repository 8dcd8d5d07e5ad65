"""How clients reach the cluster: libpq connection strings through HAProxy, or its pools, always with sslmode=verify-full."""

from __future__ import annotations

from pathlib import Path

from cluster import entry, paths, pooling
from cluster.errors import ClusterError, did_you_mean
from cluster.inventory_files import settings_file
from cluster.topology import Cluster, Host
from cluster.vault import Vault


def open_vault(cluster: Cluster) -> Vault:
    """The cluster's secrets. Raises ClusterError where there are none: before the first deploy, which makes them, and where
    somebody else has deployed."""
    vault = Vault(cluster)
    if not vault.existed:
        raise ClusterError(
            f"{vault.directory} holds no secrets: the first deploy of a new cluster makes them (`pyinfra {cluster.inventory}"
            " deploy.py`); those of one that lives already are where it was deployed from: copy that directory from there, or"
            " from a backup"
        )
    return vault


def port(cluster: Cluster, *, read_only: bool, pooled: bool) -> int:
    """The port of every proxy host for writes or reads. Raises ClusterError where there are no pools."""
    route: pooling.Route = "read" if read_only else "write"
    if pooled and not cluster.pooler_hosts:
        where = settings_file(cluster.inventory, "haproxy")
        raise ClusterError(f"--pooled: pooling = False, so no connections are pooled: set it in {where}, and deploy")
    return pooling.port(cluster, route) if pooled else pooling.behind(cluster, route)


def places(cluster: Cluster, *, through: Host | None = None, by_address: bool = False) -> tuple[tuple[str, str], ...]:
    """Where clients connect, by name and address: every proxy host, or the one host `through`, or `by_address` whichever has the
    virtual one. Raises ClusterError where there is no such address."""
    if not by_address:
        return tuple((host.name, host.address) for host in ((through,) if through else cluster.haproxy_hosts))
    if not cluster.entry_hosts:
        where = settings_file(cluster.inventory, "haproxy")
        raise ClusterError(f"--address: proxy_address = None, so there is no such address: set it in {where}, and deploy")
    called, *_ = entry.names(cluster)
    return ((called, str(cluster.haproxy.proxy_address)),)


def parameters(
    cluster: Cluster,
    *,
    database: str,
    role: str,
    read_only: bool = False,
    through: Host | None = None,
    pooled: bool = False,
    by_address: bool = False,
) -> dict[str, str]:
    """libpq's connection parameters, without the password; through every HAProxy, or the one host `through`, or `by_address`
    whichever has the virtual one; `pooled`, through PgBouncer there.

    Each HAProxy is named and given by address: the name is what the certificate is checked for, and no DNS is needed.
    """
    number = port(cluster, read_only=read_only, pooled=pooled)
    there = places(cluster, through=through, by_address=by_address)
    authority = Path(cluster.all.secrets_directory) / cluster.name / "postgres-ca.crt"
    # Whoever passes for the server can't get at the password, nor pass it on (SCRAM over this very TLS session). PgBouncer
    # refuses it, as it ends the session itself.
    bound = {} if pooled else {"channel_binding": "require"}
    return {
        "host": ",".join(name for name, _ in there),
        "hostaddr": ",".join(address for _, address in there),
        "port": ",".join(str(number) for _ in there),
        "dbname": database,
        "user": role,
        "sslmode": "verify-full",
        **bound,
        "sslrootcert": str(authority.resolve()),
    }


def application(
    cluster: Cluster,
    *,
    role: str | None,
    database: str | None,
    read_only: bool,
    pooled: bool = False,
    by_address: bool = False,
) -> dict[str, str]:
    """The parameters for an application role. Without a name, the first database of the settings (of those that the role owns,
    where it is named) and its owner. Raises ClusterError for a role or database that is not in the settings."""
    of_role = [one for one in cluster.postgres.databases if role in (None, one.owner)]
    first = next(iter([one for one in of_role if database in (None, one.name)] or of_role or cluster.postgres.databases), None)
    if first is None and not (role and database):
        raise ClusterError("there is no database in postgres_databases: name --role and --database")
    role, database = role or (first.owner if first else ""), database or (first.name if first else "")
    known = {
        "role": (role, [r.name for r in cluster.postgres.roles]),
        "database": (database, [d.name for d in cluster.postgres.databases]),
    }
    problems = [
        f"--{what}: no {what} is called {name!r}{did_you_mean(name, names)}: postgres_{what}s has {', '.join(names) or 'none'}"
        for what, (name, names) in known.items()
        if name not in names
    ]
    if problems:
        raise ClusterError("\n".join(problems))
    if pooled and any(one.replication for one in cluster.postgres.roles if one.name == role):
        raise ClusterError(f"--pooled: {role!r} may replicate (postgres_roles), and no such role comes through the pools")
    return parameters(cluster, database=database, role=role, read_only=read_only, pooled=pooled, by_address=by_address)


def probe(
    cluster: Cluster,
    through: Host | None = None,
    *,
    read_only: bool = False,
    pooled: bool = False,
    by_address: bool = False,
) -> dict[str, str]:
    """The parameters of the tool's own role and database, without the password."""
    return parameters(
        cluster, database=paths.PROBE_DATABASE, role=paths.PROBE_ROLE, read_only=read_only, through=through, pooled=pooled,
        by_address=by_address,
    )  # fmt: skip


def as_string(values: dict[str, str]) -> str:
    """libpq's `key=value` form, quoted where needed."""
    return " ".join(f"{key}={_quoted(value)}" for key, value in values.items())


def _quoted(value: str) -> str:
    if value and not set(value) & set(" '\\"):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
