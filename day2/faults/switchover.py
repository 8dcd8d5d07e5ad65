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

from .base import BaseFault, no_successor
from .fault import FaultContext


class Switchover(BaseFault):
    """A planned change of the primary: to `to`, or to the best replica; not before all replicas have what the primary has, unless
    `patient` is false."""

    name = "switchover"
    summary = "the primary's role is handed to a replica, as planned"
    needs_healing = False
    never_while_lagging = True

    def __init__(self, context: FaultContext, to: str | None = None, *, patient: bool = True) -> None:
        super().__init__(context)
        self.to = to or target(context.view, context.cluster, None)
        self.steps = steps(self.host.name, self.to, patient=patient)

    def describe(self) -> str:
        return f"makes {self.to} the primary in place of {self.target_names}"

    def blockers(self) -> list[str]:
        return no_successor(self.context)

    def prepare(self) -> None:
        """All steps but the one that hands over."""
        self._execute(self.steps[:-1])

    def inject(self) -> None:
        self._execute(self.steps[-1:])

    def _execute(self, steps: Iterable[Step]) -> None:
        actions = Actions(self.context.fleet, self.context.cluster, self.context.patroni, Interrupts(lambda text: None))
        for step in steps:
            execute(step, actions)

    def started_at(self, writes: Iterable[Write], began: float, ended: float) -> float:
        return began

    def observers(self) -> Iterable[Host]:
        return self.context.cluster.hosts

    def prediction(self) -> Prediction:
        return failover.switched_over(self.context.timing)
