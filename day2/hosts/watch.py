"""Follows what changes on several hosts while something happens to the cluster, all on the operator's clock."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import paramiko

from agents.sent import shipped
from cluster import paths
from cluster.topology import Cluster, Host
from health.questions import etcd_question, postgres_question

from . import journal
from .ssh import LOST, Fleet, UnreachableError

CLOCK_ROUNDS = 7
CLOCK_SECONDS = 5


@dataclass(frozen=True)
class Event:
    """Something a host saw: at `at` (seconds of the operator's monotonic clock), `what` became `value`.

    leader     the name in the leader key, or None when it is gone (seen in etcd)
    sync       who may vote, as Patroni's text in that key; only where asked for
    status     how far the primary is, written at the beginning of each of Patroni's rounds there; only where asked for
    etcd       whether the etcd member there answers
    primary    True when PostgreSQL there is out of recovery, False when in it, None when it does not answer
    streaming  the names of the replicas that stream from it
    routed     the servers HAProxy sends writes to; None when HAProxy does not answer
    reads      the servers HAProxy sends reads to; None when it does not answer
    failing    those (`write/db1`) whose checks fail though HAProxy still sends there
    log        a line that tells something: {"unit": ..., "text": ...}
    """

    at: float
    host: str
    what: str
    value: Any


class Watch:
    """A watcher on each host, from `with` to the end of the block. A host that can't be reached is left out.

    `asked` says what to watch on a host: the argument of agents/sent/watcher.py; without it, all that the host's roles have.
    """

    def __init__(
        self, fleet: Fleet, cluster: Cluster, hosts: Iterable[Host], asked: Callable[[Host], dict[str, Any]] | None = None
    ) -> None:
        self._fleet, self._hosts = fleet, tuple(hosts)
        self._asked = asked or partial(watches, cluster)
        self._channels: list[paramiko.Channel] = []
        self._events: list[Event] = []

    def __enter__(self) -> Self:
        threads = [threading.Thread(target=self.add, args=(host,)) for host in self._hosts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self

    def __exit__(self, *error: object) -> None:
        for channel in self._channels:
            channel.close()

    @property
    def events(self) -> tuple[Event, ...]:
        """All so far, in order of time."""
        return tuple(sorted(self._events, key=lambda event: event.at))

    def add(self, host: Host) -> None:
        """Watches one more host."""
        command, source = shipped("watcher", self._asked(host))
        with suppress(UnreachableError, *LOST, ValueError):
            channel = self._fleet.start(host.name, command)
            self._channels.append(channel)
            channel.settimeout(CLOCK_SECONDS)
            channel.sendall(source.encode())
            lines = channel.makefile("r")
            ahead, early = _compare_clocks(channel, lines)
            channel.settimeout(None)
            reader = threading.Thread(target=self._read, args=(host.name, lines, ahead, early), daemon=True)
            reader.start()

    def since(self, at: float) -> tuple[Event, ...]:
        """Those from the monotonic time `at` on."""
        return tuple(event for event in self.events if event.at >= at)

    def _read(self, host: str, lines: Iterable[str], ahead: float, early: list[str]) -> None:
        with suppress(*LOST, ValueError):
            for line in itertools.chain(early, lines):
                said = json.loads(line)
                self._events.append(Event(said["t"] - ahead, host, said["what"], said["value"]))


def watches(cluster: Cluster, host: Host) -> dict[str, Any]:
    """What to watch on a host, by its roles: the argument of agents/sent/watcher.py."""
    asked: dict[str, Any] = {"journal": {"units": journal.selections()}}
    if host in cluster.etcd_hosts:
        asked["etcd"] = etcd_question(cluster, host)
    if host in cluster.postgres_hosts:
        asked["postgres"] = postgres_question(cluster)
    if host in cluster.haproxy_hosts:
        asked["haproxy"] = {"socket": paths.HAPROXY_SOCKET}
    return asked


def _compare_clocks(channel: paramiko.Channel, lines: Any) -> tuple[float, list[str]]:
    """How far the host's monotonic clock is ahead of ours, by the quickest of several rounds, and what it told meanwhile."""
    best, ahead, early = float("inf"), 0.0, []
    for _ in range(CLOCK_ROUNDS):
        asked = time.monotonic()
        channel.sendall(b"\n")
        while (said := json.loads(lines.readline()))["what"] != "pong":
            early.append(json.dumps(said))
        answered = time.monotonic()
        if answered - asked < best:
            best, ahead = answered - asked, said["t"] - (asked + answered) / 2
    return ahead, early
