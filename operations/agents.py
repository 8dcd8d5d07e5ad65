"""The programs of ours that run on the database hosts (agents/), and what they are told of the cluster."""

from __future__ import annotations

import json

from cluster import paths

from .context import Run
from .managed import ROOT, Managed, directory

# As they lie in the repository: what they import from it lies beside them.
OURS = ("__init__", "fencing", "quorum", "slots", "drill", "archive", "timelines")
SOURCES = (*(f"cluster/{name}.py" for name in OURS), *(f"agents/{f.name}" for f in sorted((ROOT / "agents").glob("*.py"))))
MAIN = "agents/__main__.py"
# As a rule; where nothing listens, a host's kernel says so, which is an answer, too.
SSH_PORT = 22


def files(run: Run) -> list[Managed]:
    """The programs, and the specification of this host."""
    return [*programs(), Managed(paths.SPECIFICATION, json.dumps(_specification(run), indent=2) + "\n")]


def programs() -> list[Managed]:
    """The files of our programs, with the directories that they are in, without what a host is told of itself."""
    folders = [paths.AGENTS, *sorted({f"{paths.AGENTS}/{source.partition('/')[0]}" for source in SOURCES})]
    return [
        *(directory(folder) for folder in folders),
        *(Managed(_place(source), (ROOT / source).read_text(encoding="utf-8")) for source in SOURCES),
    ]


def programs_written() -> tuple[str, ...]:
    """The paths of the programs, which are read once, when one starts."""
    return tuple(map(_place, SOURCES))


def written() -> tuple[str, ...]:
    """The same, and of what a database host is told."""
    return (*programs_written(), paths.SPECIFICATION)


def _place(source: str) -> str:
    """Where a file of the repository lies on a host. What is started by a directory is called __main__ there."""
    return f"{paths.AGENTS}/__main__.py" if source == MAIN else f"{paths.AGENTS}/{source}"


def _specification(run: Run) -> dict[str, object]:
    """The fields of agents/specification.py, for the host that deploy.py is being loaded for."""
    cluster, me = run.cluster, run.host
    nearest_first = sorted(cluster.etcd_hosts, key=lambda host: host != me)
    return {
        "name": me.name,
        "cluster": cluster.name,
        "etcd": [f"{host.url_address}:{cluster.etcd.client_port}" for host in nearest_first],
        "patroni": {host.name: f"{host.url_address}:{cluster.postgres.patroni_port}" for host in cluster.postgres_hosts},
        "tls": paths.PATRONI_TLS,
        "psql": f"{paths.postgres_binaries(cluster.postgres.version)}/psql",
        "sockets": paths.POSTGRES_SOCKETS,
        "port": cluster.postgres.port,
        "wal": f"{cluster.postgres.data_directory}/pg_wal",
        "logical_slots": bool(cluster.postgres.slots),
        "archives": bool(cluster.backup_hosts),
        "waits_alone": cluster.waits_without_replica,
        "wal_disk": f"{cluster.postgres.wal_directory}/pg_wal" if cluster.postgres.wal_directory else "",
        "archive_command": paths.ARCHIVE_PUSH if cluster.backup_hosts else "",
        "archive_config": paths.BACKUP_CONFIG if cluster.backup_hosts else "",
        **(_guards(run) if cluster.all.fast_failover else {}),
    }


def _guards(run: Run) -> dict[str, object]:
    """What a guard has to know besides (agents/guard.py)."""
    hosts = run.cluster.postgres_hosts
    return {
        "addresses": {host.name: str(host.settings.address) for host in hosts},
        "knock": [run.cluster.etcd.peer_port, SSH_PORT],
    }
