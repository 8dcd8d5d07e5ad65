"""Steps taken while a few connections write and read, and what those felt of it."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape

from cluster.errors import ClusterError
from cluster.topology import Cluster
from cluster.vault import Vault
from day2.history.writes import WriteCheck, longest_gap, longest_wait
from day2.hosts.interrupts import Interrupts
from day2.hosts.patroni_api import PatroniApi
from day2.hosts.ssh import Fleet
from day2.hosts.tunnel import probe_through
from day2.load.readers import Readers
from day2.load.sessions import PATIENT
from day2.load.workload import Workload
from day2.procedures.actions import Actions
from day2.procedures.costs import stops_primary
from day2.procedures.executor import execute
from day2.procedures.steps import Plan, Step, SwitchOver, documents
from day2.report.planned import of_waiting, of_writes
from day2.report.wording import many
from day2.ui.console import EXIT_INTERRUPTED, EXIT_OK, EXIT_PROBLEM, print_json
from health.finding import Finding

WRITERS = READERS = 2
# Between two writes of a writer: enough to measure by, no burden to a cluster in use.
PAUSE_SECONDS = 0.01


@dataclass
class Outcome:
    """What a plan did and what applications felt of it. Durations in seconds."""

    cluster: str
    planned: Plan
    done: list[Step] = field(default_factory=list)
    stopped_by: str = ""
    pooled: bool = False  # whether writes and reads went through the pools, which are paused for a switchover
    only: str = ""  # the PostgreSQL host from which nobody takes over; empty where there are several
    unmeasured: str = ""  # why no application's share was tried out
    write_gap: float | None = None
    longest_wait: float | None = None  # of a writer for an acknowledgement, with all that failed before it
    writes: WriteCheck | None = None
    reads: int = 0
    reads_broken: int = 0  # sessions that were cut
    reads_refused: list[str] = field(default_factory=list)  # no server was found at all: what they were told

    @property
    def unnoticed(self) -> bool:
        """Whether no write should fail."""
        return self.pooled and not stops_primary(self.planned, self.only)

    @property
    def always_served(self) -> bool:
        """Whether every read should find a server."""
        return not (self.only and stops_primary(self.planned, self.only))

    @property
    def failures(self) -> tuple[str, ...]:
        refused = "; ".join(dict.fromkeys(self.reads_refused))
        checks = (
            (bool(self.stopped_by), self.stopped_by),
            (self.writes is None and not self.unmeasured, "the writes could not be counted: port 5000 leads to nobody"),
            (self.writes is not None and not self.writes.consistent, "acknowledged writes are lost"),
            (
                self.unnoticed and self.writes is not None and bool(self.writes.failed + self.writes.indeterminate),
                "writes failed or got no answer, although the pools were paused",
            ),
            (self.always_served and bool(self.reads_refused), f"{len(self.reads_refused)} reads found no server: {refused}"),
        )
        return tuple(text for failed, text in checks if failed)


def carry_out(
    out: Console,
    fleet: Fleet,
    cluster: Cluster,
    vault: Vault,
    outcome: Outcome,
    hop: str | None,
    known: Collection[Finding] = (),
) -> bool:
    """Takes the steps under that load, by way of the host `hop` if one is named; without it where no write would be acknowledged.
    What is `known` to be wrong keeps no step from its end, but is to be right after the last. Fills in the outcome; whether it
    was interrupted."""
    with Interrupts(lambda text: out.print(f"[yellow]{text}[/]")) as interrupts:
        actions = Actions(fleet, cluster, PatroniApi(fleet, cluster, vault.password("rest_api")), interrupts, known)
        primary = actions.view().primary
        if primary is None:
            outcome.unmeasured = "nobody led when it began"
        elif cluster.waits_without_replica and not any(one.state == "streaming" for one in primary.senders):
            outcome.unmeasured = "no replica was there when it began, so no write was acknowledged"
        if outcome.unmeasured:
            take_steps(out, actions, outcome)
        else:
            with (
                probe_through(fleet, cluster, hop, pooled=outcome.pooled) as writing,
                probe_through(fleet, cluster, hop, read_only=True, pooled=outcome.pooled) as reading,
            ):
                measured(out, writing, reading, vault.password("probe"), actions, outcome)
        return interrupts.asked


def measured(
    out: Console, writing: dict[str, str], reading: dict[str, str], password: str, actions: Actions, outcome: Outcome
) -> None:
    """Takes the steps while a few connections write and read (libpq's parameters), and fills in the outcome."""
    load = Workload(writing, password, WRITERS, PAUSE_SECONDS, pooled=outcome.pooled, **PATIENT)
    with load, Readers(reading, password, READERS, load.table, load.writers, **PATIENT) as readers:
        take_steps(out, actions, outcome)
    gap = longest_gap(load.writes, load.stopped_at)
    outcome.write_gap = round(gap.seconds, 3) if gap else None
    waited = longest_wait(load.writes)
    outcome.longest_wait = round(waited, 3) if waited is not None else None
    with suppress(ClusterError):  # while nobody takes writes, nobody can be asked either
        outcome.writes = load.check()
        if outcome.writes.consistent:
            load.drop()
    outcome.reads = readers.succeeded
    outcome.reads_broken = sum(1 for failure in readers.failures if failure.found_server)
    outcome.reads_refused = [failure.why for failure in readers.failures if not failure.found_server]


def take_steps(out: Console, actions: Actions, outcome: Outcome) -> None:
    """Takes the steps that were planned until all are done or one can't be, and notes in the outcome how far that went."""
    try:
        for step in outcome.planned:
            out.print(f"{step} ...")
            execute(step, actions)
            outcome.done.append(step)
        if actions.known:
            actions.known = frozenset()
            actions.await_healthy()
    except ClusterError as error:
        outcome.stopped_by = str(error)
    except KeyboardInterrupt:
        outcome.stopped_by = "interrupted"


def report(out: Console, outcome: Outcome, form: str, *, interrupted: bool, as_json: bool) -> int:
    """Prints what came of it, as JSON in the format `form`; returns the exit code."""
    left = outcome.planned[len(outcome.done) :]
    if as_json:
        plan = {"planned": documents(outcome.planned), "done": documents(outcome.done), "left": documents(left)}
        print_json(form, {**vars(outcome), **plan, "failures": outcome.failures})
    for step in outcome.done:
        if isinstance(step, SwitchOver):
            out.print(f"{step.to} is the primary in place of {step.leader}")
    if outcome.writes:
        out.print(of_writes(outcome.write_gap, outcome.writes), soft_wrap=True)
        out.print(of_waiting(outcome.longest_wait, outcome.writes), soft_wrap=True)
    if outcome.unmeasured:
        out.print(f"what applications felt of it was not measured: {outcome.unmeasured}", soft_wrap=True)
    else:
        served = "each found a server" if not outcome.reads_refused else f"{len(outcome.reads_refused):,} found no server"
        out.print(f"{many(outcome.reads, 'read')}, {many(outcome.reads_broken, 'session')} cut, {served}")
    for failure in outcome.failures:
        out.print(f"[red]problem[/]  {escape(failure)}", soft_wrap=True)
    for step in left:
        out.print(f"[yellow]left[/]     {step}")
    out.print("[bold red]stopped[/]" if left else "[bold red]failed[/]" if outcome.failures else "[bold green]done[/]")
    if interrupted:
        return EXIT_INTERRUPTED
    return EXIT_PROBLEM if outcome.failures else EXIT_OK
