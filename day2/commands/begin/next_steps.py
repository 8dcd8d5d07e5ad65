"""`invoke next-steps`: what to try on a cluster that stands."""

from __future__ import annotations

from cluster.topology import Cluster
from day2.ui.console import FINE


def next_steps(cluster: Cluster) -> int:
    """Prints it."""
    port = cluster.haproxy.stats_port
    pages = " ".join(f"https://{host.url_address}:{port}/" for host in cluster.haproxy_hosts)
    victim = cluster.postgres_hosts[0].name
    print(f"""
Cluster {cluster.name} is up. What to try next:

    invoke status                   the whole cluster on one screen
    invoke psql                     a session as an application has it; --read-only for the replicas
    invoke dsn                      the connection string for your application
    invoke failover-test            lose the primary under load, once more
    invoke secrets --name haproxy_stats
                                    the password for user admin on {pages}
    invoke --list                   all commands

In the lab a host's power and network cable are yours: `invoke lab.off {victim}`, `invoke status`, `invoke lab.on {victim}`.
`invoke lab.down` removes the lab.
""")
    return FINE
