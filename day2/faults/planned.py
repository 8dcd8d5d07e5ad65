"""A switchover, as a fault that heals itself."""

from __future__ import annotations

from collections.abc import Iterable

from cluster.topology import Host
from day2.history.writes import Write
from day2.hosts.interrupts import Interrupts
from day2.predictions import failover
from day2.predictions.prediction import Prediction
from day2.procedures.actions import Actions
from day2.procedures.executor import execute
from day2.procedures.steps import Step
from day2.procedures.switchover import steps, target

from .base import Base, no_successor
from .fault import Site


class Switchover(Base):
    """A planned change of the primary: to `to`, or to the best replica; not before all replicas have what the primary has, unless
    `patient` is false."""

    name = "switchover"
    summary = "the primary's role is handed to a replica, as planned"
    lasting = False
    alone = True

    def __init__(self, site: Site, to: str | None = None, *, patient: bool = True) -> None:
        super().__init__(site)
        self.to = to or target(site.view, site.cluster, None)
        self.steps = steps(self.host.name, self.to, patient=patient)

    def describe(self) -> str:
        return f"makes {self.to} the primary in place of {self.struck}"

    def obstacles(self) -> list[str]:
        return no_successor(self.site)

    def prepare(self) -> None:
        """All steps but the one that hands over."""
        self._execute(self.steps[:-1])

    def inject(self) -> None:
        self._execute(self.steps[-1:])

    def _execute(self, steps: Iterable[Step]) -> None:
        actions = Actions(self.site.fleet, self.site.cluster, self.site.patroni, Interrupts(lambda text: None))
        for step in steps:
            execute(step, actions)

    def moment(self, writes: Iterable[Write], began: float, ended: float) -> float:
        return began

    def witnesses(self) -> Iterable[Host]:
        return self.site.cluster.hosts

    def prediction(self) -> Prediction:
        return failover.switched_over(self.site.timing)
