"""Three faults at once, at the worst moment: one replica lags, the other leaves, and the primary's host is lost.

Writes wait for either replica, so while one lags, what is acknowledged is on the primary and on the other one only. When that
one leaves, Patroni goes on with the laggard alone, and says so in etcd's `/sync`. In that moment the primary's host loses its
power: what is left is a voter that lacks acknowledged writes, and must not lead.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

from cluster.errors import ClusterError
from cluster.topology import Host
from day2.history.writes import Write
from day2.hosts.observe import observe
from day2.predictions import failover
from day2.predictions.prediction import Prediction

from .base import BaseFault, all_of, last_write, lead_etcd_from, no_quorum_without
from .fault import FaultContext
from .lagging import replicas, throttle
from .network import no_nft
from .power import await_successor, cut_power, give_power, no_power_switch
from .script import heal, inject
from .voters import Voters

# How far the laggard must be behind when the other one leaves. Until the leaving is noticed, 10.5 s after a host has lost its
# power, no new writes are acknowledged and it catches up by some 250 kB; with this, about half of the lag is left by then.
LAG_BYTES = 500_000
LAG_SECONDS = 90
# Each look costs the hosts a second of processor time in all, and would slow down the writers.
LOOK_SECONDS = 2
# A crash is mended by systemd within 1.4 s, so it is put before a round of Patroni, which else may never see it.
AHEAD_SECONDS = 0.7
# How much later than after two rounds the list of voters may yet be changed, on a busy machine.
PATIENCE_SECONDS = 2.0
QUORUM = "quorum"
ELSEWHERE = {
    "synchronous": "only the synchronous replica may lead, which is never the one that lags",
    "asynchronous": "acknowledged writes are not promised to survive the loss of the primary's host",
}


class Window(BaseFault):
    """The primary's host, the replica that leaves, and the one that lags, in this order.

    Healing: the laggard gets all its WAL; the one that left comes back; and the primary's host gets its power when another leads,
    or should have by then. A primary that came back first would have every write, and nothing would be tested.
    """

    never_while_lagging = True
    # Whether the replica that leaves comes back by itself.
    returns: ClassVar[bool]
    # How long after it left PostgreSQL on the primary notices.
    silence: ClassVar[float] = 0.0

    def __init__(self, context: FaultContext) -> None:
        super().__init__(context)
        # From when to when the primary's power was being cut; 0.0: it has not been.
        self._cut = self._dead = 0.0

    def targets(self) -> tuple[Host, ...]:
        return (self.context.primary, *replicas(self.context)[:2])

    def without_power(self) -> tuple[Host, ...]:
        """The targets that lose their power."""
        return self.hosts[:1]

    @property
    def leaving(self) -> Host:
        """The host of the replica that has everything, and leaves."""
        return self.hosts[1]

    @property
    def lagging(self) -> Host:
        """The host of the replica that lags."""
        return self.hosts[-1]

    @abstractmethod
    def leave(self) -> None:
        """Makes the replica `leaving` leave. Raises ClusterError."""

    def come_back(self) -> None:
        """Brings the replica `leaving` back, where it does not come back by itself. Raises ClusterError."""

    @property
    @abstractmethod
    def leaving_in_words(self) -> str:
        """How it leaves, after `lets db3 lag`: `stops Patroni on db2`."""

    def describe(self) -> str:
        return (
            f"lets {self.lagging.name} lag by {LAG_BYTES // 1000} kB, {self.leaving_in_words}, and cuts the power of"
            f" {self.host.name} ({self.host.settings.power_off}) as soon as Patroni goes on without {self.leaving.name}"
        )

    def blockers(self) -> list[str]:
        if self.durability.name != QUORUM:
            why = ELSEWHERE.get(self.durability.name, "writes wait for the replica that lags")
            return [f"is about the durability quorum, and this cluster's is {self.durability.name}: {why}"]
        there = len(replicas(self.context))
        if there != 2:
            return [f"needs two replicas, one that lags and one that leaves, and there {'is' if there == 1 else 'are'} {there}"]
        found = [
            text for host in self.without_power() for text in (*no_power_switch(host), *no_quorum_without(self.context, [host]))
        ]
        return [*found, *no_nft(self.context, self.lagging)]

    def prepare(self) -> None:
        """Has etcd led from where nothing happens, so that it has nobody to elect."""
        lead_etcd_from(self.context, self._staying())

    def _staying(self) -> list[Host]:
        """Hosts of etcd that nothing is done to but that one may lag."""
        return [host for host in self.context.cluster.etcd_hosts if host not in (self.host, self.leaving)]

    def inject(self) -> None:
        slow = throttle(self.host, self.context.cluster.postgres.port)
        with Voters(self.context, self._staying()[0]) as voters, ThreadPoolExecutor(1) as pool:
            inject(self.context.fleet, [self.lagging], slow)
            behind = self._await_lag()
            if self.returns:
                voters.await_round(AHEAD_SECONDS)
            began = time.monotonic()
            leaving = pool.submit(self.leave)
            gone = voters.await_gone(self.leaving.name, leaving, self._noticed + PATIENCE_SECONDS)
            self._cut = time.monotonic()
            cut_power([self.host])
            self._dead = time.monotonic()
            heal(self.context.fleet, [self.lagging], slow)
            leaving.result()
        standing = "was no voter any more" if gone else "was still a voter (so this was not the worst moment)"
        little = "" if behind >= LAG_BYTES else f" (should be {LAG_BYTES // 1000}: try more --writers)"
        ahead = f"{behind // 1000} kB ahead{little}"
        self.note = f"{self.leaving.name} {standing} {self._cut - began:.1f} s after it began to leave, {ahead}"

    @property
    def _noticed(self) -> float:
        """Seconds from the leaving until the primary's Patroni has seen it."""
        return self.silence + 2 * self.context.timing.loop_wait

    def _await_lag(self) -> int:
        """Waits until the laggard is far enough behind, and returns the bytes: where too little is written for that, as many as
        there are in time. Raises ClusterError."""
        deadline = time.monotonic() + LAG_SECONDS
        while (behind := self._behind()) is None or behind < LAG_BYTES:
            if time.monotonic() > deadline:
                if behind is None:
                    raise ClusterError(f"{self.lagging.name} does not stream after {LAG_SECONDS} s")
                break
            time.sleep(LOOK_SECONDS)
        return behind

    def _behind(self) -> int | None:
        sender = observe(self.context.fleet, self.context.cluster).sender(self.lagging.name)
        return sender.received_lag if sender else None

    def heal(self) -> None:
        """All of it is tried, whatever fails on the way. Raises ClusterError with all that failed."""
        slow = throttle(self.host, self.context.cluster.postgres.port)
        all_of(
            lambda: heal(self.context.fleet, [self.lagging], slow),
            self.come_back,
            lambda: await_successor(self.context, self.host) if self._cut else None,
            lambda: give_power(self.context, [self.host]),
        )

    def started_at(self, writes: Iterable[Write], began: float, ended: float) -> float:
        return last_write(writes, self._cut, self._dead)

    def observers(self) -> Iterable[Host]:
        return [host for host in self.context.cluster.hosts if host not in self.without_power()]

    def prediction(self) -> Prediction:
        return failover.window_left(self.context.timing, self.durability, noticed=self._noticed, returns=self.returns)
