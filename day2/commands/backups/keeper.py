"""Who keeps the backups of a cluster."""

from __future__ import annotations

from cluster.errors import ClusterError
from cluster.topology import Cluster, Host


def keeper(cluster: Cluster) -> Host:
    """The host of group `backup`. Raises ClusterError where there is none."""
    if not cluster.backup_hosts:
        raise ClusterError(f"group 'backup' of {cluster.inventory} has no host, so there are no backups (docs/settings.md)")
    return cluster.backup_hosts[0]
