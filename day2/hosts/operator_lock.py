"""Takes the operator lock of cluster/lock.py, on every database host that answers."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import paramiko

from cluster import lock
from cluster.errors import ClusterError
from cluster.topology import Cluster

from .ssh import LOST, Fleet, UnreachableError

ANSWER_SECONDS = 10


@contextmanager
def held(fleet: Fleet, cluster: Cluster, doing: str) -> Iterator[None]:
    """Holds the lock while the block runs. Raises ClusterError, naming who holds it, when somebody else does.

    A host that does not answer is left out: the lock is needed most when hosts are lost. Hosts are asked in order of
    name, so of two operators who begin at the same moment, the first host lets one through.
    """
    channels: dict[str, paramiko.Channel] = {}
    silent: list[str] = []
    released = threading.Event()
    try:
        line = lock.owner(doing)
        for host in cluster.postgres_hosts:
            try:
                channels[host.name] = _take(fleet, host.name, line)
            except (UnreachableError, *LOST) as error:
                silent.append(f"  - {host.name}: {error or 'no answer'}")
        if not channels:
            raise ClusterError("\n".join(["no database host answers, nothing was touched:", *silent]))
        heart = threading.Thread(target=_heartbeats, args=(fleet, channels, line, released), daemon=True)
        heart.start()
        try:
            yield
        finally:
            released.set()
            heart.join(ANSWER_SECONDS)
    finally:
        for channel in list(channels.values()):
            channel.close()


def _take(fleet: Fleet, host: str, line: str) -> paramiko.Channel:
    channel = fleet.start(host, lock.holder_command(line))
    channel.settimeout(ANSWER_SECONDS)
    answer = channel.makefile("r").readline().strip()
    if answer == lock.HELD:
        return channel
    problem = answer or channel.makefile_stderr("rb").read().decode(errors="replace").strip()
    channel.close()
    why = fleet.denial(host, problem)
    raise ClusterError(f"{host}: {why}" if why else lock.refusal(host, problem))


def _heartbeats(fleet: Fleet, channels: dict[str, paramiko.Channel], line: str, released: threading.Event) -> None:
    """A line to each holder in every interval. One that died with its host is replaced when that is back."""
    while not released.wait(lock.HEARTBEAT_SECONDS):
        for host, channel in list(channels.items()):
            try:
                if channel.closed:
                    raise OSError
                channel.sendall(b"\n")
            except LOST:
                with suppress(ClusterError, *LOST):
                    channels[host] = _take(fleet, host, line)


def in_words(line: str) -> str:
    """The line of whoever holds the lock, for a person."""
    try:
        by = json.loads(line)
        return f"{by['who']} is changing this cluster ({by['doing']}, since {by['since']}, from {by['directory']})"
    except (ValueError, KeyError, TypeError):
        return "somebody is changing this cluster"
