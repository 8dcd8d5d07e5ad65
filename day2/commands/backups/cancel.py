"""`invoke restore --cancel`: a restore that was not finished is called off, and the cluster is what it was."""

from __future__ import annotations

from functools import partial

from rich.markup import escape

from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.commands.change.plans import show_plan
from day2.hosts.changing import changing
from day2.hosts.interrupts import Interrupts
from day2.recovery import executor
from day2.recovery.actions import RestoreActions
from day2.recovery.notes import NOTE, notes
from day2.recovery.obstacles import reachable
from day2.recovery.plan import back, final, read
from day2.ui.console import EXIT_OK, confirm, console

from .keeper import keeper
from .outcome import GOES_ON, Outcome, carried_out, ended, verified
from .telling import tell


def call_off(cluster: Cluster, *, to: str | None, dry: bool, yes: bool, as_json: bool = False) -> int:
    """0 when the cluster is healthy with its old data; 1 where a step has failed, or `verify` finds a problem.

    Raises ClusterError where there is nothing to call off, or it can't be any more.
    """
    keeper(cluster)
    if to is not None:
        raise ClusterError(f"--to {to!r} and --cancel: should be one of them")
    out = console(as_json=as_json)
    with changing(cluster, "restore --cancel", dry=dry) as (fleet, _, view):
        noted, interrupts = notes(fleet, cluster), Interrupts(lambda text: out.print(GOES_ON))
        if NOTE not in noted and (against := [*reachable(view, cluster)]):  # hosts are asked for what they know of one
            raise ClusterError("\n".join(["no restore can be called off now:", *(f"  - {one}" for one in against)]))
        actions = RestoreActions(fleet, cluster, interrupts, partial(tell, out))
        unfinished = read(noted[NOTE]) if NOTE in noted else actions.noted_on_hosts()
        if unfinished is None:
            raise ClusterError("no restore is under way, and none was interrupted")
        against = [*reachable(view, cluster), *filter(None, [final(unfinished)])]
        if against:
            lines = [
                f"the restore to {unfinished.to} can't be called off, nothing was touched:",
                *(f"  - {one}" for one in against),
            ]
            raise ClusterError("\n".join(lines))
        out.print(f"This calls off the restore to [bold]{escape(unfinished.to)}[/] that was begun at {unfinished.began}.")
        outcome = Outcome(cluster, unfinished, back(unfinished), cancels=True, resumed=True)
        show_plan(out, outcome.planned)
        if dry:
            if as_json:
                outcome.print()
            return EXIT_OK
        confirm(out, yes=yes)
        with interrupts:
            done = carried_out(out, outcome, partial(executor.call_off, unfinished, actions))
    if done:
        verified(out, outcome)
    return ended(outcome, as_json=as_json)
