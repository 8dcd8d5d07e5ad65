"""What a host is asked for a ClusterView: the argument of the collector (agents/sent/collector.py). Pure.

reading.py reads the answer.
"""

from __future__ import annotations

from typing import Any

from cluster import own_roles, paths, pooled_roles, pooling
from cluster.components import BACKUP_TIMERS, BACKUP_TYPES, CLONE_UNIT, DRILL_TIMER, DRILL_UNIT
from cluster.databases import wanted_databases
from cluster.dynamic_config import postgres_parameters
from cluster.topology import Cluster, Host

from .view import UNITS

# For how long pgBackRest may look into a directory of its host, and into a store elsewhere.
DIRECTORY_SECONDS, STORE_SECONDS = 2.2, 3.5


def questions(cluster: Cluster, host: Host) -> dict[str, dict[str, Any]]:
    """What to ask a host for, by its roles: for each part its arguments."""
    asked: dict[str, dict[str, Any]] = {
        "units": {"names": list(UNITS)},
        "packages": {"names": list(cluster.packages(host))},
        "libraries": {"units": list(UNITS)},
        "marker": {"path": paths.MARKER},
        "layout": {"path": paths.LAYOUT},
        "last_deploy": {"path": paths.LAST_DEPLOY},
        "edited": {"path": paths.MANIFEST},
        "operator": {"path": paths.LOCK},
    }
    if cluster.all.firewall:
        asked["firewall"] = {"table": paths.FIREWALL_TABLE, "note": paths.FIREWALL_NOTE}
    directories, data = [], []
    if host in cluster.etcd_hosts:
        asked["etcd"] = etcd_question(cluster, host)
        directories.append(paths.ETCD_TLS)
        data.append(cluster.etcd.data_directory)
    if host in cluster.postgres_hosts:
        asked["patroni"] = {"url": f"{host.url_address}:{cluster.postgres.patroni_port}", "tls": tls(paths.PATRONI_TLS)}
        asked["postgres"] = postgres_question(cluster)
        asked["locks"] = {"path": paths.LOCK_HOLDERS}
        asked["salvage"] = {"path": paths.salvage(cluster.postgres.data_directory)}
        asked["watchdog"] = {"device": paths.WATCHDOG, "unit": "patroni.service"}
        left = paths.of_failed_starts(cluster.postgres.data_directory, cluster.postgres.wal_directory)
        asked["failed_starts"] = {"paths": left}
        asked["restoring"] = {"path": paths.RESTORING}
        asked["old_data"] = {"paths": paths.of_data(cluster.postgres.data_directory, cluster.postgres.wal_directory)}
        directories.append(paths.PATRONI_TLS)
        data += [one for one in (cluster.postgres.data_directory, cluster.postgres.wal_directory) if one]
        data.append(f"{cluster.postgres.data_directory}/pg_wal")  # where the settings had it, until the data is made anew
    if host in cluster.haproxy_hosts:
        asked["haproxy"] = {"socket": paths.HAPROXY_SOCKET}
        asked["hold"] = {"path": paths.HOLD_NOTE}
        directories.append(paths.HAPROXY_TLS)
    if host in cluster.pooler_hosts:
        asked["pgbouncer"] = pooler_question(cluster)
        more = [one.unit for one in pooling.processes(cluster) if one.unit not in UNITS]
        asked["units"]["names"] += more
        asked["libraries"]["units"] += more
        directories.append(paths.POOL_TLS)
    if host in cluster.entry_hosts:
        asked["keepalived"] = {"address": str(cluster.haproxy.proxy_address)}
    if host in cluster.backup_hosts:
        asked["pgbackrest"] = backup_question(cluster)
        data += [cluster.backup.directory] if any(not place.elsewhere for place in cluster.repositories) else []
    if host in cluster.pgbackrest_hosts:
        directories.append(paths.BACKUP_TLS)
        if host not in cluster.backup_hosts:
            asked["drilled"] = {"path": f"{cluster.drill_directory(host)}/results", "cluster": cluster.name}
        data.append(cluster.drill_directory(host))  # which may be on a disk of its own
    asked["disks"] = {"paths": [*data, paths.JOURNALS]}
    asked["certificates"] = {"directories": directories}
    return asked


