"""Trials one after the other, on one cluster, until all are done, time is up, or one could not be finished."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterable, Sized
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.faults.fault import Fault, FaultContext
from day2.hosts import dsn
from day2.hosts.interrupts import Interrupts
from day2.hosts.observe import observe
from day2.hosts.patroni_api import PatroniApi
from day2.hosts.ssh import Fleet
from day2.hosts.tunnel import probe_through
from day2.load.profile import Endpoints, LoadProfile
from day2.load.workload import EVIDENCE_DAYS
from day2.ui.findings import show_findings
from health.rules import findings
from health.view import ClusterView

from .conditions import live_timing, problems_of, versions
from .result import Proof, Trial
from .trial import TrialRun, Unfinished

# After a trial, how long whatever it still stirs up is waited for.
SETTLE_SECONDS = 60


@dataclass(frozen=True)
class PlannedTrial:
    """A trial to come: how its fault is made for the cluster as it then is, how long it lasts (None: as it needs), and what is
    there already when it begins (None: nothing)."""

    fault: Callable[[FaultContext], Fault]
    hold: float | None = None
    beside: Callable[[FaultContext, Fault], Fault] | None = None


class TrialRunner:
    """Runs trials and collects what they found. `out` gets lines for a person."""

    def __init__(self, out: Console, fleet: Fleet, cluster: Cluster, patroni: PatroniApi, load: LoadProfile) -> None:
        self._out, self._fleet, self._cluster, self._patroni, self._load = out, fleet, cluster, patroni, load
        self._trials: list[Trial] = []
        self._first: ClusterView | None = None
        self._began = now()
        self._stopped = ""
        self.interrupted = False

    def context(self, sleep: Callable[[float], object] = time.sleep) -> FaultContext:
        """The cluster as it is now, after a trial waited for with `sleep`.

        Raises ClusterError when there is no primary, or after a trial, when anything is wrong.
        """
        deadline = time.monotonic() + (SETTLE_SECONDS if self._trials else 0)
        while True:
            view = observe(self._fleet, self._cluster)
            problems = problems_of(view, self._cluster)
            if view.leader and not (self._trials and problems):
                break
            if time.monotonic() > deadline:
                raise ClusterError("\n".join(["the cluster is not healthy now:", *(f"  - {p}" for p in problems)]))
            sleep(1)
        timing, by_address = live_timing(self._cluster, view), self._load.by_address
        return FaultContext(self._fleet, self._cluster, self._patroni, view, timing, by_address=by_address)

    def run(
        self, context: FaultContext, planned: Iterable[PlannedTrial], keep: Callable[[Proof], object] = lambda proof: None
    ) -> Proof:
        """Runs all trials, the first with `context`; `keep` gets what there is after each. Of several, says which it is at.

        It ends early, and says why, after a trial that could not be finished or did not leave the cluster healthy. Raises
        ClusterError when nothing was done at all.
        """
        self._first = context.view
        with Interrupts(lambda text: self._out.print(f"[yellow]{text}[/]", soft_wrap=True)) as interrupts:
            for number, one in enumerate(planned, 1):
                try:
                    interrupts.check()
                    here = self.context(interrupts.sleep) if self._trials else context
                    trial = self._one(here, one, interrupts, place(number, planned))
                except KeyboardInterrupt:
                    self._stopped, self.interrupted = "interrupted", True
                    break
                except Unfinished as error:
                    self._stopped = f"trial {number} could not be finished: {error}"
                    break
                except ClusterError as error:
                    if not self._trials:
                        raise
                    self._stopped = f"trial {number} could not begin: {error}"
                    break
                self._trials.append(trial)
                try:
                    keep(self._proof())
                except ClusterError as error:
                    self._say(f"not kept: {error}")
                if trial.healthy_again is None:
                    self._stopped = f"after trial {number} the cluster was not healthy again"
                    break
        if self._stopped:
            self._show_where_it_stands()
        return self._proof()

    def _one(self, context: FaultContext, planned: PlannedTrial, interrupts: Interrupts, where: str) -> Trial:
        context = replace(context, interrupts=interrupts)
        fault = planned.fault(context)
        beside = planned.beside(context, fault) if planned.beside else None
        if against := [*fault.blockers(), *(beside.blockers() if beside else ())]:
            raise ClusterError("\n".join([f"no {fault.name} now:", *(f"  - {reason}" for reason in against)]))
        if where:
            self._out.print(f"\n[bold]{where}[/]  {fault.name}")
        lost = [host.name for host in fault.hosts if fault.needs_healing]
        way = partial(
            probe_through, self._fleet, self._cluster, self._load.via, pooled=self._load.pooled, by_address=self._load.by_address,
            lost=lost,
        )  # fmt: skip
        with way() as writes, way(read_only=True) as reads:
            run = TrialRun(context, fault, Endpoints(writes, reads), self._load, interrupts, self._say, beside)
            try:
                trial = run.trial(planned.hold)
            except Unfinished:
                self._put_away(run, consistent=nothing_lost(run))
                raise
            except (ClusterError, KeyboardInterrupt):
                # While nobody takes writes the table can't be removed; the next test does that.
                with suppress(ClusterError):
                    run.workload.drop()
                raise
            self._put_away(run, consistent=trial.writes.consistent and not trial.reads.reads_of_lost_rows)
        return trial

    def _put_away(self, run: TrialRun, *, consistent: bool) -> None:
        """Removes the writers' table, unless it is evidence."""
        if consistent:
            with suppress(ClusterError):  # the next test removes it
                run.workload.drop()
        else:
            self._keep(run)

    def _keep(self, run: TrialRun) -> None:
        try:
            kept = f"the table {run.workload.keep()} in database pgquorum is kept as evidence"
            self._say(f"{kept}; a test after {EVIDENCE_DAYS} days removes it")
        except ClusterError as error:
            self._say(f"the table {run.workload.table} in database pgquorum is evidence; rename it before the next test: {error}")

    def _show_where_it_stands(self) -> None:
        """Shows, where trials were stopped, what the cluster looks like now."""
        if self.interrupted:
            self._out.print("The writers have stopped, and what was done is undone.")
        else:
            self._out.print(f"[red]problem[/]  {escape(self._stopped)}", soft_wrap=True)
        view = observe(self._fleet, self._cluster)
        self._out.print(f"The leader is {view.leader or 'nobody yet'}.")
        show_findings(self._out, (f for f in findings(view, self._cluster) if f.level == "problem"))
        self._out.print("`invoke status` shows how it goes on.")

    def _say(self, text: str) -> None:
        self._out.print(escape(text), soft_wrap=True)

    def _proof(self) -> Proof:
        cluster, view = self._cluster, self._first
        assert view
        ports = tuple(dsn.port(cluster, read_only=read_only, pooled=self._load.pooled) for read_only in (False, True))
        roles = {"postgres": cluster.postgres_hosts, "etcd": cluster.etcd_hosts, "haproxy": cluster.haproxy_hosts}
        return Proof(
            cluster=cluster.name,
            profile=cluster.all.failover_profile,
            durability=view.dcs.promise if view.dcs else "?",
            timers=live_timing(cluster, view).model_dump(),
            versions=versions(view),
            settings=cluster.postgres.model_dump(mode="json"),
            hosts={role: tuple(host.name for host in hosts) for role, hosts in roles.items()},
            writers=self._load.writers,
            readers=self._load.readers,
            ports=ports,
            seed=None,
            command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            began=self._began,
            ended=now(),
            trials=tuple(self._trials),
            stopped=self._stopped,
        )


def place(number: int, planned: Iterable[PlannedTrial]) -> str:
    """`3 of 14`; without the end where that is not known, and empty for the only one."""
    if not isinstance(planned, Sized):
        return f"trial {number}"
    return f"{number} of {len(planned)}" if len(planned) > 1 else ""


def nothing_lost(run: TrialRun) -> bool:
    """Whether the writes of a trial that was not finished are consistent; False where that can't be told."""
    try:
        return run.workload.check().consistent
    except ClusterError:
        return False


def now() -> str:
    """The time of day, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
