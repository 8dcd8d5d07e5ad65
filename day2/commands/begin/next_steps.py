"""`invoke next-steps`: what to try on a cluster that stands."""

from __future__ import annotations

from cluster.topology import Cluster
from day2.ui.console import FINE


def next_steps(cluster: Cluster) -> int:
    """Prints it; what is for a lab's hosts only on a lab."""
    port = cluster.haproxy.stats_port
    pages = " ".join(f"https://{host.url_address}:{port}/" for host in cluster.haproxy_hosts)
    victim = cluster.postgres_hosts[0]
    in_lab = (victim.settings.power_off or "").startswith("invoke lab.off")
    switched = all(host.settings.power_off for host in cluster.postgres_hosts)
    fault = "" if switched else " --fault kill"
    print(f"""
Cluster {cluster.name} is up. What to try next:

    invoke status                   the whole cluster on one screen
    invoke psql                     a session as an application has it; --read-only for the replicas
    invoke dsn                      the connection string for your application
    {f"invoke failover-test{fault}":<31} lose the primary under load, and count what was lost
    invoke secrets --name haproxy_stats
                                    the password for user admin on {pages}
    invoke --list                   all commands
""")
    if in_lab:
        print(f"""\
In the lab a host's power and network cable are yours: `invoke lab.off {victim.name}`, `invoke status`,
`invoke lab.on {victim.name}`. `invoke lab.down` removes the lab.
""")
    elif not switched:
        print("""\
With power_off and power_on of each host in the inventory, `invoke failover-test` cuts a host's power, as losing it would.
""")
    return FINE
