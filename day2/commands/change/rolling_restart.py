"""`invoke rolling-restart`: restarts one component on every host, one host at a time, while applications write and read."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from rich.console import Console
from rich.markup import escape

from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.history.writes import WriteCheck, longest_gap, longest_wait
from day2.hosts import operator_lock
from day2.hosts.dsn import open_vault
from day2.hosts.interrupts import Interrupts
from day2.hosts.observe import observe
from day2.hosts.patroni_api import Patroni
from day2.hosts.ssh import Fleet
from day2.hosts.tunnel import probe_through
from day2.load.readers import Readers
from day2.load.workload import Workload
from day2.procedures.actions import Actions
from day2.procedures.executor import execute
from day2.procedures.hold import hold_for, patience_of
from day2.procedures.rolling import Component, component_of, steps
from day2.procedures.steps import Plan, Step, SwitchOver, documents
from day2.report.planned import of_waiting, of_writes
from day2.report.wording import many
from day2.ui.console import BAD_NEWS, FINE, INTERRUPTED, confirm, console, print_json
from health.rules import blocking, findings
from health.rules.slots import lost_with
from health.view import ClusterView

from .plans import print_plan, show_plan

FORMAT = "pgquorum rolling-restart 1"
WRITERS = READERS = 2
# Between two writes of a writer: enough to measure by, no burden to a cluster in use.
PAUSE_SECONDS = 0.01


@dataclass
class Outcome:
    """What a rolling restart did and what applications felt of it. Durations in seconds."""

    cluster: str
    component: Component
    planned: Plan
    done: list[Step] = field(default_factory=list)
    stopped_by: str = ""
    pooled: bool = False  # whether writes and reads went through the pools, which are paused for a switchover
    write_gap: float | None = None
    longest_wait: float | None = None  # of a writer for an acknowledgement, with all that failed before it
    writes: WriteCheck | None = None
    reads: int = 0
    reads_broken: int = 0  # sessions that were cut
    reads_refused: list[str] = field(default_factory=list)  # no server was found at all: what they were told

    @property
    def unnoticed(self) -> bool:
        """Whether no write should fail."""
        return self.pooled and self.component in ("postgres", "patroni")

    @property
    def failures(self) -> tuple[str, ...]:
        refused = "; ".join(dict.fromkeys(self.reads_refused))
        checks = (
            (bool(self.stopped_by), self.stopped_by),
            (self.writes is None, "the writes could not be counted: port 5000 leads to nobody"),
            (self.writes is not None and not self.writes.consistent, "acknowledged writes are lost"),
            (
                self.unnoticed and self.writes is not None and bool(self.writes.failed + self.writes.indeterminate),
                "writes failed or got no answer, although the pools were paused",
            ),
            (bool(self.reads_refused), f"{len(self.reads_refused)} reads found no server: {refused}"),
        )
        return tuple(text for failed, text in checks if failed)


def rolling_restart(
    cluster: Cluster, *, component: str, pending_only: bool, patience: int, dry: bool, yes: bool, hop: str | None, as_json: bool
) -> int:
    """0 when every step is done, nothing acknowledged is lost, no write through pools failed and reads always found a server;
    else 1, saying what is left. `patience`: seconds that transactions in the pools have to end before a switchover.

    Raises ClusterError when the cluster is not healthy, or somebody else is changing it. `dry` prints the steps.
    """
    hold = hold_for(cluster, patience_of(patience))
    out = console(as_json=as_json)
    wanted = component_of(component)
    vault = open_vault(cluster)
    with Fleet(cluster.hosts) as fleet, ExitStack() as held:
        if not dry:
            held.enter_context(operator_lock.held(fleet, cluster, "rolling-restart"))
        view = observe(fleet, cluster)
        refuse_unless_healthy(view, cluster)
        planned = steps(view, cluster, wanted, hold, pending_only=pending_only)
        outcome = Outcome(cluster.name, wanted, planned, pooled=bool(cluster.pooler_hosts))
        refuse_to_lose_slots(view, outcome.planned)
        show_plan(out, outcome.planned)
        if not outcome.planned:
            out.print("nothing waits for a restart")
        elif not dry:
            confirm(out, yes=yes)
            with Interrupts(lambda text: out.print(f"[yellow]{text}[/]")) as interrupts:
                patroni = Patroni(fleet, cluster, vault.password("rest_api"))
                actions = Actions(fleet, cluster, patroni, interrupts)
                with (
                    probe_through(fleet, cluster, hop, pooled=outcome.pooled) as writing,
                    probe_through(fleet, cluster, hop, read_only=True, pooled=outcome.pooled) as reading,
                ):
                    measured(out, writing, reading, vault.password("probe"), actions, outcome)
                interrupted = interrupts.asked
            return report(out, outcome, interrupted=interrupted, as_json=as_json)
    if as_json:
        print_plan(cluster, outcome.planned)
    return FINE


def refuse_unless_healthy(view: ClusterView, cluster: Cluster) -> None:
    """Raises ClusterError with every problem that speaks against it."""
    problems = [f"  - {f.about}: {f.text}" for f in blocking(findings(view, cluster), cluster)]
    if problems:
        raise ClusterError("\n".join(["no rolling restart now, nothing was touched:", *problems]))


def refuse_to_lose_slots(view: ClusterView, planned: Plan) -> None:
    """Raises ClusterError with every logical slot that a switchover of the plan would lose."""
    lost = [f"  - {text}" for step in planned if isinstance(step, SwitchOver) for text in lost_with(view, step.to)]
    if lost:
        raise ClusterError("\n".join(["no rolling restart now, nothing was touched:", *lost]))


def measured(
    out: Console, writing: dict[str, str], reading: dict[str, str], password: str, actions: Actions, outcome: Outcome
) -> None:
    """Takes the steps while a few connections write and read (libpq's parameters), and fills in the outcome."""
    load = Workload(writing, password, WRITERS, PAUSE_SECONDS, pooled=outcome.pooled)
    with load, Readers(reading, password, READERS, load.table, load.writers) as readers:
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
    except ClusterError as error:
        outcome.stopped_by = str(error)
    except KeyboardInterrupt:
        outcome.stopped_by = "interrupted"


def report(out: Console, outcome: Outcome, *, interrupted: bool, as_json: bool) -> int:
    """Prints what came of it; returns the exit code."""
    left = outcome.planned[len(outcome.done) :]
    if as_json:
        plan = {"planned": documents(outcome.planned), "done": documents(outcome.done), "left": documents(left)}
        print_json(FORMAT, {**vars(outcome), **plan, "failures": outcome.failures})
    for step in outcome.done:
        if isinstance(step, SwitchOver):
            out.print(f"{step.to} is the primary in place of {step.leader}")
    if outcome.writes:
        out.print(of_writes(outcome.write_gap, outcome.writes), soft_wrap=True)
        out.print(of_waiting(outcome.longest_wait, outcome.writes), soft_wrap=True)
    served = "each found a server" if not outcome.reads_refused else f"{len(outcome.reads_refused):,} found no server"
    out.print(f"{many(outcome.reads, 'read')}, {many(outcome.reads_broken, 'session')} cut, {served}")
    for failure in outcome.failures:
        out.print(f"[red]problem[/]  {escape(failure)}", soft_wrap=True)
    for step in left:
        out.print(f"[yellow]left[/]     {step}")
    out.print("[bold red]stopped[/]" if left else "[bold red]failed[/]" if outcome.failures else "[bold green]done[/]")
    if interrupted:
        return INTERRUPTED
    return BAD_NEWS if outcome.failures else FINE
