"""`invoke packages.list`: the programs' packages on each host: what is installed, what runs, and whether apt leaves it alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from cluster.topology import Cluster
from day2.hosts.observe import CONNECT_SECONDS, observe
from day2.hosts.ssh import Fleet
from day2.ui.console import EXIT_OK, EXIT_PROBLEM, console, print_json
from day2.ui.findings import show_findings
from health.rules.packages import held, running, version_that_runs
from health.view import ClusterView

FORMAT = "pgquorum packages 1"


@dataclass(frozen=True)
class Row:
    """One package on one host. `runs`: the version of the program that it is named after, where that answers."""

    host: str
    package: str
    installed: str
    runs: str | None
    held: bool


def packages(cluster: Cluster, *, as_json: bool) -> int:
    """0 when every host answers and what is installed is what runs, else 1."""
    with Fleet(cluster.hosts, CONNECT_SECONDS) as fleet:
        view = observe(fleet, cluster)
    silent = [name for name, host in view.hosts.items() if not host.reachable]
    waiting = tuple(running(view, cluster))
    rows = [row for host in cluster.hosts for row in _rows(view, cluster, host.name)]
    if as_json:
        print_json(FORMAT, {"cluster": cluster.name, "packages": rows, "unreachable": silent})
        return EXIT_PROBLEM if silent or waiting else EXIT_OK
    out = console()
    table = Table("host", "package", "installed", "runs", "apt", box=None, header_style="dim", padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(row.host, row.package, row.installed, row.runs, "keeps it" if row.held else "may upgrade it")
    out.print(table)
    for name in silent:
        out.print(f"[red]problem[/]  {name}: {escape(view.hosts[name].problems['host'])}", soft_wrap=True)
    show_findings(out, (*held(view, cluster), *waiting))
    return EXIT_PROBLEM if silent or waiting else EXIT_OK


def _rows(view: ClusterView, cluster: Cluster, name: str) -> Iterator[Row]:
    """The packages of what a host carries, as far as they are installed."""
    host, member = view.hosts[name], cluster.host(name)
    programs = {one.packages_for(cluster.postgres.version)[0]: one.name for one in cluster.components(member)}
    for package in cluster.packages(member):
        if found := host.packages.get(package):
            runs = version_that_runs(host, programs[package]) if package in programs else None
            yield Row(name, package, found.version, runs, found.held)
