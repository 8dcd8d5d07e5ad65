"""`invoke host.remove`: takes a host out of the cluster for good, with what the others know of it."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.hosts.changing import changing
from day2.hosts.interrupts import Interrupts
from day2.procedures.actions import Actions
from day2.procedures.costs import costs
from day2.procedures.executor import execute
from day2.procedures.removal import objections, steps
from day2.ui.console import EXIT_OK, confirm, console

from .plans import print_plan, show_plan


def remove(cluster: Cluster, *, host: str, dry: bool, yes: bool, as_json: bool) -> int:
    """Takes `host` out, whether it answers or not; 0 when that is done. Once more where it was interrupted does the rest. `dry`
    prints the steps.

    Raises ClusterError with what stands in the way, when nothing was touched, and with the step that failed.
    """
    out = console(as_json=as_json)
    cluster.host(host)
    with changing(cluster, f"host.remove {host}", dry=dry) as (fleet, patroni, view):
        against = list(objections(view, cluster, host))
        if against:
            lines = [f"{host} can't be taken out now, nothing was touched:", *(f"  - {one}" for one in against)]
            raise ClusterError("\n".join(lines))
        plan = steps(view, cluster, host)
        reachable = view.hosts[host].reachable
        out.print(f"This takes [bold]{host}[/] out of cluster {cluster.name} for good. Its data is left where it is.")
        if not reachable:
            why = escape(view.hosts[host].problems["host"])
            out.print(f"[yellow]warning[/]  {host}: {why}; nothing is stopped there", soft_wrap=True)
        show_plan(out, plan, costs(view, cluster, plan))
        if not dry:
            confirm(out, yes=yes)
            with Interrupts(lambda text: out.print("interrupted: the same command does the rest")) as interrupts:
                actions = Actions(fleet, cluster, patroni, interrupts)
                for step in plan:
                    execute(step, actions)
    if not dry:
        say_what_is_left(out, cluster, host, reachable=reachable)
    if as_json:
        print_plan(cluster, plan)
    return EXIT_OK


def say_what_is_left(out: Console, cluster: Cluster, host: str, *, reachable: bool) -> None:
    """What is for the owner to do."""
    out.print(f"[bold green]{host} is out.[/] Now take it out of {cluster.inventory}, and deploy.", soft_wrap=True)
    one = cluster.host(host)
    if one in cluster.etcd_hosts:
        left = len(cluster.etcd_hosts) - 1
        out.print(f"etcd has {left} members left; the inventory needs 1, 3, 5 or 7: name another host for it.", soft_wrap=True)
    if one in cluster.entry_hosts and len(cluster.entry_hosts) == 2:
        out.print("proxy_address needs two proxy hosts: name another one, or set it to None.", soft_wrap=True)
    directories = {
        directory
        for component in cluster.components(one)
        for setting in component.directories
        if (directory := cluster.setting(setting))
    }
    if directories:
        where = " and ".join(sorted(map(str, directories)))
        out.print(f"Its data is in {where}: move that away before the host is deployed to again.", soft_wrap=True)
    if not reachable:
        out.print(f"What runs on {host} was not stopped: see to it that it does not come back as it was.", soft_wrap=True)
