"""`invoke restore --cancel`: a restore that was not finished is called off, and the cluster is what it was."""

from __future__ import annotations

from rich.markup import escape

from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.commands.change.plans import show_plan
from day2.commands.look.verify import verify
from day2.hosts.changing import changing
from day2.hosts.interrupts import Interrupts
from day2.recovery import executor
from day2.recovery.actions import RestoreActions
from day2.recovery.notes import NOTE, notes
from day2.recovery.plan import back, final, reachable, read
from day2.ui.console import FINE, confirm, console

from .keeper import keeper


def call_off(cluster: Cluster, *, to: str | None, dry: bool, yes: bool) -> int:
    """0 when the cluster is healthy with its old data; 1 where `verify` finds a problem.

    Raises ClusterError where there is nothing to call off, or it can't be any more.
    """
    keeper(cluster)
    if to is not None:
        raise ClusterError(f"--to {to!r} and --cancel: should be one of them")
    out = console()
    with changing(cluster, "restore --cancel", dry=dry) as (fleet, _, view):
        noted = notes(fleet, cluster)
        if NOTE not in noted:
            raise ClusterError("no restore is under way, and none was interrupted")
        unfinished = read(noted[NOTE])
        against = [*reachable(view, cluster), *filter(None, [final(unfinished)])]
        if against:
            lines = [
                f"the restore to {unfinished.to} can't be called off, nothing was touched:",
                *(f"  - {one}" for one in against),
            ]
            raise ClusterError("\n".join(lines))
        out.print(f"This calls off the restore to [bold]{escape(unfinished.to)}[/] that was begun at {unfinished.began}.")
        show_plan(out, back(unfinished))
        if dry:
            return FINE
        confirm(out, yes=yes)
        with Interrupts(lambda text: out.print("interrupted: the same command goes on with it")) as interrupts:
            actions = RestoreActions(fleet, cluster, interrupts, lambda text: out.print(f"  {escape(text)}", soft_wrap=True))
            executor.call_off(unfinished, actions, lambda step: out.print(f"{escape(str(step))} ..."))
    return verify(cluster, strict=False, through=None, as_json=False)
