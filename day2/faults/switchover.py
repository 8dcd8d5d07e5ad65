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
from day2.procedures.hold import PATIENCE, HoldGivenUpError, hold_for
from day2.procedures.steps import HandOver, Plan, Step
from day2.procedures.switchover import steps, target
from health.rules.slots import lost_with

from .base import BaseFault, no_successor
from .fault import FaultContext, NotInjectedError


class Switchover(BaseFault):
    """A planned change of the primary, by a `plan` of day2/procedures/switchover.py; without one to the best replica, while
    clients wait."""

    name = "switchover"
    summary = "the primary's role is handed to a replica, as planned"
    needs_healing = False
    never_while_lagging = True

    def __init__(self, context: FaultContext, plan: Plan = ()) -> None:
        super().__init__(context)
        of = context.cluster
        self.planned = bool(plan)
        self.steps = plan or steps(of, self.host.name, target(context.view, of, None), hold_for(of))
        last = self.steps[-1]
        assert isinstance(last, HandOver)
        self.to, self.hold = last.to, last.hold
        self._held_at: float | None = None

    def describe(self) -> str:
        return f"makes {self.to} the primary in place of {self.target_names}"

    def blockers(self) -> list[str]:
        # Of a plan that is given whoever has made it was told, and may have overridden that.
        lost = () if self.planned else lost_with(self.context.view, self.to)
        return [*no_successor(self.context), *lost]

    def prepare(self) -> None:
        """All steps but the one that hands over."""
        self._execute(self.steps[:-1])

    def inject(self) -> None:
        try:
            self._execute(self.steps[-1:])
        except HoldGivenUpError as error:
            raise NotInjectedError(str(error)) from None

    def _execute(self, steps: Iterable[Step]) -> None:
        interrupts = self.context.interrupts or Interrupts(lambda text: None)
        actions = Actions(self.context.fleet, self.context.cluster, self.context.patroni, interrupts)
        try:
            for step in steps:
                execute(step, actions)
        finally:
            self._held_at = actions.held_at

    def started_at(self, writes: Iterable[Write], began: float, ended: float) -> float:
        return self._held_at or began

    def observers(self) -> Iterable[Host]:
        return self.context.cluster.hosts

    def prediction(self) -> Prediction:
        more = max(0, self.hold.patience - PATIENCE) if self.hold else 0
        return failover.switched_over(self.context.timing, held=self.hold is not None, more=more)
