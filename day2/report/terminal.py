"""The report for a terminal or a text file: all of one trial; of several, a row for each fault and what went wrong."""

from __future__ import annotations

import io
from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from day2.trials.result import Proof, Trial
from day2.ui.console import Paper

from . import wording
from .summary import FaultSummary, by_fault
from .wording import Verdict, seconds

TEXT_WIDTH = 110
COLOURS = {Verdict.PASSED: "bold green", Verdict.LOSSY: "bold yellow", Verdict.FAILED: "bold red"}


def show(out: Console, proof: Proof) -> None:
    """Shows what the trials found, and the verdict on it."""
    out.print()
    if len(proof.trials) == 1:
        show_trial(out, proof.trials[0])
    else:
        show_faults(out, by_fault(proof))
        for number, trial in enumerate(proof.trials, 1):
            if wording.verdict(trial) is Verdict.FAILED:
                out.print(f"\n[bold]trial {number} of {len(proof.trials)}, which failed[/]")
                show_trial(out, trial)
    show_verdict(out, proof)


def text(proof: Proof) -> str:
    """What `show` shows, as text for a file, with what it takes to repeat it, and with every trial in its order."""
    out = Paper(file=io.StringIO(), width=TEXT_WIDTH, color_system=None, force_terminal=False, highlight=False)
    show_conditions(out, proof)
    if len(proof.trials) > 1:
        out.print()
        show_trials(out, proof)
    show(out, proof)
    assert isinstance(out.file, io.StringIO)
    return "\n".join(line.rstrip() for line in out.file.getvalue().splitlines()) + "\n"


def show_trial(out: Console, trial: Trial) -> None:
    """Shows a trial: what was predicted, the timeline, what became of writes and reads, and what failed."""
    out.print(f"[bold]{escape(trial.fault)}[/]  {escape(trial.description)}")
    out.print(f"expected: {escape(trial.prediction.describe())} ({escape(trial.prediction.why)})\n")
    if trial.note:
        out.print(f"{escape(trial.note)}\n")
    timeline = _table("", "measured", "predicted", right=(1,))
    for phase in trial.timeline:
        timeline.add_row(escape(phase.name), seconds(phase.seconds), wording.predicted(phase.predicted))
    out.print(timeline)
    out.print()
    results = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    results.add_column(no_wrap=True)
    for row in wording.result_rows(trial):
        results.add_row(*map(escape, row))
    out.print(results)
    if trial.failures:
        out.print()
        _problems(out, trial.failures, "[red]problem[/]")


def show_faults(out: Console, summaries: Iterable[FaultSummary]) -> None:
    """Shows one row for each fault. Times are those that the prediction is about."""
    # Where they would not fit, names are worth more than the effects that were expected.
    roomy = out.width >= 96
    table = _table("fault", *(["expected"] if roomy else []), "trials", right=())
    for heading in ("median\n(s)", "worst\n(s)", "at most\n(s)", "lost", "indeter-\nminate", "reads\nfailed"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column()
    for s in summaries:
        verdict, time = wording.fault_verdict(s), s.bounded_seconds
        table.add_row(
            escape(s.fault) + (" *" if s.after_healing else ""), *([wording.effects(s)] if roomy else []),
            f"{len(s.trials)}" + (f", {len(s.failed)} bad" if s.failed else ""),
            f"{time.median:.2f}" if time else "never", f"{time.maximum:.2f}" if time else "never", f"{s.within.maximum:.1f}",
            f"{s.lost:,}", f"{s.indeterminate:,}", f"{s.reads_failed:,}", _coloured(verdict, _short(verdict)),
        )  # fmt: skip
    out.print("How long writes were out, measured, and expected at most\n")
    out.print(table)
    if any(s.after_healing for s in summaries):
        out.print("\n* nobody may take writes until the fault is healed: counted from the healing")


def show_trials(out: Console, proof: Proof) -> None:
    """Shows one row for each trial."""
    table = _table(
        "", "fault began", "fault", "primary", "writes out", "lost", "unclear", "healthy after", "", right=(4, 5, 6, 7)
    )
    for number, trial in enumerate(proof.trials, 1):
        moved = f"{trial.primary_before} -> {trial.primary_after or 'nobody'}"
        verdict = wording.verdict(trial)
        table.add_row(
            f"{number}", escape(trial.began), escape(trial.fault),
            escape(moved if trial.primary_after != trial.primary_before else trial.primary_before), seconds(trial.outage),
            f"{len(trial.writes.lost):,}", f"{trial.writes.indeterminate:,}", seconds(trial.healthy_again), _short(verdict),
        )  # fmt: skip
    out.print(table)


def show_conditions(out: Console, proof: Proof) -> None:
    """Shows on what cluster and with what load it was measured, and how to do it again."""
    seed = "" if proof.seed is None else f", seed {proof.seed}"
    lines = (
        ("cluster", f"{proof.cluster}, profile {proof.profile}, durability {proof.durability}"),
        ("command", proof.command),
        ("from", f"{proof.began} to {proof.ended}"),
        ("load", f"{wording.load(proof)}{seed}"),
        ("hosts", "; ".join(f"{role}: {', '.join(names)}" for role, names in proof.hosts.items())),
        ("versions", ", ".join(f"{name} {version}" for name, version in proof.versions.items())),
        ("timers", ", ".join(f"{name} {value:g}" for name, value in proof.timers.items())),
    )
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in lines:
        table.add_row(name, escape(value))
    out.print(table)


def show_verdict(out: Console, proof: Proof) -> None:
    """Shows what all trials come to. A loss that is allowed is named, and not counted as a failure."""
    out.print()
    for sentence in wording.sentences(proof):
        out.print(escape(sentence))
    for s in by_fault(proof):
        _problems(out, (f"{s.fault}: {text}" for text in wording.allowed_anomalies(s.trials)), "[yellow]allowed[/]")
    out.print(_coloured(wording.proof_verdict(proof), wording.headline(proof)))


def _problems(out: Console, texts: Iterable[str], label: str) -> None:
    for text in texts:
        out.print(f"{label}  {escape(text)}")


def _coloured(verdict: Verdict, text: str) -> str:
    return f"[{COLOURS[verdict]}]{escape(text)}[/]"


def _short(verdict: Verdict) -> str:
    return "lossy" if verdict is Verdict.LOSSY else verdict.value


def _table(*headings: str, right: Iterable[int] = ()) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for at, heading in enumerate(headings):
        table.add_column(heading, justify="right" if at in right else "left", vertical="top")
    return table
