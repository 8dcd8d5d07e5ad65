"""The report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere.

Import it only where a page is written: it draws with matplotlib, which takes a while to load.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from day2.trials.result import Proof, Trial

from . import wording
from .outage_chart import distribution, overview
from .pages import render
from .summary import FaultSummary, by_fault, headline_fault, totals
from .timeline_chart import timeline_chart
from .wording import Verdict

# Of the trials that failed, this many get a chart each: what went wrong is seen in the first ones.
MOST_CHARTS_OF_FAILED = 2
MOST_LOG_LINES = 120  # of a trial; report.json has all
OPEN_TRIALS = 10  # tables with more rows are folded
CLASSES = {Verdict.PASSED: "good", Verdict.LOSSY: "warn", Verdict.FAILED: "bad"}


@dataclass(frozen=True)
class TrialChart:
    """A trial's timeline as SVG, in all layouts."""

    caption: str
    trial: Trial
    layouts: tuple[str, ...]


@dataclass(frozen=True)
class FaultSection:
    """A fault's section of the page: its numbers and its charts."""

    id: str
    summary: FaultSummary
    verdict: Verdict
    distribution: tuple[str, ...]
    charts: tuple[TrialChart, ...]
    notes: tuple[str, ...]


def page(proof: Proof) -> str:
    """The page as HTML."""
    summaries = by_fault(proof)
    return render(
        "page.html.j2",
        proof=proof,
        wording=wording,
        classes=CLASSES,
        verdict=wording.proof_verdict(proof),
        totals=totals(proof),
        headline_fault=headline_fault(proof),
        overview=overview(summaries, "all") if len(summaries) > 1 else (),
        faults=[_section(summary, f"fault-{number}") for number, summary in enumerate(summaries, 1)],
        settings=list(flat(proof.settings)),
        open_trials=OPEN_TRIALS,
        most_log_lines=MOST_LOG_LINES,
    )


def flat(settings: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Settings one a line, those within others under a dotted name."""
    for key, value in settings.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{above}{key}.")
        else:
            listed = isinstance(value, list | tuple)
            yield f"{above}{key}", ", ".join(map(str, value)) if listed else str(value)


def _section(summary: FaultSummary, id: str) -> FaultSection:
    several = len(summary.trials) > 1
    charted: list[tuple[str, Trial]] = [("the median trial" if several else "the trial", summary.typical)]
    failed = [trial for trial in summary.failed if trial is not summary.typical]
    charted += [(f"a trial that failed: {'; '.join(trial.failures)}", trial) for trial in failed[:MOST_CHARTS_OF_FAILED]]
    return FaultSection(
        id=id,
        summary=summary,
        verdict=wording.fault_verdict(summary),
        distribution=distribution(summary, f"{id}-all") if several and summary.bounded_seconds else (),
        charts=tuple(
            TrialChart(caption, trial, timeline_chart(trial, f"{id}-{n}")) for n, (caption, trial) in enumerate(charted)
        ),
        notes=wording.allowed_anomalies(summary.trials),
    )
