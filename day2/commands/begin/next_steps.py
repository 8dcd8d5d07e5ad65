"""`invoke next-steps`: what to try on a cluster that stands, as far as this one has what it takes."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cluster.topology import Cluster
from day2.ui.console import EXIT_OK

COLUMN = 32
# How the power switch of a lab's host begins: what the inventory has of a lab, and other clusters have not.
LAB = "invoke lab."


def next_steps(cluster: Cluster) -> int:
    """Prints the commands to try on this cluster, and what is missing for more. Always 0."""
    print(f"\nCluster {cluster.name}. What to try next:\n")
    for command, what in commands(cluster):
        # What would not fit goes into a line of its own.
        head = f"{command:<{COLUMN}}" if len(command) < COLUMN else f"{command}\n    {'':{COLUMN}}"
        print(f"    {head}{what}")
    print()
    for sentence in notes(cluster):
        print(sentence)
    return EXIT_OK


def commands(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """Each command and what it does."""
    yield "invoke status", "the whole cluster on one screen; --watch to keep it there"
    if cluster.postgres.databases:
        yield "invoke psql", "a session as an application has it; --read-only for the replicas"
        yield "invoke dsn", "the connection string for your application"
    if len(cluster.postgres_hosts) > 1:
        yield "invoke switchover", "hand the primary's role to a replica, and see how long writes pause"
        if has_power_switches(cluster):
            yield "invoke failover-test", "cut the power of the primary's host under load"
        else:
            yield "invoke failover-test --fault kill", "kill PostgreSQL and Patroni on the primary under load"
    pages = " ".join(f"https://{host.url_address}:{cluster.haproxy.stats_port}/" for host in cluster.haproxy_hosts)
    yield "invoke secrets --name haproxy_stats", f"the password for user admin on {pages}"
    yield "invoke --list", "all commands"


def notes(cluster: Cluster) -> Iterator[str]:
    """What is missing for more, and what a lab has besides."""
    victim = cluster.postgres_hosts[0].settings
    if not cluster.postgres.databases:
        yield "For a database of your application, set postgres_roles and postgres_databases, and deploy again."
    if not has_power_switches(cluster):
        yield f"With power_off and power_on in {cluster.inventory} a failover test can cut the power of a host, too."
    elif (victim.power_off or "").startswith(LAB):
        yield f"In the lab a host's power is yours: `{victim.power_off}`, `invoke status`, `{victim.power_on}`."
        named = re.search(r" --name \S+", victim.power_off or "")
        yield f"`invoke lab.down{named[0] if named else ''}` removes the lab."


def has_power_switches(cluster: Cluster) -> bool:
    """Whether the power of each database host can be cut and given back."""
    return all(host.settings.power_off and host.settings.power_on for host in cluster.postgres_hosts)
