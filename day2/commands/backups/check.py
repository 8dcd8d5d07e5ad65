"""`invoke backup.check`: whether write-ahead log gets to the archive now."""

from __future__ import annotations

from rich.markup import escape

from cluster import paths
from cluster.topology import Cluster
from day2.hosts.ssh import Fleet
from day2.ui.console import EXIT_OK, EXIT_PROBLEM, console

from .keeper import keeper

# pgBackRest itself gives a file a minute to get to the archive.
ANSWER_SECONDS = 120


def check(cluster: Cluster) -> int:
    """0 when a file that the primary was asked to end has come to the archive, else 1 with the reason."""
    host, out = keeper(cluster), console()
    with Fleet([host]) as fleet:
        answer = fleet.run(
            host.name, f"{paths.pgbackrest(cluster.name, paths.BACKUP_USER, 'check')} 2>&1", seconds=ANSWER_SECONDS
        )
    if answer.ok:
        out.print(f"the primary's write-ahead log gets to the archive on {host.name}")
        return EXIT_OK
    said = answer.output.strip() or answer.problem
    out.print(f"[red]problem[/]  {host.name}: {escape(said)}", soft_wrap=True)
    return EXIT_PROBLEM
