"""`invoke rolling-restart`: restarts one component on every host, one host at a time, while applications write and read."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

from cluster.topology import Cluster
from day2.hosts import operator_lock
from day2.hosts.dsn import open_vault
from day2.hosts.observe import observe
from day2.hosts.ssh import Fleet
from day2.procedures.costs import costs, the_only
from day2.procedures.hold import hold_for, patience_of
from day2.procedures.rolling import Component, component_of, steps
from day2.procedures.steps import SwitchOver
from day2.ui.console import EXIT_OK, confirm, console
from health.rules import blocking, findings
from health.rules.slots import lost_with

from . import measuring
from .measuring import carry_out, report
from .plans import print_plan, refuse, show_plan

FORMAT = "pgquorum rolling-restart 1"


@dataclass
class Outcome(measuring.Outcome):
    """Of a rolling restart of one component."""

    component: Component = "postgres"

    @property
    def unnoticed(self) -> bool:
        """Whether no write should fail."""
        return super().unnoticed and self.component in ("postgres", "patroni")


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
        refuse("rolling restart", map(str, blocking(findings(view, cluster), cluster)))
        planned = steps(view, cluster, wanted, hold, pending_only=pending_only)
        pooled, only = bool(cluster.pooler_hosts), the_only(cluster)
        outcome = Outcome(cluster.name, planned, pooled=pooled, only=only, component=wanted)
        refuse("rolling restart", (text for step in planned if isinstance(step, SwitchOver) for text in lost_with(view, step.to)))
        show_plan(out, planned, costs(view, cluster, planned))
        if not outcome.planned:
            out.print("nothing waits for a restart")
        elif not dry:
            confirm(out, yes=yes)
            interrupted = carry_out(out, fleet, cluster, vault, outcome, hop)
            return report(out, outcome, FORMAT, interrupted=interrupted, as_json=as_json)
    if as_json:
        print_plan(cluster, outcome.planned)
    return EXIT_OK
