"""What is to come of a restore, or of calling one off, and what has: for a program, too."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape

from cluster.errors import ClusterError
from cluster.timelines import lsn
from cluster.topology import Cluster
from day2.commands.look.verify import judge, tell
from day2.recovery.arrival import Arrival
from day2.recovery.plan import Restore
from day2.recovery.steps import RestoreStep
from day2.recovery.way_back import WayBack
from day2.ui.console import EXIT_INTERRUPTED, EXIT_OK, EXIT_PROBLEM, print_json
from health.finding import Finding
from health.rules import healthy

from .telling import old_data

FORMAT = "pgquorum restore 1"
GOES_ON = "interrupted: the same command goes on with it"
# Takes the steps; is given what to call before each, and what once it is noted that it is done.
Work = Callable[[Callable[[RestoreStep], None], Callable[[RestoreStep], None]], Arrival | None]


@dataclass
class Outcome:
    """`planned` are the steps that are left of `going`, or of calling it off (`cancels`); `done` of them are done. `resumed`: it
    was begun before. `away`: repositories that can't be read, each with the reason. `proven`: whether the last drill of the
    backup has passed, None for none. `ways`: the backups by which it can be undone. `lost`: what agents/sent/lost.py has counted,
    None where that can't be seen or nothing is. `findings`: what `verify` has found in the end, None where it has not come to
    that."""

    cluster: Cluster
    going: Restore
    planned: Sequence[RestoreStep]
    cancels: bool = False
    resumed: bool = False
    away: Mapping[str, str] = field(default_factory=dict)
    proven: bool | None = None
    ways: Sequence[WayBack] = ()
    lost: Mapping[str, Any] | None = None
    done: list[RestoreStep] = field(default_factory=list)
    stopped_by: str = ""
    arrival: Arrival | None = None
    findings: tuple[Finding, ...] | None = None

    @property
    def passed(self) -> bool:
        """Whether all is done, and no rule finds a problem."""
        return self.findings is not None and healthy(self.findings)

    def document(self) -> dict[str, Any]:
        """As docs/json.md has it."""
        going, arrival = self.going, self.arrival
        return {
            "cluster": self.cluster.name,
            "to": going.to,
            "cancels": self.cancels,
            "resumed": self.resumed,
            "backup": going.label,
            "proven": self.proven,
            "repository": going.repository,
            "as_of": going.as_of or None,
            "away": dict(self.away),
            "host": going.host,
            "hosts": going.hosts,
            "timeline": going.timeline,
            "begins": going.begins,
            "before": going.before,
            "live": going.live,
            "old_data": old_data(self.cluster, going) if going.keep else [],
            "ways_back": [asdict(way) for way in self.ways],
            "lost": self.lost,
            "planned": [step.document() for step in self.planned],
            "done": [step.document() for step in self.done],
            "stopped_by": self.stopped_by,
            "arrival": None
            if arrival is None
            else {**asdict(arrival), "fork": lsn(arrival.fork), "last": None if arrival.last is None else iso(arrival.last)},
            "findings": self.findings,
            "passed": self.passed,
        }

    def print(self) -> None:
        """Prints the JSON document on stdout."""
        print_json(FORMAT, self.document())


def carried_out(out: Console, outcome: Outcome, work: Work) -> bool:
    """Does the work, and says of each step that it is begun. Whether it has come to its end: why not is noted, and told."""
    try:
        outcome.arrival = work(lambda step: out.print(f"{escape(str(step))} ...", soft_wrap=True), outcome.done.append)
    except ClusterError as error:
        outcome.stopped_by = str(error)
        out.print(f"[red]problem[/]  {escape(outcome.stopped_by)}", soft_wrap=True)
        out.print("the same command goes on with it", soft_wrap=True)
    except KeyboardInterrupt:
        outcome.stopped_by = GOES_ON
    return not outcome.stopped_by


def verified(out: Console, outcome: Outcome) -> None:
    """Judges the cluster as it is now, and tells of it."""
    outcome.findings, able = judge(outcome.cluster, None)
    tell(out, outcome.findings, able, fine=outcome.passed)


def ended(outcome: Outcome, *, as_json: bool) -> int:
    """The exit code; prints the document where that is asked for."""
    if as_json:
        outcome.print()
    if outcome.stopped_by == GOES_ON:
        return EXIT_INTERRUPTED
    return EXIT_OK if outcome.passed else EXIT_PROBLEM


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
