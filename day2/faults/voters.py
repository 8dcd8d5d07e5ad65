"""When somebody is taken off the list of those who may vote, and when Patroni's next round is due: seen in etcd at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from math import inf
from typing import Any, Self

from cluster.errors import ClusterError
from cluster.topology import Host
from day2.hosts.watch import Watch
from health.dcs import parse_dcs
from health.questions import etcd_question

from .fault import FaultContext

POLL_SECONDS = 0.005
# From when the watch is asked for until it has told how things are.
START_SECONDS = 10


class Voters:
    """A watch of Patroni's keys in etcd through the member on host `by`, which stays, from `with` to the end of the block.

    Raises ClusterError when it can't be had.
    """

    def __init__(self, context: FaultContext, by: Host) -> None:
        self._context, self._by = context, by
        self._watch = Watch(context.fleet, context.cluster, [by], self._asked)

    def _asked(self, host: Host) -> dict[str, Any]:
        return {"etcd": {**etcd_question(self._context.cluster, host), "keys": ["sync", "status"]}}

    def __enter__(self) -> Self:
        self._watch.__enter__()
        if not _wait(lambda: bool(self._watch.events), START_SECONDS):
            self._watch.__exit__()
            raise ClusterError(f"etcd on {self._by.name} can't be watched")
        return self

    def __exit__(self, *error: object) -> None:
        self._watch.__exit__()

    def await_round(self, ahead: float) -> None:
        """Waits until about `ahead` seconds before the primary's next round of Patroni. A round begins with a new `status`."""
        asked, round_seconds = time.monotonic(), self._context.timing.loop_wait
        began = asked

        def has_begun() -> bool:
            nonlocal began
            began = next((event.at for event in self._watch.since(asked) if event.what == "status"), asked)
            return began > asked

        _wait(has_begun, 2 * round_seconds)
        time.sleep(max(0.0, began + round_seconds - ahead - time.monotonic()))

    def await_gone(self, name: str, leaving: Future[None], seconds: float) -> bool:
        """Whether `name` is taken off the list while it is `leaving`, or so many seconds after. Raises what that raises."""
        since, left = time.monotonic(), inf
        while not any(event.what == "sync" and name not in voters(event.value) for event in self._watch.since(since)):
            if leaving.done() and left == inf:
                leaving.result()
                left = time.monotonic()
            if time.monotonic() > left + seconds:
                return False
            time.sleep(POLL_SECONDS)
        return True


def voters(text: str | None) -> tuple[str, ...]:
    """Who may vote, from Patroni's own text; nobody where the key is gone."""
    return parse_dcs({"sync": text or ""}).voters


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether a condition came true within so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
