"""The trials of a proof by fault, and its totals: the numbers that every form of the report shows. Pure; seconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from day2.predictions.prediction import Effect
from day2.trials.result import Proof, Trial


@dataclass(frozen=True)
class Statistics:
    """Of several measurements: how many, the smallest, the median and the largest."""

    n: int
    minimum: float
    median: float
    maximum: float


def statistics_of(values: Iterable[float | None]) -> Statistics | None:
    """The statistics of the values that are not None, which stands for what never came; None where there are no others."""
    known = [value for value in values if value is not None]
    return Statistics(len(known), min(known), round(median(known), 3), max(known)) if known else None


def bounded_seconds(trial: Trial) -> float | None:
    """What the prediction's `within` bounds: the outage or, where writes stop until the fault is healed, how long after the
    healing they went on."""
    resumed = trial.first_write
    if trial.prediction.effect is Effect.STOPS and resumed is not None and trial.heal_finished is not None:
        return max(resumed - trial.heal_finished, 0.0)
    return trial.outage


def lost_allowed(trial: Trial) -> int:
    """How many acknowledged writes were lost that the chosen durability does not protect."""
    return len(trial.writes.lost) if trial.prediction.may_lose else 0


@dataclass(frozen=True)
class FaultSummary:
    """All trials of one fault, in the order they were made."""

    fault: str
    trials: tuple[Trial, ...]

    @property
    def description(self) -> str:
        return self.trials[0].description

    @property
    def effects(self) -> tuple[Effect, ...]:
        """What was predicted, each effect once."""
        return tuple(dict.fromkeys(trial.prediction.effect for trial in self.trials))

    @property
    def after_healing(self) -> bool:
        """Whether the prediction counts from the healing."""
        return Effect.STOPS in self.effects

    @property
    def outage(self) -> Statistics | None:
        """How long writes were out; None where none was acknowledged."""
        return statistics_of(trial.outage for trial in self.trials)

    @property
    def bounded_seconds(self) -> Statistics | None:
        """What the predictions bound, measured; None where it never came."""
        return statistics_of(bounded_seconds(trial) for trial in self.trials)

    @property
    def within(self) -> Statistics:
        """What was predicted at most, which differs between trials when roles or timers do."""
        found = statistics_of(trial.prediction.within for trial in self.trials)
        assert found
        return found

    @property
    def failed(self) -> tuple[Trial, ...]:
        return tuple(trial for trial in self.trials if not trial.passed)

    @property
    def lost(self) -> int:
        return sum(len(trial.writes.lost) for trial in self.trials)

    @property
    def lost_allowed(self) -> int:
        """How many of the lost writes the chosen durability does not protect."""
        return sum(map(lost_allowed, self.trials))

    @property
    def acknowledged(self) -> int:
        return sum(trial.writes.acknowledged for trial in self.trials)

    @property
    def indeterminate(self) -> int:
        return sum(trial.writes.indeterminate for trial in self.trials)

    @property
    def reads_failed(self) -> int:
        return sum(trial.reads.failed for trial in self.trials)

    @property
    def typical(self) -> Trial:
        """The trial in the middle; the one that gets a chart."""
        ordered = sorted(self.trials, key=lambda trial: float("inf") if trial.outage is None else trial.outage)
        return ordered[(len(ordered) - 1) // 2]


def by_fault(proof: Proof) -> tuple[FaultSummary, ...]:
    """A summary of each fault, in the order in which they first came."""
    names = dict.fromkeys(trial.fault for trial in proof.trials)
    return tuple(FaultSummary(name, tuple(t for t in proof.trials if t.fault == name)) for name in names)


@dataclass(frozen=True)
class Totals:
    """Sums over all trials of a proof; `faults` are kinds, `reads` succeeded or failed."""

    faults: int
    trials: int
    trials_failed: int
    acknowledged: int
    lost: int
    lost_allowed: int
    indeterminate: int
    reads: int
    reads_failed: int


def totals(proof: Proof) -> Totals:
    """The totals of a proof."""
    summaries = by_fault(proof)
    return Totals(
        faults=len(summaries),
        trials=len(proof.trials),
        trials_failed=sum(len(s.failed) for s in summaries),
        acknowledged=sum(s.acknowledged for s in summaries),
        lost=sum(s.lost for s in summaries),
        lost_allowed=sum(s.lost_allowed for s in summaries),
        indeterminate=sum(s.indeterminate for s in summaries),
        reads=sum(trial.reads.succeeded + trial.reads.failed for trial in proof.trials),
        reads_failed=sum(s.reads_failed for s in summaries),
    )


def headline_fault(proof: Proof) -> FaultSummary | None:
    """The fault a headline quotes: the primary's host lost, else the one that stopped writes longest."""
    measured = [s for s in by_fault(proof) if s.outage]
    host_off = [s for s in measured if s.fault == "host-off"] or [s for s in measured if s.fault.startswith("host-off")]
    worst = max(measured, key=lambda s: s.outage.maximum if s.outage else 0.0, default=None)
    return host_off[0] if host_off else worst
