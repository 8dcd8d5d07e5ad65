"""Under which conditions trials are made: what is wrong with the cluster, which timers and which versions run. Pure."""

from __future__ import annotations

from cluster.timing import Timing
from cluster.topology import Cluster
from health.rules import blocking, findings
from health.view import ClusterView


def problems_of(view: ClusterView, cluster: Cluster) -> tuple[str, ...]:
    """Every problem that the rules find but those of backups and of vacuuming, as sentences."""
    return tuple(map(str, blocking(findings(view, cluster), cluster)))


def live_timing(cluster: Cluster, view: ClusterView) -> Timing:
    """The timers that run now: Patroni's from its own configuration in etcd, the others from the settings."""
    patroni = ("ttl", "loop_wait", "retry_timeout", "primary_start_timeout", "primary_stop_timeout")
    live = view.dcs.config if view.dcs else {}
    return cluster.timing.model_copy(update={key: live[key] for key in patroni if key in live})


def versions(view: ClusterView) -> dict[str, str]:
    """The versions of what runs, as the hosts say."""
    hosts = view.hosts.values()
    found = {
        "postgresql": next((h.postgres.version for h in hosts if h.postgres), None),
        "patroni": next((h.patroni.version for h in hosts if h.patroni), None),
        "etcd": next((h.etcd.version for h in hosts if h.etcd), None),
        "haproxy": next((h.proxy.version for h in hosts if h.proxy), None),
        "pgbouncer": next((h.pooler.version for h in hosts if h.pooler), None),
    }
    return {name: version for name, version in found.items() if version}
