"""A switchover through Patroni, with the other replicas following the new leader without Patroni's pause."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import paramiko

from agents.sent import shipped
from cluster import paths
from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.hosts.patroni_api import PatroniApi, Request
from day2.hosts.psql import command
from day2.hosts.ssh import Fleet, UnreachableError
from health.questions import tls

from .holding import Holding

READY_SECONDS = 5
# Patroni says that the role is handed over when the candidate holds the leader key: its promotion takes a moment more.
FOLLOW_SECONDS = 5
SECONDS = 60
LOOK_SECONDS = 0.01
# One session for all of it: starting another one for each look would take longer than what is waited for. It keeps no snapshot
# that replay would have to wait for, and comes to an end by itself, whatever becomes of psql.
WRITE = """\
until {psql} <<'END'
do $$ begin for n in 1..6000 loop exit when not pg_is_in_recovery(); commit; perform pg_sleep(0.01); end loop; end $$;
insert into probe (run, writer, seq) values (gen_random_uuid(), 0, 0);
END
do sleep 0.1; done
"""


def hand_over(fleet: Fleet, cluster: Cluster, patroni: PatroniApi, leader: str, to: str) -> None:
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


def hand_over_held(fleet: Fleet, cluster: Cluster, patroni: PatroniApi, leader: str, to: str, clients: Holding) -> None:
    """The same while clients wait. All that takes time and can be done before is done before they do.

    Raises HoldGivenUpError when they could not be made to wait, and nothing has changed.
    """
    others = [host.name for host in cluster.postgres_hosts if host.name not in (leader, to)]
    with (
        clients,
        followers(fleet, cluster, others, leader, to),
        writing(fleet, cluster, to) as write,
        patroni.prepared(leader, "POST", "/switchover", {"leader": leader, "candidate": to}) as request,
    ):
        clients.await_short()
        clients.hold()
        clients.still()
        request.send()
        _await_write(write, request, to)
        clients.let_go(to)


@contextmanager
def writing(fleet: Fleet, cluster: Cluster, host: str) -> Iterator[paramiko.Channel]:
    """A session on `host` that waits there until its PostgreSQL is promoted, and then writes: it ends when that write is
    acknowledged. Raises ClusterError."""
    try:
        script = WRITE.format(psql=command(cluster, paths.PROBE_DATABASE))
        with closing(fleet.start(host, f"timeout {SECONDS} sh -c {shlex.quote(script)}")) as channel:
            yield channel
    except UnreachableError as error:
        raise ClusterError(f"{host}: {error}") from None


def _await_write(write: paramiko.Channel, request: Request, host: str) -> None:
    """Returns when the write is acknowledged. Not when Patroni answers, which looks once a second whether the role has changed:
    but what it refuses, it refuses at once. Raises ClusterError."""
    deadline, answered = time.monotonic() + SECONDS, False
    while not write.status_event.wait(LOOK_SECONDS):
        if request.answered and not answered:
            request.result()
            answered = True
        if time.monotonic() > deadline:
            break
    if not write.status_event.is_set() or write.recv_exit_status() != 0:
        raise ClusterError(f"{host}: no write is acknowledged there, {SECONDS} s after the handover (`invoke status`)")
