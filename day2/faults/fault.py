"""What a fault is: something that is done to hosts of the cluster, and undone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Protocol

from cluster.errors import ClusterError
from cluster.timing import Timing
from cluster.topology import Cluster, Host
from day2.history.writes import Write
from day2.hosts.interrupts import Interrupts
from day2.hosts.patroni_api import PatroniApi
from day2.hosts.ssh import Fleet
from day2.predictions.prediction import Prediction
from health.rules.entry import holders_of
from health.view import ClusterView


@dataclass(frozen=True)
class FaultContext:
    """The cluster that a fault is done to, and the ways to it: healthy, as seen in `view`, with the timers that run now.
    `interrupts`: where Ctrl-C is noted, once a trial is under way. `by_address`: clients come by the virtual address."""

    fleet: Fleet
    cluster: Cluster
    patroni: PatroniApi
    view: ClusterView
    timing: Timing
    interrupts: Interrupts | None = None
    by_address: bool = False

    @property
    def primary(self) -> Host:
        """The primary's host, which a healthy cluster has."""
        assert self.view.leader
        return self.cluster.host(self.view.leader)

    @property
    def entrance(self) -> Host:
        """The proxy host that clients come through: the one with the address, or the first of their list."""
        holders = holders_of(self.view, self.cluster) if self.by_address else ()
        return self.cluster.host(holders[0]) if holders else self.cluster.haproxy_hosts[0]


class NotInjectedError(ClusterError):
    """A fault could not be injected, and nothing was changed."""


class Fault(Protocol):
    """One kind of failure, for one FaultContext. Made anew for each trial, because roles move.

    name           what a user types
    summary        what it is, in one line
    hosts          the targets: hosts that it is done to
    needs_healing  whether it stays until it is healed
    blockers       why it can't be done to this cluster, each with what would be right; changes nothing
    prepare        brings about what it needs (who leads etcd); raises ClusterError
    inject         raises ClusterError when it can't; what it did half way, heal undoes, but for a NotInjectedError
    heal           takes the fault away; healing what is healthy already is fine; raises ClusterError
    started_at     when it began to be felt (monotonic), given that injecting ran from `began` to `ended`
    observers      hosts from which what follows can be watched
    prediction     what should come of it, by the timers that run, the durability and who leads what
    aftermath      asked when the cluster is healthy again: what is not as it should be then, or not yet, as sentences
    note           what there is to say of how injecting it went; empty for nothing
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    hosts: tuple[Host, ...]
    needs_healing: bool
    note: str

    def describe(self) -> str: ...
    def blockers(self) -> list[str]: ...
    def prepare(self) -> None: ...
    def inject(self) -> None: ...
    def heal(self) -> None: ...
    def started_at(self, writes: Iterable[Write], began: float, ended: float) -> float: ...
    def observers(self) -> Iterable[Host]: ...
    def prediction(self) -> Prediction: ...
    def aftermath(self) -> tuple[str, ...]: ...
