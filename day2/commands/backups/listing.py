"""`invoke backup.list`: the backups there are."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.markup import escape
from rich.table import Table

from cluster.errors import ClusterError
from cluster.repositories import Place
from cluster.topology import Cluster
from day2.hosts.observe import CONNECT_SECONDS, observe
from day2.hosts.ssh import Fleet
from day2.ui.console import EXIT_OK, EXIT_PROBLEM, console, print_json, size
from health.backup_states import Backup, Drill, Repository

from .keeper import keeper

FORMAT = "pgquorum backups 1"


def listing(cluster: Cluster, *, as_json: bool) -> int:
    """0 when there is a backup, 1 when there is none, or it could not be seen."""
    host = keeper(cluster)
    # The others for drills that were done there.
    with Fleet(cluster.pgbackrest_hosts, CONNECT_SECONDS) as fleet:
        view = observe(fleet, cluster, cluster.pgbackrest_hosts)
    seen, state = view.hosts[host.name], view.backups_of(host.name)
    if state is None:
        raise ClusterError(
            f"{host.name}: {seen.problems.get('host') or seen.problems.get('pgbackrest', 'nothing is deployed there')}"
        )
    if as_json:
        running = [run.kind for run in state.runs if run.running]
        rows = [as_row(one, state.proven.get(one.label)) for one in state.backups]
        repositories = [about(place, state.repository(place.name)) for place in cluster.repositories]
        document = {"cluster": cluster.name, "host": host.name, "backups": rows, "running": running}
        archive = {"first": state.archive_first, "last": state.archive_last}
        print_json(FORMAT, {**document, "archive": archive, "repositories": repositories})
        return EXIT_OK if state.backups else EXIT_PROBLEM
    out = console()
    several = len(state.repositories) > 1
    table = Table(
        "backup", *(["in"] if several else []), "type", "ended (UTC)", "age", "data", "stored", "proven", "write-ahead log",
        box=None, header_style="dim", padding=(0, 2, 0, 0),
    )  # fmt: skip
    table.columns[0].no_wrap = True  # what pgBackRest is told
    for one in state.backups:
        label, *more = map(escape, cells(one, state.proven.get(one.label)))
        table.add_row(label, *([one.repository] if several else []), *more)
    out.print(table)
    for one_of_them in state.repositories:
        name = f" in {one_of_them.name}" if several else ""
        if one_of_them.problem:
            out.print(f"[red]problem[/]  {one_of_them.name} can't be read: {escape(one_of_them.problem)}", soft_wrap=True)
        elif one_of_them.first:
            out.print(f"archived{name}: {one_of_them.first} to {one_of_them.last}")
    for run in state.runs:
        if run.running:
            out.print(f"[cyan]note[/]     a backup of type {run.kind} is being made, or waits for its turn")
    if state.drilling and state.drilling.running:
        out.print(f"[cyan]note[/]     a drill goes on on {host.name}")
    return EXIT_OK if state.backups else EXIT_PROBLEM


def about(place: Place, seen: Repository | None) -> dict[str, Any]:
    """A repository as it is in JSON."""
    archive = {"first": seen.first if seen else None, "last": seen.last if seen else None}
    return {"name": place.name, "type": place.kind, "problem": (seen.problem or None) if seen else None, "archive": archive}


def as_row(one: Backup, drill: Drill | None) -> dict[str, Any]:
    """A backup as it is in JSON, with the last drill of it."""
    row = asdict(one) | {"started": _moment(one.started).isoformat(), "ended": _moment(one.ended).isoformat()}
    drilled = asdict(drill) | {"ended": _moment(drill.ended).isoformat()} if drill else None
    return {"label": row.pop("label"), "type": row.pop("kind"), **row, "drill": drilled}


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def cells(one: Backup, drill: Drill | None) -> tuple[str, ...]:
    """A row of the table."""
    ended, wal = f"{_moment(one.ended):%Y-%m-%d %H:%M:%S}", f"{one.wal_first} to {one.wal_last}"
    return one.label, one.kind, ended, age(one.age), size(one.size), size(one.stored), proven(drill), wal


def proven(drill: Drill | None) -> str:
    """What came of the last drill of a backup, and how long ago."""
    if drill is None:
        return "-"
    return f"{age(drill.age)} ago" if drill.passed else f"failed {age(drill.age)} ago"


def age(seconds: float) -> str:
    """How old something is, as people say it."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def in_words(one: Backup) -> str:
    """A backup that was just made."""
    return f"{one.label}: {size(one.size)} of data, {size(one.stored)} stored, in {one.ended - one.started} s"
