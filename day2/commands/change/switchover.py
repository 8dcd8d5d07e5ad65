"""`invoke switchover`: hands the primary's role to a replica, and measures what that costs the applications."""

from __future__ import annotations

from contextlib import nullcontext

from rich.markup import escape

from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.faults.switchover import Switchover
from day2.hosts import operator_lock
from day2.hosts.dsn import open_vault
from day2.hosts.observe import observe
from day2.hosts.patroni_api import PatroniApi
from day2.hosts.ssh import Fleet
from day2.load.profile import LoadProfile
from day2.procedures.hold import hold_for, patience_of
from day2.procedures.switchover import objections, steps, target
from day2.report import show
from day2.trials.runner import PlannedTrial, TrialRunner
from day2.ui.console import EXIT_OK, confirm, console
from health.rules import candidates, findings

from .plans import print_plan, show_plan

# Between two writes of a writer: enough to measure by, no burden to a cluster in use.
PAUSE_SECONDS = 0.005


def switchover(
    cluster: Cluster,
    *,
    to: str | None,
    patience: int,
    force: bool,
    dry: bool,
    yes: bool,
    writers: int,
    hop: str | None,
    as_json: bool,
) -> int:
    """Switches over and reports; 1 when a write was lost, the gap is longer than predicted, or a write through the pools failed.

    Raises ClusterError with everything that stands in the way; `force` overrides it, by name, where Patroni agrees, and lets
    nobody wait. `patience`: seconds that transactions in the pools have to end. `dry` prints the steps.
    """
    hold = hold_for(cluster, patience_of(patience))
    out = console(as_json=as_json)
    vault = open_vault(cluster)
    pooled = bool(cluster.pooler_hosts)
    load = LoadProfile(vault.password("probe"), writers, pause=PAUSE_SECONDS, via=hop, pooled=pooled, planned=True)
    with Fleet(cluster.hosts) as fleet, nullcontext() if dry else operator_lock.held(fleet, cluster, "switchover"):
        view = observe(fleet, cluster)
        chosen = target(view, cluster, to)
        against = tuple(objections(view, cluster, findings(view, cluster), chosen))
        if against and not force:
            raise ClusterError("\n".join(["no switchover now, nothing was touched:", *(f"  - {a}" for a in against)]))
        runner = TrialRunner(out, fleet, cluster, PatroniApi(fleet, cluster, vault.password("rest_api")), load)
        context = runner.context()
        planned = steps(cluster, context.primary.name, chosen, None if force else hold)
        out.print(f"This [bold]{Switchover(context, planned).describe()}[/].")
        show_plan(out, planned)
        for one in candidates(view, cluster):
            if one.name != chosen:
                verdict = "could, too" if one.able else f"could not: {'; '.join(one.reasons)}"
                out.print(f"  {one.name} {escape(verdict)}", soft_wrap=True)
        for reason in against:
            out.print(f"[yellow]overridden[/] {escape(reason)}", soft_wrap=True)
        if dry:
            if as_json:
                print_plan(cluster, planned)
            return EXIT_OK
        confirm(out, yes=yes)
        proof = runner.run(context, [PlannedTrial(lambda context: Switchover(context, planned))])
    return show(out, proof, as_json=as_json, interrupted=runner.interrupted, as_planned=True)
