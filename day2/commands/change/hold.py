"""`invoke packages.release` and `packages.hold`: whether apt may upgrade the cluster's programs, on one host or on all."""

from __future__ import annotations

from rich.markup import escape

from cluster.apt import PATIENCE, apt_mark
from cluster.topology import Cluster
from day2.hosts.changing import changing
from day2.ui.console import EXIT_OK, EXIT_PROBLEM, console

UPGRADE = (
    "apt may now upgrade them, which restarts Patroni, and PostgreSQL with it, at once (`invoke upgrade` does that one host at a"
    " time, and needs no release). Do it where no primary is (`invoke switchover` moves it), wait until `invoke status` is"
    " healthy, then take the next host. When all are done: `invoke packages.hold`"
)


def hold(cluster: Cluster, *, hosts: list[str], held: bool) -> int:
    """Holds the packages of what each of `hosts` (all of the cluster, if none is named) carries, or releases them.

    1 when a host does not answer or apt refuses: the others are done then. Raises ClusterError for an unknown host.
    """
    out = console()
    members = [cluster.host(name, "--host") for name in hosts] or cluster.hosts
    verb, said = ("hold", "held") if held else ("unhold", "released")
    commands = {one.name: apt_mark(verb, cluster.packages(one)) for one in members}
    with changing(cluster, f"packages.{'hold' if held else 'release'}") as (fleet, _, _):
        answers = fleet.run_all(commands, seconds=PATIENCE + 30)
    for answer in answers.values():
        if answer.ok:
            out.print(f"{answer.host}: {said}: {', '.join(cluster.packages(cluster.host(answer.host)))}", soft_wrap=True)
        else:
            out.print(f"[red]problem[/]  {answer.host}: not {said}: {escape(answer.problem)}", soft_wrap=True)
    if not held:
        out.print(UPGRADE, soft_wrap=True)
    return EXIT_OK if all(answer.ok for answer in answers.values()) else EXIT_PROBLEM
