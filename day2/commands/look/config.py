"""`invoke config`: where the settings, etcd's configuration and what PostgreSQL runs with differ."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.hosts.observe import observe_once
from day2.ui.console import EXIT_OK, EXIT_PROBLEM, console, print_json
from health.rules.settings import altered, drifts, foreign, not_seen

FORMAT = "pgquorum config 1"


def config(cluster: Cluster, *, as_json: bool) -> int:
    """Prints every difference; 1 when there is any, or a PostgreSQL could not be asked. Raises ClusterError."""
    view = observe_once(cluster)
    if view.dcs is None or not view.dcs.config:
        raise ClusterError("etcd has no configuration of this cluster, or does not answer (`invoke status`)")
    found, others = (*drifts(view, cluster), *altered(view, cluster)), foreign(view, cluster)
    silent = not_seen(view, cluster)
    if as_json:
        print_json(FORMAT, {"cluster": cluster.name, "differences": found, "not_ours": others})
        return EXIT_PROBLEM if found or silent else EXIT_OK
    out = console()
    table = Table("setting", "where", "settings", "actual", "", box=None, header_style="dim", padding=(0, 2, 0, 0))
    for one in found:
        wanted = "unset" if one.wanted is None else str(one.wanted)
        actual = "unset" if one.actual is None else str(one.actual)
        marks = [*(["by ALTER SYSTEM"] if one.altered else []), *(["needs a restart"] if one.needs_restart else [])]
        table.add_row(one.name, one.where, escape(wanted), escape(actual), ", ".join(marks))
    if found:
        out.print(table)
        out.print()
    if any(not one.altered for one in found):
        out.print("A deploy applies the settings; what needs a restart then waits for `invoke rolling-restart`.")
    if any(one.altered for one in found):
        reset = "`alter system reset NAME` on the host, then `select pg_reload_conf()`"
        out.print(f"What ALTER SYSTEM has set no deploy takes back: {reset}.", soft_wrap=True)
    if not found:
        out.print(f"etcd and PostgreSQL have what the settings say{', where it could be asked' if silent else ''}")
    for name in silent:
        out.print(f"[yellow]warning[/]  {name}: PostgreSQL could not be asked", soft_wrap=True)
    for name, value in others.items():
        out.print(f"[dim]not ours, left alone:[/] {escape(f'{name} = {value}')}", soft_wrap=True)
    return EXIT_PROBLEM if found or silent else EXIT_OK
