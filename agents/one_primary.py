"""Sees to it that HAProxy sends writes to one server, as soon as another one leads: on each proxy host, beside HAProxy.

By itself HAProxy leaves a primary when so many checks of it have failed in a row, which gives a Patroni that died the time to
come back. Until then it has two servers when another one leads already, and new connections may get to the wrong one, where they
wait for a host that is gone. With another one there, there is nothing to give it time for.
"""

from __future__ import annotations

import json
import queue
import signal
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agents import https
from agents.proxies import HAProxy

LOOK_SECONDS, ERROR_SECONDS = 0.2, 1.0
MEMBER_SECONDS = 1.0
FRONTEND, BACKEND = "writes", "write"


@dataclass(frozen=True)
class Proxy:
    """What the deploy tells this host: HAProxy's admin `socket`, each server's name to where its Patroni is, how many seconds
    later than the first one the others may answer (`apart`: a host that is gone says nothing, and its clients wait), and the
    files by which Patroni is known (`ca`) and knows this host (`client`, certificate and key)."""

    socket: str
    patroni: dict[str, str]
    apart: float
    ca: str
    client: str

    @classmethod
    def read(cls, file: str) -> Proxy:
        """Raises OSError, and ValueError or TypeError for a file that is none of the deploy's."""
        return cls(**json.loads(Path(file).read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Verdict:
    """Which servers get no writes for now (`down`), which of them are primaries of an earlier time by their own word (`former`),
    and the newest timeline that there is or was."""

    down: tuple[str, ...] = ()
    former: tuple[str, ...] = ()
    newest: int = 0


def verdict(states: Mapping[str, str], timelines: Callable[[list[str]], Mapping[str, int]], newest: int = 0) -> Verdict:
    """`states` are HAProxy's own words for servers, such as UP, or `UP 2/3` where checks have begun to fail; `timelines` asks
    those that are named, and leaves out who is no primary, or does not answer in time; `newest` is what was known before: who
    says nothing now may be the one on it."""
    up = [name for name, state in states.items() if state.startswith("UP")]
    sure = [name for name in up if states[name] == "UP"]
    if len(up) < 2 or not sure:
        return Verdict(newest=newest)
    told = timelines(up)
    newest = max((newest, *told.values()))
    if not any(told.get(name) == newest for name in sure):  # who takes writes has to say so, and not only its check
        return Verdict(newest=newest)
    former = tuple(name for name in up if name in told and told[name] < newest)
    failing = tuple(name for name in up if name not in sure and name not in told)
    return Verdict((*failing, *former), former, newest)


def timeline(said: Mapping[str, object]) -> int | None:
    """Of GET /patroni: that of a primary."""
    number = said.get("timeline")
    return number if said.get("role") == "primary" and isinstance(number, int) else None


class Members:
    """The servers' Patronis. The others may answer so many seconds after the first one (`apart`)."""

    def __init__(self, patroni: Mapping[str, str], tls: ssl.SSLContext, apart: float) -> None:
        self._patroni, self._tls, self._apart = patroni, tls, apart

    def timelines(self, names: list[str]) -> dict[str, int]:
        """Of those that say in time that they are primaries. All are asked at once, and the late again with the next look."""
        answers: queue.SimpleQueue[tuple[str, Mapping[str, object]]] = queue.SimpleQueue()

        def ask(name: str) -> None:
            said: Mapping[str, object] = {}
            with suppress(OSError, ValueError, https.StatusError):
                answer = https.ask(self._patroni[name], "/patroni", None, self._tls, MEMBER_SECONDS)
                said = answer if isinstance(answer, dict) else {}
            answers.put((name, said))

        asked = [name for name in names if name in self._patroni]
        for name in asked:
            threading.Thread(target=ask, args=(name,), daemon=True).start()
        found: dict[str, int] = {}
        until = time.monotonic() + MEMBER_SECONDS
        with suppress(queue.Empty):
            for _ in asked:
                name, said = answers.get(timeout=max(0.0, until - time.monotonic()))
                if said:
                    until = min(until, time.monotonic() + self._apart)
                if number := timeline(said):
                    found[name] = number
        return found


class Route:
    """What HAProxy is told, and what of that is taken back.

    A former primary that says it still is one is drained: put down alone, its checks would bring it back. (Checks that are
    disabled can't be had back: `enable health` makes a server that is up one that gets nothing, where it starts as down.)
    """

    def __init__(self, haproxy: HAProxy, timelines: Callable[[list[str]], Mapping[str, int]]) -> None:
        self._haproxy, self._timelines = haproxy, timelines
        self._newest = 0

    def step(self) -> None:
        """Raises OSError."""
        found = verdict(self._haproxy.states(), self._timelines, self._newest)
        self._newest = found.newest
        for name in found.down:
            if name in found.former:
                self._haproxy.change(f"set server {BACKEND}/{name} state drain")
                self._haproxy.change(f"shutdown sessions server {BACKEND}/{name}")
            else:
                self._haproxy.change(f"set server {BACKEND}/{name} health down")
            print(f"no more writes to {name}: another one leads", file=sys.stderr, flush=True)
        if drained := self._haproxy.drained(BACKEND):
            self.take_back([name for name in drained if not self._timelines([name])])  # one by one: each has its full time

    def take_back(self, names: Iterable[str] | None = None) -> None:
        """Lets HAProxy's checks decide again, of all that are drained or of these. Raises OSError."""
        for name in self._haproxy.drained(BACKEND) if names is None else names:
            self._haproxy.change(f"set server {BACKEND}/{name} state ready")


def main(proxy: Proxy) -> int:
    """Goes on until it is told to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    members = Members(proxy.patroni, https.tls_context(proxy.ca, proxy.client, proxy.client), proxy.apart)
    route = Route(HAProxy(proxy.socket, FRONTEND, BACKEND), members.timelines)
    said, begun = "", False
    try:
        while True:
            try:
                if not begun:  # whatever one before this has left
                    route.take_back()
                    begun = True
                route.step()
                said = ""
                time.sleep(LOOK_SECONDS)
            except OSError as error:  # it may be starting
                if str(error) != said:
                    said = str(error)
                    print(f"HAProxy can't be asked: {error}", file=sys.stderr, flush=True)
                time.sleep(ERROR_SECONDS)
    finally:
        with suppress(OSError):
            route.take_back()
