"""A host's own PostgreSQL, asked by its socket as its superuser."""

from __future__ import annotations

from cluster import paths
from cluster.errors import ClusterError
from cluster.topology import Cluster

from .ssh import Fleet

ANSWER_SECONDS = 60


def command(cluster: Cluster, database: str = "postgres") -> str:
    """The command line on the host; statements are its input."""
    program = f"{paths.postgres_binaries(cluster.postgres.version)}/psql -XAtq -v ON_ERROR_STOP=1"
    return f"runuser -u postgres -- {program} -h {paths.POSTGRES_SOCKETS} -p {cluster.postgres.port} -d {database}"


def psql(fleet: Fleet, cluster: Cluster, host: str, query: str, seconds: float = ANSWER_SECONDS) -> str:
    """What PostgreSQL on `host` answers to a query, as psql prints it unaligned. Raises ClusterError, with its words."""
    answer = fleet.run(host, command(cluster), query, seconds)
    if not answer.ok:
        raise ClusterError(f"{host}: PostgreSQL says: {answer.problem}")
    return answer.output.strip()
