"""Sees to it that HAProxy sends writes to one server, as soon as another one leads: on each proxy host, beside HAProxy.

By itself HAProxy leaves a primary when so many checks of it have failed in a row, which gives a Patroni that died the time to
come back. Until then it has two servers when another one leads already, and new connections may get to the wrong one, where they
wait for a host that is gone. With another one there, there is nothing to give it time for.
"""

from __future__ import annotations

import json
import ssl
import sys
import threading
import time
from collections.abc import Callable, Mapping
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
    """What the deploy tells this host: HAProxy's admin `socket`, each server's name to where its Patroni is, and the files by
    which that is known (`ca`) and knows this host (`client`, certificate and key)."""

    socket: str
    patroni: dict[str, str]
    ca: str
    client: str

    @classmethod
    def read(cls, file: str) -> Proxy:
        """Raises OSError, and ValueError or TypeError for a file that is none of the deploy's."""
        return cls(**json.loads(Path(file).read_text(encoding="utf-8")))


def losers(states: Mapping[str, str], timelines: Callable[[list[str]], Mapping[str, int]]) -> list[str]:
    """Which servers get no writes any more. `states` are HAProxy's own words for servers, such as UP, or `UP 2/3` where checks
    have begun to fail; `timelines` asks those that are named, and leaves out who is no primary, or does not answer."""
    sure = [name for name, state in states.items() if state == "UP"]
    failing = [name for name, state in states.items() if state.startswith("UP ")]
    if not sure:
        return []
    if len(sure) == 1:
        return failing
    told = timelines(sure)
    newest = max(told.values(), default=0)
    return [*failing, *(name for name in sure if told.get(name, newest) < newest)]


def timeline(said: Mapping[str, object]) -> int | None:
    """Of GET /patroni: that of a primary."""
    number = said.get("timeline")
    return number if said.get("role") == "primary" and isinstance(number, int) else None


class Members:
    """The servers' Patronis."""

    def __init__(self, patroni: Mapping[str, str], tls: ssl.SSLContext) -> None:
        self._patroni, self._tls = patroni, tls

    def timelines(self, names: list[str]) -> dict[str, int]:
        """All are asked at once."""
        found: dict[str, int] = {}

        def ask(name: str) -> None:
            with suppress(OSError, ValueError, https.StatusError):
                number = timeline(https.ask(self._patroni[name], "/patroni", None, self._tls, MEMBER_SECONDS))
                if number:
                    found[name] = number

        threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in names if name in self._patroni]
        for one in threads:
            one.start()
        for one in threads:
            one.join(MEMBER_SECONDS)
        return dict(found)


def main(proxy: Proxy) -> int:
    """Goes on for ever."""
    haproxy = HAProxy(proxy.socket, FRONTEND, BACKEND)
    members = Members(proxy.patroni, https.tls_context(proxy.ca, proxy.client, proxy.client))
    said = ""
    while True:
        try:
            for name in losers(haproxy.states(), members.timelines):
                haproxy.change(f"set server {BACKEND}/{name} health down")
                print(f"no more writes to {name}: another one leads", file=sys.stderr, flush=True)
            said = ""
            time.sleep(LOOK_SECONDS)
        except OSError as error:  # it may be starting
            if str(error) != said:
                said = str(error)
                print(f"HAProxy can't be asked: {error}", file=sys.stderr, flush=True)
            time.sleep(ERROR_SECONDS)
