"""What planned work did to writes, in a few lines: nothing has failed, so none of the words of a failover test is in them."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from day2.history.writes import WriteCheck
from day2.trials.result import Proof, Trial

from . import wording
from .terminal import COLOURS
from .wording import Verdict, many, seconds


def show(out: Console, proof: Proof) -> None:
    """Shows how a switchover went, and whether that was as expected."""
    for trial in proof.trials:
        out.print()
        for line in lines(trial):
            out.print(escape(line), soft_wrap=True)
        for text in trial.failures:
            out.print(f"[red]problem[/]  {escape(text)}", soft_wrap=True)
        for text in wording.allowed_anomalies([trial]):
            out.print(f"[yellow]allowed[/]  durability {trial.durability}: {escape(text)}", soft_wrap=True)
    verdict = wording.proof_verdict(proof)
    words = {Verdict.PASSED: "done", Verdict.LOSSY: "done, with losses", Verdict.FAILED: "not as expected"}
    out.print(f"[{COLOURS[verdict]}]{words[verdict]}[/]")


def lines(trial: Trial) -> tuple[str, ...]:
    """From whom to whom, what it cost, and when all was well again."""
    old, new = trial.primary_before, trial.primary_after
    moved = f"{new} is the primary in place of {old}" if new != old else f"{old} is still the primary"
    well = f"healthy again after {seconds(trial.healthy_again)}" if trial.healthy_again is not None else "not healthy again"
    return (
        f"{moved if new else 'nobody is the primary'}; {well}",
        of_writes(trial.outage, trial.writes, f" (expected: {trial.prediction.within:.1f} s at most)"),
        of_waiting(trial.longest_wait, trial.writes),
    )


def of_waiting(longest: float | None, writes: WriteCheck) -> str:
    """`no write failed, and the longest took 1.21 s`; or how long a writer had to try (`longest`)."""
    if longest is None:
        return "no write got through afterwards"
    if writes.failed or writes.indeterminate:
        return f"a writer waited for {seconds(longest)} at most, with what failed before it"
    return f"no write failed, and the longest took {seconds(longest)}"


def of_writes(gap: float | None, writes: WriteCheck, expected: str = "") -> str:
    """`writes paused for 1.08 s; 1,200 acknowledged, none lost`, and what else became of them. `gap`: the longest one."""
    acknowledged = f"{writes.acknowledged:,} acknowledged"
    paused = "no write was acknowledged" if gap is None else f"writes paused for {seconds(gap)}{expected}; {acknowledged}"
    lost = f"{len(writes.lost):,}" if writes.lost else "none"
    unanswered = f", {many(writes.indeterminate, 'write')} got no answer" if writes.indeterminate else ""
    refused = f", {many(writes.failed, 'write')} refused" if writes.failed else ""
    return f"{paused}, {lost} lost{unanswered}{refused}"
