"""The trials of a proof by fault, and its totals: the numbers that every form of the report shows. Pure; seconds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from day2.predictions.prediction import Effect
from day2.trials.result import Proof, Trial


@dataclass(frozen=True)
class Spread:
    """Of several measurements: how many, and the smallest, the middle and the largest."""

    n: int
    minimum: float
    median: float
    maximum: float


def spread(values: Iterable[float | None]) -> Spread | None:
    """None when there is nothing to measure; what is None never came and is left out."""
    known = [value for value in values if value is not None]
    return Spread(len(known), min(known), round(statistics.median(known), 3), max(known)) if known else None


def judged(trial: Trial) -> float | None:
    """The time that the prediction is about: the outage or, where writes stop until the fault is healed, how long after the
    healing they went on."""
    resumed = trial.first_write
    if trial.prediction.effect is Effect.STOPS and resumed is not None and trial.heal_finished is not None:
        return max(resumed - trial.heal_finished, 0.0)
    return trial.outage


def forgiven(trial: Trial) -> int:
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
        return tuple(dict.fromkeys(trial.prediction.effect for trial in self.trials))

    @property
    def after_healing(self) -> bool:
        """Whether the prediction counts from the healing."""
        return Effect.STOPS in self.effects

    @property
    def outage(self) -> Spread | None:
        return spread(trial.outage for trial in self.trials)

    @property
    def judged(self) -> Spread | None:
        return spread(judged(trial) for trial in self.trials)

    @property
    def within(self) -> Spread:
        """What was predicted at most, which differs between trials when roles or timers do."""
        found = spread(trial.prediction.within for trial in self.trials)
        assert found
        return found

    @property
    def failed(self) -> tuple[Trial, ...]:
        return tuple(trial for trial in self.trials if not trial.passed)

    @property
    def lost(self) -> int:
        return sum(len(trial.writes.lost) for trial in self.trials)

    @property
    def forgiven(self) -> int:
        return sum(map(forgiven, self.trials))

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
        """The trial in the middle; the one a picture is made of."""
        ordered = sorted(self.trials, key=lambda trial: float("inf") if trial.outage is None else trial.outage)
        return ordered[(len(ordered) - 1) // 2]


def by_fault(proof: Proof) -> tuple[FaultSummary, ...]:
    """In the order in which the faults first came."""
    names = dict.fromkeys(trial.fault for trial in proof.trials)
    return tuple(FaultSummary(name, tuple(t for t in proof.trials if t.fault == name)) for name in names)


@dataclass(frozen=True)
class Totals:
    faults: int
    trials: int
    trials_failed: int
    acknowledged: int
    lost: int
    forgiven: int
    indeterminate: int
    reads: int
    reads_failed: int


def totals(proof: Proof) -> Totals:
    summaries = by_fault(proof)
    return Totals(
        faults=len(summaries),
        trials=len(proof.trials),
        trials_failed=sum(len(s.failed) for s in summaries),
        acknowledged=sum(s.acknowledged for s in summaries),
        lost=sum(s.lost for s in summaries),
        forgiven=sum(s.forgiven for s in summaries),
        indeterminate=sum(s.indeterminate for s in summaries),
        reads=sum(trial.reads.succeeded + trial.reads.failed for trial in proof.trials),
        reads_failed=sum(s.reads_failed for s in summaries),
    )


def key_fault(proof: Proof) -> FaultSummary | None:
    """The fault a headline quotes: the primary's host lost, else the one that stopped writes longest."""
    measured = [s for s in by_fault(proof) if s.outage]
    host_off = [s for s in measured if s.fault == "host-off"] or [s for s in measured if s.fault.startswith("host-off")]
    worst = max(measured, key=lambda s: s.outage.maximum if s.outage else 0.0, default=None)
    return host_off[0] if host_off else worst
