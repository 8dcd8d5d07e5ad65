"""The report's sentences and figures, the same in a terminal, a text file and a browser. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from enum import Enum

from day2.predictions.prediction import Effect
from day2.trials.result import Proof, Trial

from .summary import FaultSummary, Statistics, headline_fault, lost_allowed, totals

RTO = "Recovery time objective: how long writes may be out. Measured as the longest span without an acknowledged write."
RPO = "Recovery point objective: how much may be lost. Measured in writes that were acknowledged and are not there afterwards."
SHORT_EFFECTS = {
    Effect.FAILS_OVER: "fails over",
    Effect.KEEPS_RUNNING: "keeps running",
    Effect.STOPS: "stops until healed",
    Effect.ANY: "is healthy again",
}


class Verdict(Enum):
    """How a trial or a proof ended."""

    PASSED = "passed"
    LOSSY = "passed, with losses"  # as the durability that was chosen allows
    FAILED = "failed"


def verdict(trial: Trial) -> Verdict:
    """How a trial ended."""
    if not trial.passed:
        return Verdict.FAILED
    return Verdict.LOSSY if allowed_anomalies([trial]) else Verdict.PASSED


def fault_verdict(summary: FaultSummary) -> Verdict:
    """The worst verdict of a fault's trials."""
    return worst(verdict(trial) for trial in summary.trials)


def proof_verdict(proof: Proof) -> Verdict:
    """The worst verdict of all trials; a proof that was stopped or is empty has failed."""
    return worst(verdict(trial) for trial in proof.trials) if proof.passed else Verdict.FAILED


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of some verdicts; PASSED where there are none."""
    found = set(verdicts)
    return next((v for v in (Verdict.FAILED, Verdict.LOSSY) if v in found), Verdict.PASSED)


def allowed_anomalies(trials: Iterable[Trial]) -> tuple[str, ...]:
    """What would be a failure with a better durability than the one that was chosen."""
    allowed = [trial for trial in trials if trial.prediction.may_lose]
    lost, reads_of_lost_rows = sum(map(lost_allowed, allowed)), sum(trial.reads.reads_of_lost_rows for trial in allowed)
    return (
        *([f"{many(lost, 'acknowledged write')} lost"] if lost else []),
        *([f"{many(reads_of_lost_rows, 'read')} saw a row that is not there any more"] if reads_of_lost_rows else []),
    )


def headline(proof: Proof) -> str:
    """The verdict in a few words."""
    count = totals(proof)
    kept = count.lost - count.lost_allowed
    if not proof.trials:
        return "Nothing was tested"
    if kept:
        return f"Failed: {many(kept, 'acknowledged write')} lost"
    if count.trials_failed:
        what = "the trial" if count.trials == 1 else f"{count.trials_failed} of {many(count.trials, 'trial')}"
        return f"Failed: {what} did not go as promised"
    if proof.stopped:
        return "Stopped before the end"
    if proof_verdict(proof) is Verdict.LOSSY:
        lost = f"{many(count.lost, 'acknowledged write')} lost" if count.lost else "Passed, but not without a blemish"
        return f"{lost}, as durability {proof.durability} allows"
    return "Passed: nothing was lost" if count.trials == 1 else "Passed: nothing was lost in any trial"


def sentences(proof: Proof) -> tuple[str, ...]:
    """The headline's reasons, for somebody who reads nothing else."""
    count = totals(proof)
    lines = [
        f"{many(count.faults, 'kind')} of fault, {many(count.trials, 'trial')} on the running cluster under load.",
        f"{many(count.acknowledged, 'acknowledged write')}: {f'{count.lost:,}' if count.lost else 'none'} lost.",
    ]
    if count.lost_allowed:
        lines.append(
            f"The durability chosen for this cluster, {proof.durability}, does not protect the"
            f" {count.lost_allowed:,} writes lost."
        )
    quoted = headline_fault(proof)
    if quoted and quoted.outage:
        lines.append(f"Fault {quoted.fault} stopped writes {_how_long(quoted, quoted.outage)}; expected: {limit(quoted)}.")
    if proof.stopped:
        lines.append(f"Stopped before the end: {proof.stopped}.")
    return tuple(lines)


def _how_long(summary: FaultSummary, outage: Statistics) -> str:
    """What the prediction beside it bounds: of a fault that stops writes until it is healed, what came then."""
    if summary.after_healing and summary.bounded_seconds:
        return f"until it was healed, and then for {median_and_worst(summary.bounded_seconds)}"
    return f"for {median_and_worst(outage)}"


