"""A proof as a JSON document, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import count, groupby
from typing import Any

from pydantic import TypeAdapter, ValidationError

from cluster.errors import ClusterError
from day2.history.writes import Id
from day2.trials.result import Proof

from . import wording
from .summary import FaultSummary, bounded_seconds, by_fault, totals

# docs/json.md says when its number is raised.
FORMAT = "pgquorum proof 2"
UNITS = {
    "durations": "seconds: outage, within, hold, width, stale_*, bounded_seconds",
    "moments": "seconds after the fault: seconds and predicted of a phase, outage_began, heal_started, heal_finished,"
    " healthy_again, start",
    "timers": "seconds; those that end in _ms milliseconds, fall and rise counts",
    "ids": "[writer, first number, last number]: all from the first to the last",
    "bounded_seconds": "what `within` bounds: the outage; where writes stop until healed, from the healing until they went on",
    "began, ended": "UTC, ISO 8601",
}
ID_LISTS = ("lost", "unexpected", "duplicated", "out_of_order")


def document(proof: Proof) -> dict[str, Any]:
    """Every figure, and what they come to. All keys of Proof are there under their own names."""
    plain: dict[str, Any] = _adapter().dump_python(proof, mode="json", fallback=str)
    for trial, written in zip(proof.trials, plain["trials"], strict=True):
        written |= {"bounded_seconds": bounded_seconds(trial), "passed": trial.passed, "failures": list(trial.failures)}
        for name in ID_LISTS:
            ids = getattr(trial.writes, name)
            # A crash loses the last writes of each writer, thousands that stand in a row.
            written["writes"][name] = {"count": len(ids), "ids": spans(ids)}
    return {
        "format": FORMAT,
        "units": UNITS,
        "passed": proof.passed,
        "verdict": wording.proof_verdict(proof).value,
        "headline": wording.headline(proof),
        "summary": list(wording.sentences(proof)),
        "totals": dataclasses.asdict(totals(proof)),
        "faults": {summary.fault: _statistics(summary) for summary in by_fault(proof)},
        **plain,
    }


def load(data: dict[str, Any]) -> Proof:
    """The proof that a document was made of. Raises ClusterError for anything else, a document of another format too."""
    try:
        if data["format"] != FORMAT:
            raise ClusterError(f"this report has the format {data['format']!r}, and this version reads {FORMAT!r} only")
        trials = [_with_ids(trial) for trial in data["trials"]]
        return _adapter().validate_python({**data, "trials": trials})
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise ClusterError(f"this is no report of a failover test: {error}") from None


def spans(ids: Iterable[Id]) -> list[list[int]]:
    """Writers' ids in runs of consecutive numbers: `[writer, first, last]`."""
    found = []
    steps = count()
    for _, group in groupby(sorted(ids), key=lambda id: (id[0], id[1] - next(steps))):
        run = list(group)
        found.append([run[0][0], run[0][1], run[-1][1]])
    return found


def _with_ids(trial: dict[str, Any]) -> dict[str, Any]:
    writes = dict(trial["writes"])
    for name in ID_LISTS:
        writes[name] = _ids(writes[name]["ids"])
    return {**trial, "writes": writes}


def _ids(runs: Sequence[Sequence[int]]) -> list[Id]:
    return [(writer, number) for writer, first, last in runs for number in range(first, last + 1)]


def _statistics(summary: FaultSummary) -> dict[str, Any]:
    return {
        "description": summary.description,
        "effects": [effect.value for effect in summary.effects],
        "trials": len(summary.trials),
        "trials_failed": len(summary.failed),
        "within": dataclasses.asdict(summary.within),
        "bounded_seconds": dataclasses.asdict(summary.bounded_seconds) if summary.bounded_seconds else None,
        "outage": dataclasses.asdict(summary.outage) if summary.outage else None,
        "acknowledged": summary.acknowledged,
        "indeterminate": summary.indeterminate,
        "lost": summary.lost,
        "lost_allowed": summary.lost_allowed,
        "reads_failed": summary.reads_failed,
        "passed": not summary.failed,
        "failures": sorted({text for trial in summary.failed for text in trial.failures}),
    }


@cache
def _adapter() -> TypeAdapter[Proof]:
    return TypeAdapter(Proof)
