"""What faults have in common."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from cluster.dynamic_config import durability_of, wanted_config, without_replica_of
from cluster.errors import ClusterError
from cluster.topology import Host
from day2.history.writes import Write, WriteOutcome
from day2.hosts.interrupts import Interrupts
from day2.hosts.observe import observe
from day2.predictions.durability import Durability
from day2.predictions.prediction import Prediction
from day2.procedures.actions import Actions

from .fault import Site

ETCD_MOVE_SECONDS = 10


class Base(ABC):
    """A fault of a site, by default one that strikes the primary's host and stays until it is healed."""

    name: ClassVar[str]
    summary: ClassVar[str]
    lasting = True
    # Whether what the struck hosts see is late or wrong, or can't be heard at all.
    blind = False
    # Whether it is not done while a replica lags: it brings a laggard of its own, or an operator would wait.
    alone = False
    # What there is to say of how it went, once it has been injected.
    note = ""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.hosts: tuple[Host, ...] = self.strikes()

    def strikes(self) -> tuple[Host, ...]:
        """Whom it strikes."""
        return (self.site.primary,)

    @property
    def host(self) -> Host:
        """The first of those it strikes."""
        return self.hosts[0]

    @property
    def struck(self) -> str:
        """The names of those it strikes, in words."""
        return " and ".join(host.name for host in self.hosts)

    @property
    def durability(self) -> Durability:
        """As it runs, which is what etcd has."""
        dcs = self.site.view.dcs
        config = dcs.config if dcs else wanted_config(self.site.cluster)
        replicas = len(self.site.cluster.postgres_hosts) - 1
        return Durability(durability_of(config), without_replica_of(config) == "wait", replicas)

    @abstractmethod
    def describe(self) -> str: ...

    def obstacles(self) -> list[str]:
        return []

    def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Nothing is needed."""

    @abstractmethod
    def inject(self) -> None: ...

    def heal(self) -> None:  # noqa: B027 - some need nothing
        """It heals by itself."""

    def moment(self, writes: Iterable[Write], began: float, ended: float) -> float:
        return last_write(writes, began, ended)

    def witnesses(self) -> Iterable[Host]:
        return [host for host in self.site.cluster.hosts if not (self.blind and host in self.hosts)]

    @abstractmethod
    def prediction(self) -> Prediction: ...


def last_write(writes: Iterable[Write], began: float, ended: float) -> float:
    """When a fault struck, given that its injection ran from `began` to `ended`: at the last write that still got through.

    Neither the commands that cut a host's power nor scripts on hosts say when they did it; writers without pause tell it to
    the millisecond. Where writes go on regardless, that is when the injection ended.
    """
    through = (w.ended for w in writes if w.outcome is WriteOutcome.ACKNOWLEDGED and began <= w.ended <= ended)
    return max(through, default=began)


def lead_etcd_from(site: Site, wanted: Iterable[Host]) -> None:
    """Sees to it that one of the hosts `wanted` leads etcd. Raises ClusterError."""
    view = observe(site.fleet, site.cluster)
    names = [host.name for host in wanted if (etcd := view.hosts[host.name].etcd) and etcd.quorum]
    if view.etcd_leader in names:
        return
    if view.etcd_leader is None or not names:
        raise ClusterError("etcd's leader can't be moved now: it has none, or none of the other members is healthy")
    actions = Actions(site.fleet, site.cluster, site.patroni, Interrupts(lambda text: None))
    actions.move_etcd_leader(view.etcd_leader, names[0])
    deadline = time.monotonic() + ETCD_MOVE_SECONDS
    while (now := observe(site.fleet, site.cluster).etcd_leader) != names[0]:
        if time.monotonic() > deadline:
            raise ClusterError(f"{now or 'nobody'} leads etcd, {ETCD_MOVE_SECONDS} s after it was moved to {names[0]}")
        time.sleep(0.2)


def spare_etcd_hosts(site: Site) -> list[Host]:
    """The etcd hosts that the primary does not run on."""
    return [host for host in site.cluster.etcd_hosts if host != site.primary]


def no_successor(site: Site) -> list[str]:
    """Why nobody could take over from the primary, whatever happens to it."""
    if len(site.cluster.postgres_hosts) < 2:
        return ["there is only one PostgreSQL host, so nobody could take over"]
    return []


def no_quorum_without(site: Site, lost: Iterable[Host]) -> list[str]:
    """Why etcd would stand still without these hosts."""
    members = site.cluster.etcd_hosts
    left, needed = len(set(members) - set(lost)), len(members) // 2 + 1
    if left >= needed:
        return []
    return [f"etcd would have {left} of its {len(members)} members left and needs {needed}: have three on hosts of their own"]