def etcd_question(cluster: Cluster, host: Host) -> dict[str, Any]:
    """How to reach the etcd member on `host` from there, and where Patroni's keys are in it."""
    return {
        "url": f"{host.url_address}:{cluster.etcd.client_port}",
        "tls": tls(paths.ETCD_TLS),
        "prefix": f"/service/{cluster.name}/",
        "ours": f"/pgquorum/{cluster.name}/",
        "reads": list(paths.ETCD_READS),
    }


def postgres_question(cluster: Cluster) -> dict[str, Any]:
    """How to reach PostgreSQL from its own host."""
    psql = f"{paths.postgres_binaries(cluster.postgres.version)}/psql"
    return {
        "psql": psql,
        "sockets": paths.POSTGRES_SOCKETS,
        "port": cluster.postgres.port,
        "parameters": list(postgres_parameters(cluster)),
        "wal": f"{cluster.postgres.data_directory}/pg_wal",
        "own_roles": own_roles.LIVE,
        "roles": [role.name for role in cluster.postgres.roles],
        "databases": list(wanted_databases(cluster)),
        "pooled": list(pooled_roles.in_file(cluster) if cluster.pooler_hosts else ()),
    }


def pooler_question(cluster: Cluster) -> dict[str, Any]:
    """How to reach the console of each process of PgBouncer from its own host, and where the verifiers are that it knows."""
    found = {one.name: {"socket": one.directory, "port": pooling.port(cluster, one.route)} for one in pooling.processes(cluster)}
    return {"user": paths.POOL_USER, "processes": found, "users": paths.POOL_USERS}


def backup_question(cluster: Cluster) -> dict[str, Any]:
    """How to ask for the backups on the host that keeps them, and for the units that make them."""
    return {
        "repositories": {
            place.name: paths.pgbackrest(cluster.name, paths.BACKUP_USER, f"--repo={place.number} --output=json info")
            for place in cluster.repositories
        },
        "seconds": STORE_SECONDS if cluster.stores_elsewhere else DIRECTORY_SECONDS,
        "version": f"runuser -u {paths.BACKUP_USER} -- pgbackrest version",
        "runs": {**{kind: f"pgquorum-backup@{kind}.service" for kind in BACKUP_TYPES}, "drill": DRILL_UNIT},
        "begun": paths.BACKUP_BEGUN,
        "timers": [*BACKUP_TIMERS.values(), *([DRILL_TIMER] if cluster.backup.drill_schedule else [])],
        "here": cluster.directory_repository,
        "archive": f"{cluster.backup.directory}/archive/{cluster.name}",
        "stanza": cluster.name,
        "ask": {
            place.name: paths.pgbackrest(cluster.name, paths.BACKUP_USER, f"--repo={place.number}")
            for place in cluster.repositories
        },
        "drills": f"{paths.drill(cluster.backup.directory)}/results",
        "clone": paths.clone(paths.drill(cluster.backup.directory)),
        "clone_unit": CLONE_UNIT,
    }


def judge_question(cluster: Cluster) -> dict[str, Any]:
    """The argument of agents/sent/judge.py: whether PostgreSQL would start on a host."""
    return {
        "binaries": paths.postgres_binaries(cluster.postgres.version),
        "data": cluster.postgres.data_directory,
        "version": cluster.postgres.version,
        "sockets": paths.POSTGRES_SOCKETS,
        "port": cluster.postgres.port,
    }


def tls(directory: str) -> dict[str, str]:
    return {"ca": f"{directory}/ca.crt", "cert": f"{directory}/server.crt", "key": f"{directory}/server.key"}
