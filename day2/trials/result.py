"""What trials have found: plain data, and the verdict on it. Pure.

Durations are seconds, and moments of a trial are seconds after its fault, unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from day2.history.reads import ReadCheck
from day2.history.writes import Throughput as Throughput
from day2.history.writes import WriteCheck
from day2.predictions.prediction import Effect, Prediction


@dataclass(frozen=True)
class Phase:
    """A step of a failover: `key` as in timeline.py, `name` for a person, when it came (None: never), and the earliest and
    latest moment that were predicted, where there is a prediction."""

    key: str
    name: str
    seconds: float | None
    predicted: tuple[float, float] | None = None


@dataclass(frozen=True)
class LogLine:
    """What a component on a host wrote, as it wrote it, `seconds` after the fault."""

    seconds: float
    host: str
    unit: str
    text: str


@dataclass(frozen=True)
class Trial:
    """One fault, from its injection until the cluster was healthy again.

    `outage` is the longest span between consecutive acknowledged writes, which began at `outage_began`; None if there was
    no acknowledgement at all. `heal_started`, `heal_finished`: None for a fault that ends by itself. `healthy_again`: when no
    rule found a problem any more; None if that did not come in time, and `problems` then says what was still wrong.
    `longest_wait`: how long a writer waited for an acknowledgement after the fault, with all that failed before it.
    `throughput`: the acknowledged writes over time. `note`: how injecting the fault went, where there is anything to say.
    `aftermath`: what the fault itself found wrong when the cluster was healthy again.
    """

    fault: str
    description: str
    hosts: tuple[str, ...]
    began: str  # of the fault, UTC, ISO 8601
    durability: str
    primary_before: str
    primary_after: str | None
    prediction: Prediction
    timeline: tuple[Phase, ...]
    outage: float | None
    outage_began: float | None
    heal_started: float | None
    heal_finished: float | None
    healthy_again: float | None
    problems: tuple[str, ...]
    writes_per_second: float  # before the fault
    writes: WriteCheck
    reads: ReadCheck
    throughput: Throughput
    log: tuple[LogLine, ...] = ()
    note: str = ""
    aftermath: tuple[str, ...] = ()
    longest_wait: float | None = None

    @property
    def first_write(self) -> float | None:
        """When writes went on after the longest gap."""
        return None if self.outage is None or self.outage_began is None else self.outage_began + self.outage

    @property
    def _stopped_until_healed(self) -> bool:
        """Whether the longest gap is one that the healing ended."""
        resumed, began, healed = self.first_write, self.outage_began, self.heal_started
        return resumed is None or began is None or healed is None or began <= healed <= resumed

    @property
    def failures(self) -> tuple[str, ...]:
        """What was not as predicted, as sentences; empty when all was."""
        return tuple(text for failed, text in (*self._of_the_checks(), *self._of_the_effect()) if failed)

    @property
    def passed(self) -> bool:
        return not self.failures

    def _of_the_checks(self) -> tuple[tuple[Any, str], ...]:
        writes, reads = self.writes, self.reads
        forgiven = self.prediction.may_lose
        return (
            (writes.lost and not forgiven, f"{len(writes.lost)} acknowledged writes are lost"),
            (writes.unexpected, f"{len(writes.unexpected)} writes are there that had been refused"),
            (writes.duplicated, f"{len(writes.duplicated)} writes are there more than once"),
            (writes.out_of_order, f"{len(writes.out_of_order)} writes stand before an earlier one of the same writer"),
            (
                writes.split_brain,
                f"two servers acknowledged writes at the same time: {'; '.join(writes.split_brain)}",
            ),
            (
                self.prediction.unnoticed and writes.failed + writes.indeterminate,
                f"{writes.failed + writes.indeterminate} writes failed or got no answer, although the pools were paused",
            ),
            (reads.reads_of_lost_rows and not forgiven, f"{reads.reads_of_lost_rows} reads saw a row that is not there any more"),
        )

    def _of_the_effect(self) -> tuple[tuple[Any, str], ...]:
        prediction, same = self.prediction, self.primary_after == self.primary_before
        effect = prediction.effect
        resumed = self.first_write
        late = None
        if effect is Effect.STOPS and resumed is not None and self.heal_finished is not None:
            late = resumed - self.heal_finished
        elif effect is not Effect.STOPS:
            late = self.outage
        return (
            (self.outage is None, "no write was acknowledged at all"),
            (effect is Effect.FAILS_OVER and same, f"{self.primary_before} is still the primary"),
            (effect is Effect.KEEPS_RUNNING and not same, f"{self.primary_after} became the primary, which nobody needed"),
            (
                effect is Effect.STOPS and not self._stopped_until_healed,
                "writes went on before the fault was healed, which should not be possible",
            ),
            (
                late is not None and late > prediction.within,
                f"writes stopped for {late or 0:.1f} s, not {prediction.within:.1f} s",
            ),
            *((True, text) for text in self.aftermath),
            (self.healthy_again is None, f"the cluster is not healthy again: {'; '.join(self.problems) or 'no reason seen'}"),
        )


@dataclass(frozen=True)
class Proof:
    """Trials on one cluster, with all that somebody needs to repeat them.

    `timers`: those that run (Patroni's names, etcd's and HAProxy's beside them). `settings`: the cluster's settings, none of
    them secret. `ports`: where writers and readers went, in this order; empty in reports of versions that did not note it.
    `hosts`: role to names. `command`: what was typed. `began`, `ended`: UTC, ISO 8601. `stopped`: why there are
    fewer trials than asked for; empty when there are not.
    """

    cluster: str
    profile: str
    durability: str
    timers: dict[str, float]
    versions: dict[str, str]
    settings: dict[str, Any]
    hosts: dict[str, tuple[str, ...]]
    writers: int
    readers: int
    seed: int | None
    command: str
    began: str
    ended: str
    trials: tuple[Trial, ...]
    stopped: str = ""
    ports: tuple[int, ...] = ()

    @property
    def passed(self) -> bool:
        return bool(self.trials) and not self.stopped and all(trial.passed for trial in self.trials)
