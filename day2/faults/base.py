"""What faults have in common."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
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

from .fault import FaultContext

ETCD_MOVE_SECONDS = 10


class BaseFault(ABC):
    """A fault, by default one of the primary's host that stays until it is healed. See Fault for what each part is."""

    name: ClassVar[str]
    summary: ClassVar[str]
    needs_healing = True
    # Whether what the targets see is late or wrong, or can't be heard at all.
    targets_unreachable = False
    # Whether it is not done while a replica lags: it brings a laggard of its own, or an operator would wait.
    never_while_lagging = False
    # What there is to say of how it went, once it has been injected.
    note = ""

    def __init__(self, context: FaultContext) -> None:
        self.context = context
        self.hosts: tuple[Host, ...] = self.targets()

    def targets(self) -> tuple[Host, ...]:
        """The hosts that it is done to, by the roles they have now."""
        return (self.context.primary,)

    @property
    def host(self) -> Host:
        """The first of its targets."""
        return self.hosts[0]

    @property
    def target_names(self) -> str:
        """The names of its targets, for a sentence: `db2 and db3`."""
        return " and ".join(host.name for host in self.hosts)

    @property
    def durability(self) -> Durability:
        """The durability that is in force, which is what etcd has."""
        dcs = self.context.view.dcs
        config = dcs.config if dcs else wanted_config(self.context.cluster)
        replicas = len(self.context.cluster.postgres_hosts) - 1
        return Durability(durability_of(config), without_replica_of(config) == "wait", replicas)

    @abstractmethod
    def describe(self) -> str: ...

    def blockers(self) -> list[str]:
        return []

    def prepare(self) -> None:  # noqa: B027 - most need nothing
        """Does nothing, by default."""

    @abstractmethod
    def inject(self) -> None: ...

    def heal(self) -> None:  # noqa: B027 - some need nothing
        """Does nothing, by default: it heals by itself."""

    def started_at(self, writes: Iterable[Write], began: float, ended: float) -> float:
        return last_write(writes, began, ended)

    def observers(self) -> Iterable[Host]:
        return [host for host in self.context.cluster.hosts if not (self.targets_unreachable and host in self.hosts)]

    @abstractmethod
    def prediction(self) -> Prediction: ...

    def aftermath(self) -> tuple[str, ...]:
        return ()


def last_write(writes: Iterable[Write], began: float, ended: float) -> float:
    """When a fault began to be felt, if its injection ran from `began` to `ended`: at the last write that still got through.

    Neither the commands that cut a host's power nor scripts on hosts say when they did it; writers without pause tell it to
    the millisecond. Where writes go on regardless, that is when the injection ended.
    """
    through = (w.ended for w in writes if w.outcome is WriteOutcome.ACKNOWLEDGED and began <= w.ended <= ended)
    return max(through, default=began)


def all_of(*steps: Callable[[], object]) -> None:
    """Takes all steps, whatever fails on the way. Raises ClusterError with all that failed."""
    failed = []
    for step in steps:
        try:
            step()
        except ClusterError as error:
            failed.append(str(error))
    if failed:
        raise ClusterError("; ".join(failed))


def lead_etcd_from(context: FaultContext, wanted: Iterable[Host]) -> None:
    """Moves etcd's leadership to one of the hosts `wanted`, unless one has it. Raises ClusterError."""
    view = observe(context.fleet, context.cluster)
    names = [host.name for host in wanted if (etcd := view.hosts[host.name].etcd) and etcd.quorum]
    if view.etcd_leader in names:
        return
    if view.etcd_leader is None or not names:
        raise ClusterError("etcd's leader can't be moved now: it has none, or none of the other members is healthy")
    actions = Actions(context.fleet, context.cluster, context.patroni, Interrupts(lambda text: None))
    actions.move_etcd_leader(view.etcd_leader, names[0])
    deadline = time.monotonic() + ETCD_MOVE_SECONDS
    while (now := observe(context.fleet, context.cluster).etcd_leader) != names[0]:
        if time.monotonic() > deadline:
            raise ClusterError(f"{now or 'nobody'} leads etcd, {ETCD_MOVE_SECONDS} s after it was moved to {names[0]}")
        time.sleep(0.2)


def spare_etcd_hosts(context: FaultContext) -> list[Host]:
    """The etcd hosts that the primary does not run on."""
    return [host for host in context.cluster.etcd_hosts if host != context.primary]


def no_successor(context: FaultContext) -> list[str]:
    """Why nobody could take over from the primary, whatever happens to it."""
    if len(context.cluster.postgres_hosts) < 2:
        return ["there is only one PostgreSQL host, so nobody could take over"]
    return []


def no_quorum_without(context: FaultContext, lost: Iterable[Host]) -> list[str]:
    """Why etcd would stand still without these hosts."""
    members = context.cluster.etcd_hosts
    left, needed = len(set(members) - set(lost)), len(members) // 2 + 1
    if left >= needed:
        return []
    return [f"etcd would have {left} of its {len(members)} members left and needs {needed}: have three on hosts of their own"]
