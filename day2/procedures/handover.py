"""A switchover through Patroni, with the other replicas following the new leader without Patroni's pause."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import paramiko

from agents.sent import shipped
from cluster import paths
from cluster.topology import Cluster
from day2.hosts.patroni_api import Patroni
from day2.hosts.ssh import Fleet, UnreachableError
from health.questions import tls

READY_SECONDS = 5
# Patroni says that the role is handed over when the candidate holds the leader key: its promotion takes a moment more.
FOLLOW_SECONDS = 5
SECONDS = 60


def hand_over(fleet: Fleet, cluster: Cluster, patroni: Patroni, leader: str, to: str) -> None:
    """Makes `to` the primary in place of `leader`, and returns when it is. Raises ClusterError with Patroni's refusal."""
    others = [host.name for host in cluster.postgres_hosts if host.name not in (leader, to)]
    with followers(fleet, cluster, others, leader, to):
        patroni.send(leader, "POST", "/switchover", {"leader": leader, "candidate": to})


@contextmanager
def followers(fleet: Fleet, cluster: Cluster, replicas: list[str], leader: str, to: str) -> Iterator[None]:
    """agents/sent/follow.py, waiting on the replicas. They only make it quicker: one that can't be started is left out."""
    argument = {
        "url": f"{cluster.host(to).url_address}:{cluster.postgres.patroni_port}",
        "tls": tls(paths.PATRONI_TLS),
        "data": cluster.postgres.data_directory,
        "old": cluster.host(leader).address,
        "new": cluster.host(to).address,
        "seconds": SECONDS,
    }
    command, source = shipped("follow", argument)
    channels: list[paramiko.Channel] = []
    try:
        for replica in replicas:
            with suppress(UnreachableError, OSError):
                channel = fleet.start(replica, command)
                channels.append(channel)
                channel.settimeout(READY_SECONDS)
                channel.sendall(source.encode())
                channel.makefile("r").readline()
        yield
        deadline = time.monotonic() + FOLLOW_SECONDS
        for channel in channels:
            channel.status_event.wait(max(0.0, deadline - time.monotonic()))
    finally:
        for channel in channels:
            channel.close()
