"""A replica that gets no new reads, on every proxy host (agents/sent/drain.py), for as long as the operator is there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import paramiko

from agents.sent import shipped
from cluster import lock, paths
from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.hosts.ssh import LOST, Fleet, UnreachableError

from .hold import pools_of

READY_SECONDS = 20


@contextmanager
def drained(fleet: Fleet, cluster: Cluster, host: str, *, rebooted: bool = False) -> Iterator[None]:
    """No HAProxy gives `host` new reads in the block; where that is to be `rebooted`, none but its own, which goes with it.
    Raises ClusterError where that can't be had, or not be undone."""
    channels: dict[str, paramiko.Channel] = {}
    over = threading.Event()
    heart = threading.Thread(target=_heartbeats, args=(channels, over), daemon=True)
    try:
        for proxy in cluster.haproxy_hosts:
            if rebooted and proxy.name == host:
                continue
            channels[proxy.name] = _start(fleet, proxy.name, host)
        heart.start()
        yield
    finally:
        over.set()
        for channel in channels.values():
            with suppress(*LOST):
                channel.shutdown_write()
        left = [name for name, channel in channels.items() if not _ended_well(channel)]
        for channel in channels.values():
            channel.close()
        if left:
            raise ClusterError(f"{host} gets no reads yet from {' and '.join(left)}: `invoke traffic.resume`")


def renew_pools(fleet: Fleet, cluster: Cluster) -> None:
    """The pools of reads, where there are any, begin their connections anew, each when nobody is at work on the old one: nobody
    waits for that (agents/sent/renew.py). Raises ClusterError."""
    pools = pools_of(cluster, "read")
    if not pools:
        return
    command, source = shipped("renew", {"pools": pools, "user": paths.POOL_USER, "timer": paths.RENEW_TIMER})
    answers = fleet.run_all({proxy.name: command for proxy in cluster.pooler_hosts}, source)
    if failed := [f"{answer.host}: {answer.problem}" for answer in answers.values() if not answer.ok]:
        raise ClusterError(f"the pools of reads could not be told to reconnect: {'; '.join(failed)}")


def _start(fleet: Fleet, proxy: str, host: str) -> paramiko.Channel:
    command, source = shipped(
        "drain", {"socket": paths.HAPROXY_SOCKET, "server": f"read/{host}", "silence": lock.SILENCE_SECONDS}
    )
    try:
        channel = fleet.start(proxy, command)
        channel.settimeout(READY_SECONDS)
        channel.sendall(source.encode())
        if channel.makefile("r").readline().strip() == "drained":
            return channel
        problem = channel.makefile_stderr("rb").read().decode(errors="replace").strip()
        channel.close()
    except (UnreachableError, *LOST) as error:
        problem = str(error) or type(error).__name__
    raise ClusterError(f"{proxy}: {host} could not be drained in HAProxy: {problem}")


def _heartbeats(channels: dict[str, paramiko.Channel], over: threading.Event) -> None:
    """A line to each program in every interval, as to those that hold the operator lock: without it they give up."""
    while not over.wait(lock.HEARTBEAT_SECONDS):
        for channel in channels.values():
            with suppress(*LOST):
                channel.sendall(b"\n")


def _ended_well(channel: paramiko.Channel) -> bool:
    return bool(channel.status_event.wait(READY_SECONDS)) and channel.recv_exit_status() == 0