def median_and_worst(measured: Statistics) -> str:
    """`20.12 s (median), 23.40 s (worst)`; of a single measurement the figure alone."""
    if measured.n == 1:
        return seconds(measured.maximum)
    return f"{seconds(measured.median)} (median), {seconds(measured.maximum)} (worst)"


def limit(summary: FaultSummary) -> str:
    """`at most 22.5 s`, and from when it counts where that is not the fault."""
    within = summary.within
    most = f"{within.maximum:.1f} s" if within.minimum == within.maximum else f"{within.minimum:.1f} to {within.maximum:.1f} s"
    return f"at most {most}" + (" after healing" if summary.after_healing else "")


def seconds(value: float | None) -> str:
    """`20.12 s`."""
    return "never" if value is None else f"{value:.2f} s"


def short_time(value: float | None) -> str:
    """A staleness: `18 ms`, `1.20 s`."""
    if value is None:
        return "not measured"
    return seconds(value) if value >= 1 else f"{value * 1000:.0f} ms"


def predicted(span: tuple[float, float] | None) -> str:
    """`16.5 to 20.5 s`; empty where nothing was predicted."""
    return f"{span[0]:.1f} to {span[1]:.1f} s" if span else ""


def many(count: int, thing: str) -> str:
    """`1 trial`, `1,200 trials`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def effects(summary: FaultSummary) -> str:
    """What was predicted of a fault: `fails over or stops until healed`."""
    return " or ".join(SHORT_EFFECTS[effect] for effect in summary.effects)


def result_rows(trial: Trial) -> tuple[tuple[str, str, str], ...]:
    """What became of the writes and reads: name, figure, and what it is to be compared with."""
    writes, reads = trial.writes, trial.reads
    stale = f"99 % at most {short_time(reads.stale_p99)}, worst {short_time(reads.stale_worst)}"
    moved = trial.primary_after != trial.primary_before
    health = "no problem left" if trial.healthy_again is not None else "; ".join(trial.problems)
    return (
        ("longest write gap (RTO)", seconds(trial.outage), f"expected: {trial.prediction.describe()}"),
        (
            "lost (RPO)",
            f"{len(writes.lost):,}",
            f"durability {trial.durability}" + (", which may lose" if lost_allowed(trial) else ""),
        ),
        ("acknowledged", f"{writes.acknowledged:,}", f"{trial.writes_per_second:,.0f} a second before the fault"),
        ("indeterminate", f"{writes.indeterminate:,}", f"the answer was lost; {writes.recovered:,} of them are there"),
        ("refused", f"{writes.failed:,}", f"{len(writes.unexpected):,} of them are there"),
        ("there more than once", f"{len(writes.duplicated):,}", ""),
        ("out of order", f"{len(writes.out_of_order):,}", "stand before an earlier write of the same writer"),
        ("split brain", "YES" if writes.split_brain else "no", "; ".join(writes.split_brain)),
        ("reads", f"{reads.succeeded:,}", _failed_reads(trial)),
        ("reads of rows now gone", f"{reads.reads_of_lost_rows:,}", ""),
        ("staleness of reads", short_time(reads.stale_median), f"median; {stale}" if reads.stale_median is not None else ""),
        ("primary", trial.primary_after or "nobody", f"was {trial.primary_before}" if moved else "as before"),
        ("healthy again", seconds(trial.healthy_again), health),
    )


def _failed_reads(trial: Trial) -> str:
    """How many reads failed; how many found no server, when, and why that was to be expected, where it was."""
    reads = trial.reads
    text = f"{reads.failed:,} failed, {reads.no_server:,} of them found no server"
    if reads.no_server_from is not None:
        text += f", from {seconds(reads.no_server_from)} to {seconds(reads.no_server_until)} after the fault"
        text += f". Expected: {trial.prediction.unread}" if trial.prediction.unread else ""
    return text


def utc_minute(iso: str) -> str:
    """A time of day as `2026-03-01 10:00`, in UTC; what is no such time stays as it is."""
    try:
        return datetime.fromisoformat(iso).astimezone(UTC).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return iso


def load(proof: Proof) -> str:
    """How many write and read, and where: `8 writers (port 6432), 2 readers (port 6433)`."""
    write, read = (f" (port {port})" for port in proof.ports) if proof.ports else ("", "")
    return f"{many(proof.writers, 'writer')}{write}, {many(proof.readers, 'reader')}{read}"


def by_port(proof: Proof) -> str:
    """The port that writes went to, to be put after HAProxy; empty where that was not noted."""
    return f", by port {proof.ports[0]}" if proof.ports else ""
