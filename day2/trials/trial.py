"""One trial: writers and readers, a fault, what follows, the healing, the checks. What was set is undone however it ends."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple

from cluster.errors import ClusterError
from cluster.timing import Timing
from cluster.topology import Cluster
from day2.faults.fault import Fault, FaultContext
from day2.history.writes import WriteCheck, WriteOutcome, longest_gap, throughput
from day2.hosts.interrupts import Interrupts
from day2.hosts.observe import observe
from day2.hosts.watch import Watch
from day2.load.readers import Readers
from day2.load.workload import Workload
from day2.predictions.prediction import Effect, Prediction
from health.rules import findings
from health.view import ClusterView

from .injection import HEAL_SECONDS, Injection
from .result import Trial
from .timeline import is_new_leader, log_lines, timeline

# Takes a line for a person, on what is going on.
Progress = Callable[[str], None]


class Endpoints(NamedTuple):
    """Where applications connect: libpq's parameters."""

    writes: dict[str, str]
    reads: dict[str, str]


MOST_WRITERS = 100
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
class LoadProfile:
    """How many write and read, each writer with a `pause` (seconds) after a write, with the probe role's password; `via` which
    host they go to HAProxy (None: straight). Raises ClusterError for what can't be right."""

    password: str = field(repr=False)
    writers: int
    readers: int = 2
    pause: float = 0.0
    via: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("writers", 1), ("readers", 0)):
            if not least <= getattr(self, name) <= MOST_WRITERS:
                raise ClusterError(f"--{name} {getattr(self, name)}: should be from {least} to {MOST_WRITERS}")


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
        self.workload = Workload(endpoints.writes, load.password, load.writers, load.pause)
        self._readers = Readers(endpoints.reads, load.password, load.readers, self.workload.table, load.writers)
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
            # Trials begin when the one before has ended, which is when Patroni has done a round: without this all faults would
            # begin soon after the leader key was renewed, and what they cost would not be what a fault of no plan costs.
            self._interrupts.sleep(random.uniform(0, self.context.timing.loop_wait))  # noqa: S311
            injection.inject()
            self._started_at = at = self.fault.started_at(load.writes, injection.began, injection.ended)
            began = datetime.fromtimestamp(time.time() - (time.monotonic() - at), UTC).isoformat(timespec="milliseconds")
            self._say(f"{self.fault.name}: {', '.join(host.name for host in self.fault.hosts)}")
            if self.fault.note:
                self._say(self.fault.note)
            self._await_effect(watch, prediction)
            injection.heal()
            beside.close()
            self._await_writes(prediction)
            healthy_again, view, problems = self._await_healthy()
            self._interrupts.sleep(STEADY_SECONDS)
            if prediction.effect is Effect.ANY:
                # A fault that was healed before anybody noticed may have consequences yet: not for the next trial.
                self._interrupts.sleep(self.context.timing.loop_wait + self.context.timing.retry_timeout)
            events = watch.events
        checked = self._checked()
        writes = list(load.writes)
        heal_started, heal_finished = (
            (injection.heal_started, injection.heal_finished) if self.fault.needs_healing else (None, None)
        )
        gap = longest_gap((w for w in writes if w.ended >= started), load.stopped_at, since=at)
        before = sum(1 for w in writes if w.outcome is WriteOutcome.ACKNOWLEDGED and w.ended <= at)
        return Trial(
            fault=self.fault.name,
            description=self.fault.describe(),
            hosts=tuple(host.name for host in self.fault.hosts),
            began=began,
            durability=self.context.view.dcs.promise if self.context.view.dcs else "?",
            primary_before=self.context.primary.name,
            primary_after=view.leader,
            prediction=prediction,
            timeline=timeline(
                events, writes, fault_at=at, heal_started=heal_started, primary=self.context.primary.name, name=self.fault.name,
                targets=[host.name for host in self.fault.hosts], predicted=prediction.phases,
            ),
            outage=round(gap.seconds, 3) if gap else None,
            outage_began=round(gap.began - at, 3) if gap else None,
            heal_started=None if heal_started is None else round(heal_started - at, 3),
            healthy_again=None if healthy_again is None else round(healthy_again - at, 3),
            problems=problems,
            writes_per_second=round(before / (at - started), 1),
            writes=checked,
            reads=self._readers.check(load.found, writes),
            throughput=throughput(writes, at, load.stopped_at),
            log=log_lines(events, fault_at=at),
            heal_finished=None if heal_finished is None else round(heal_finished - at, 3),
            note=self._note,
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
        fault, new = self._started_at, None

        def has_new_leader() -> bool:
            nonlocal new
            new = next((e for e in watch.since(fault) if is_new_leader(e, self.context.primary.name)), None)
            return new is not None

        if not self._interrupts.wait(has_new_leader, deadline):
            return
        assert new
        self._say(f"{new.at - fault:.1f} s later {new.value} takes the leader key")
        if self._interrupts.wait(lambda: self.workload.last_acknowledged > new.at, deadline):
            self._say(f"{self.workload.last_acknowledged - fault:.1f} s later writes are acknowledged again")
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
                self._say(f"{now - self._started_at:.1f} s after the fault the cluster is healthy again")
                return now, view, ()
            if now > deadline:
                return None, view, problems
            self._interrupts.sleep(LOOK_SECONDS)


def warm_up(load: Workload, interrupts: Interrupts, say: Progress) -> None:
    """Waits until the writers write. Raises ClusterError when they don't."""
    if not interrupts.wait(lambda: load.acknowledged > WARM_UP_WRITES, time.monotonic() + WARM_UP_SECONDS):
        why = next((w.why for w in load.writes if w.why), "no answer")
        raise ClusterError(f"the writers do not get through, so nothing was done: {why}")
    interrupts.sleep(STEADY_SECONDS)
    say(f"{load.writers} writers are writing")


def problems_of(view: ClusterView, cluster: Cluster) -> tuple[str, ...]:
    """Every problem the rules find, in words."""
    return tuple(f"{f.about}: {f.text}" for f in findings(view, cluster) if f.level == "problem")


def live_timing(cluster: Cluster, view: ClusterView) -> Timing:
    """The timers that run now: Patroni's from its own configuration in etcd, the others from the settings."""
    patroni = ("ttl", "loop_wait", "retry_timeout", "primary_start_timeout", "primary_stop_timeout")
    live = view.dcs.config if view.dcs else {}
    return cluster.timing.model_copy(update={key: live[key] for key in patroni if key in live})


def versions(view: ClusterView) -> dict[str, str]:
    """The versions of what runs, as the hosts say."""
    hosts = view.hosts.values()
    found = {
        "postgresql": next((h.postgres.version for h in hosts if h.postgres), None),
        "patroni": next((h.patroni.version for h in hosts if h.patroni), None),
        "etcd": next((h.etcd.version for h in hosts if h.etcd), None),
        "haproxy": next((h.proxy.version for h in hosts if h.proxy), None),
    }
    return {name: version for name, version in found.items() if version}
