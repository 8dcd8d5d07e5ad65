"""What every task begins with that changes a running cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from cluster.topology import Cluster
from health.view import ClusterView

from . import operator_lock
from .dsn import open_vault
from .observe import observe
from .patroni_api import PatroniApi
from .ssh import Fleet


@contextmanager
def changing(cluster: Cluster, doing: str, *, dry: bool = False) -> Iterator[tuple[Fleet, PatroniApi, ClusterView]]:
    """Connections, the operator lock, and a view of the cluster that is about to be changed; `dry` goes without the lock."""
    password = open_vault(cluster).password("rest_api")
    with Fleet(cluster.hosts) as fleet, nullcontext() if dry else operator_lock.held(fleet, cluster, doing):
        yield fleet, PatroniApi(fleet, cluster, password), observe(fleet, cluster)
