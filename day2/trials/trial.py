"""One trial: writers and readers, a fault, what follows, the healing, the checks. What was set is undone however it ends."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cluster.errors import ClusterError
from day2.faults.fault import Fault, FaultContext
from day2.history.writes import WriteCheck, WriteOutcome, longest_gap, longest_wait, throughput
from day2.hosts.interrupts import Interrupts
from day2.hosts.observe import observe
from day2.hosts.watch import Event, Watch
from day2.load.profile import Endpoints, LoadProfile
from day2.load.readers import Readers
from day2.load.workload import Workload
from day2.predictions.prediction import Effect, Prediction
from health.view import ClusterView

from .conditions import problems_of
from .injection import HEAL_SECONDS, Injection
from .result import Trial
from .timeline import first_of_new_primary, is_new_leader, log_lines, timeline

# Takes a line for a person, on what is going on.
Progress = Callable[[str], None]

WARM_UP_WRITES = 100
WARM_UP_SECONDS = 15
STEADY_SECONDS = 2
# How much later than predicted something may still come, so that it is reported as late and not as never.
PATIENCE_SECONDS = 60
HEALTHY_SECONDS = 300
# A fault that is healed half way: hosts have to boot, servers to start.
RECOVERY_SECONDS = 30
# Between two looks at all of the cluster, each of which costs its hosts a second of processor time in all.
LOOK_SECONDS = 2
# For how long `beside` has been there when the fault is injected.
BESIDE_SECONDS = 5


@dataclass(frozen=True)
class _Observed:
    """What is known of a trial besides its load: since when the writers wrote (monotonic), the time of day at which the fault
    began, what was seen on the hosts, when the cluster was healthy again (monotonic; None: not in time), who led it then, and
    what was still wrong; what the fault itself found wrong then."""

    writing_since: float
    began: str
    events: tuple[Event, ...]
    healthy_at: float | None
    leader: str | None
    problems: tuple[str, ...]
    aftermath: tuple[str, ...]


class Unfinished(ClusterError):
    """Something failed after the fault had been injected. The text says what, and that the fault may still be there."""


class TrialRun:
    """A trial as it goes: writers and readers of `load` at the `endpoints`, and the fault. For one `trial()`.

    `beside` is a second fault: it is there already when the other is injected, and is healed right after it.
    """

    def __init__(
        self,
        context: FaultContext,
        fault: Fault,
        endpoints: Endpoints,
        load: LoadProfile,
        interrupts: Interrupts,
        say: Progress,
        beside: Fault | None = None,
    ) -> None:
        self.context, self.fault = context, fault
        self.workload = Workload(endpoints.writes, load.password, load.writers, load.pause, pooled=load.pooled, **load.patience)
        self._pooled = load.pooled
        self._readers = Readers(endpoints.reads, load.password, load.readers, self.workload.table, load.writers, **load.patience)
        self._interrupts, self._say = interrupts, say
        self._injection = Injection(fault, say)
        self._beside = beside
        self._started_at = 0.0

    def trial(self, hold: float | None = None) -> Trial:
        """Runs it. With `hold` it is healed after so many seconds, whatever has or has not happened by then.

        Raises KeyboardInterrupt and, before the fault, ClusterError, with all undone; Unfinished after it.
        """
        try:
            self.fault.prepare()
            prediction = self.fault.prediction()
            prediction = prediction.pooled() if self._pooled else replace(prediction, unnoticed=False)
            if hold is not None:
                prediction = replace(prediction, effect=Effect.ANY, hold=hold, within=hold + prediction.within + RECOVERY_SECONDS)
            return self._measured(prediction)
        except ClusterError as error:
            raise Unfinished(str(error)) if self._injection.began else error from None

    def _measured(self, prediction: Prediction) -> Trial:
        watch = Watch(self.context.fleet, self.context.cluster, self.fault.observers())
        with self.workload as load, self._readers, watch, ExitStack() as beside, self._injection as injection:
            started = time.monotonic()
            warm_up(load, self._interrupts, self._say)
            self._begin_beside(beside)
            began = self._inject()
            self._await_effect(watch, prediction)
            injection.heal()
            beside.close()
            self._await_writes(prediction)
            healthy_at, view, problems = self._await_healthy()
            aftermath = self._await_aftermath()
            self._interrupts.sleep(STEADY_SECONDS)
            if prediction.effect is Effect.ANY:
                # A fault that was healed before anybody noticed may have consequences yet: not for the next trial.
                self._interrupts.sleep(self.context.timing.loop_wait + self.context.timing.retry_timeout)
            observed = _Observed(started, began, watch.events, healthy_at, view.leader, problems, aftermath)
        return self._result(prediction, observed)

    def _inject(self) -> str:
        """Injects the fault, and returns the time of day at which it began to be felt."""
        # Trials begin when the one before has ended, which is when Patroni has done a round: without this all faults would
        # begin soon after the leader key was renewed, and what they cost would not be what a fault of no plan costs.
        self._interrupts.sleep(random.uniform(0, self.context.timing.loop_wait))  # noqa: S311
        injection = self._injection
        injection.inject()
        self._started_at = self.fault.started_at(self.workload.writes, injection.began, injection.ended)
        began = datetime.fromtimestamp(time.time() - (time.monotonic() - self._started_at), UTC)
        self._say(f"{self.fault.name}: {', '.join(host.name for host in self.fault.hosts)}")
        if self.fault.note:
            self._say(self.fault.note)
        return began.isoformat(timespec="milliseconds")

    def _result(self, prediction: Prediction, observed: _Observed) -> Trial:
        """What the trial comes to, once the writers have stopped. Raises ClusterError where the writes can't be checked."""
        load, context, at = self.workload, self.context, self._started_at
        checked, writes = self._checked(), list(load.writes)
        hosts = tuple(host.name for host in self.fault.hosts)
        healing = self._injection if self.fault.needs_healing else None
        heal_started = healing.heal_started if healing else None
        gap = longest_gap((w for w in writes if w.ended >= observed.writing_since), load.stopped_at, since=at)
        waited = longest_wait(writes, since=at)
        before = sum(1 for w in writes if w.outcome is WriteOutcome.ACKNOWLEDGED and w.ended <= at)
        return Trial(
            fault=self.fault.name,
            description=self.fault.describe(),
            hosts=hosts,
            began=observed.began,
            durability=context.view.dcs.promise if context.view.dcs else "?",
            primary_before=context.primary.name,
            primary_after=observed.leader,
            prediction=prediction,
            timeline=timeline(
                observed.events, writes, fault_at=at, heal_started=heal_started, primary=context.primary.name,
                name=self.fault.name, targets=hosts, predicted=prediction.phases,
            ),
            outage=round(gap.seconds, 3) if gap else None,
            outage_began=_after(at, gap.began) if gap else None,
            heal_started=_after(at, heal_started),
            heal_finished=_after(at, healing.heal_finished if healing else None),
            healthy_again=_after(at, observed.healthy_at),
            problems=observed.problems,
            aftermath=observed.aftermath,
            writes_per_second=round(before / (at - observed.writing_since), 1),
            writes=checked,
            reads=self._readers.check(load.found, writes, at),
            throughput=throughput(writes, at, load.stopped_at),
            log=log_lines(observed.events, fault_at=at),
            note=self._note,
            longest_wait=None if waited is None else round(waited, 3),
        )  # fmt: skip

    @property
    def _note(self) -> str:
        there = [f"{self._beside.name}: {', '.join(host.name for host in self._beside.hosts)}"] if self._beside else []
        return "; ".join([*there, *filter(None, [self.fault.note])])

    def _begin_beside(self, stack: ExitStack) -> None:
        """Injects the fault that is there before; the stack heals it."""
        if self._beside:
            stack.enter_context(Injection(self._beside, self._say)).inject()
            self._say(f"{self._beside.name}: {', '.join(host.name for host in self._beside.hosts)}")
            self._interrupts.sleep(BESIDE_SECONDS)

    def _checked(self) -> WriteCheck:
        """Checks the writes, for a while again and again: nothing else tells what was lost. Raises ClusterError."""
        deadline = time.monotonic() + HEAL_SECONDS
        while True:
            try:
                return self.workload.check()
            except ClusterError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)

    def _await_effect(self, watch: Watch, prediction: Prediction) -> None:
        """Leaves the fault alone until what should come of it has come, or is overdue."""
        if prediction.effect is Effect.FAILS_OVER:
            self._follow(watch, self._started_at + prediction.within + PATIENCE_SECONDS)
        else:
            self._interrupts.sleep(prediction.hold)

    def _follow(self, watch: Watch, deadline: float) -> None:
        """Tells what happens until writes have gone on for a while, or `deadline` has passed."""
        fault, new, written = self._started_at, None, None

        def has_new_leader() -> bool:
            nonlocal new
            new = next((e for e in watch.since(fault) if is_new_leader(e, self.context.primary.name)), None)
            return new is not None

        def has_written() -> bool:
            nonlocal written
            assert new
            # All writes are looked at only when there is one that may be it: they are many.
            if self.workload.last_acknowledged > new.at:
                written = first_of_new_primary(self.workload.writes, fault)
            return written is not None

        if not self._interrupts.wait(has_new_leader, deadline):
            return
        assert new
        self._say(f"{new.at - fault:.1f} s later {new.value} takes the leader key")
        if self._interrupts.wait(has_written, deadline):
            assert written is not None
            # The moment that the report has: by now they may have gone on for a while.
            self._say(f"{written - fault:.1f} s later writes are acknowledged again")
            self._interrupts.sleep(STEADY_SECONDS)

    def _await_writes(self, prediction: Prediction) -> None:
        """Gives writes the time to go on after the healing."""
        heal_started = self._injection.heal_started or 0.0
        limit = time.monotonic() + prediction.within + PATIENCE_SECONDS
        self._interrupts.wait(lambda: self.workload.last_acknowledged > heal_started, limit)

    def _await_healthy(self) -> tuple[float | None, ClusterView, tuple[str, ...]]:
        """When no rule found a problem any more (None: not in time), the last view, and what is still wrong."""
        deadline = time.monotonic() + HEALTHY_SECONDS
        while True:
            view = observe(self.context.fleet, self.context.cluster)
            now = time.monotonic()
            problems = problems_of(view, self.context.cluster)
            if not problems:
                self._say(f"{now - self._started_at:.1f} s later the cluster is healthy again")
                return now, view, ()
            if now > deadline:
                return None, view, problems
            self._interrupts.sleep(LOOK_SECONDS)

    def _await_aftermath(self) -> tuple[str, ...]:
        """What is still wrong by the fault's own word, once that was waited for."""
        deadline = time.monotonic() + HEALTHY_SECONDS
        while (wrong := self.fault.aftermath()) and time.monotonic() < deadline:
            self._interrupts.sleep(LOOK_SECONDS)
        return wrong


def warm_up(load: Workload, interrupts: Interrupts, say: Progress) -> None:
    """Waits until the writers write. Raises ClusterError when they don't."""
    if not interrupts.wait(lambda: load.acknowledged > WARM_UP_WRITES, time.monotonic() + WARM_UP_SECONDS):
        why = next((w.why for w in load.writes if w.why), "no answer")
        raise ClusterError(f"the writers do not get through, so nothing was done: {why}")
    interrupts.sleep(STEADY_SECONDS)
    say(f"{load.writers} writers are writing")


def _after(fault_at: float, at: float | None) -> float | None:
    """A monotonic time as seconds after the fault."""
    return None if at is None else round(at - fault_at, 3)
