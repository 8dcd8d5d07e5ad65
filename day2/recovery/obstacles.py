"""What stands in the way of a restore, before anything is touched. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cluster.timelines import Base
from cluster.topology import Cluster
from health.view import ClusterView

# Beyond the backup's own size: what is replayed after it, and what PostgreSQL needs to run.
ROOM = 1.1
SPARE_BYTES = 256 * 1024**2


@dataclass(frozen=True)
class Surveyed:
    """The data on a host (agents/sent/restore.py): whether there is any, its bytes, those that are free beside it, tablespaces
    elsewhere, whether a directory of it is a mount point, and what speaks against its being moved or deleted."""

    there: bool
    size: int
    free: int
    tablespaces: tuple[str, ...]
    mounted: bool
    against: tuple[str, ...]


def surveyed(said: Mapping[str, Any]) -> Surveyed:
    return Surveyed(**{**said, **{name: tuple(said[name]) for name in ("tablespaces", "against")}})


def reachable(view: ClusterView, cluster: Cluster) -> Iterator[str]:
    """Which hosts have to answer and do not: one that is left with the old data would lead, or be followed, as soon as it is
    back."""
    for host in (*cluster.postgres_hosts, *cluster.backup_hosts):
        if not view.hosts[host.name].reachable:
            why = f"{host.name} does not answer ({view.hosts[host.name].problems['host']})"
            if host in cluster.postgres_hosts:
                why += "; all database hosts have to: one with the old data could lead when it is back."
                why += " Bring it back, or take it out (`invoke host.remove`)"
            yield why
    if not any((etcd := view.hosts[host.name].etcd) and etcd.quorum for host in cluster.etcd_hosts):
        yield "etcd has no majority (`invoke status`)"


def objections(
    view: ClusterView, cluster: Cluster, surveys: Mapping[str, Surveyed], base: Base, host: str, *, keep: bool
) -> Iterator[str]:
    """Why a restore can't begin, one sentence each. All is looked at before anything is touched."""
    if view.dcs and view.dcs.paused:
        yield "the cluster is paused: `invoke resume` first"
    for one in cluster.backup_hosts:
        state = view.hosts[one.name].backups
        if state and any(run.running for run in state.runs):
            yield f"a backup is being made on {one.name}: wait for its end (`invoke backup.list`)"
    for name, found in surveys.items():
        yield from (f"{name}: {text}" for text in found.against)
        if found.tablespaces:
            where = ", ".join(found.tablespaces)
            yield f"{name} has tablespaces ({where}), which this command does not restore: it can be done by pgBackRest's own"
        if keep and found.mounted:
            why = "the data directory is a mount point, and can't be moved aside"
            yield f"{name}: {why}: --discard-old-data deletes what is in it"
        needed = int((base.size if name == host else max(found.size, base.size)) * ROOM) + SPARE_BYTES
        if keep and found.free < needed:
            yield (
                f"{name} has no room for the old data beside the new: {mib(needed)} are needed and {mib(found.free)} free;"
                " --discard-old-data deletes the old data"
            )
        elif not keep and found.free + found.size < needed:
            yield f"{name} has no room: {mib(needed)} are needed, and {mib(found.free + found.size)} free without the old data"


def unreadable(view: ClusterView, cluster: Cluster) -> dict[str, str]:
    """The repositories that can't be read, by name, each with the reason."""
    states = [view.hosts[host.name].backups for host in cluster.backup_hosts]
    return {one.name: one.problem for state in states if state for one in state.repositories if one.problem}


def mib(count: int) -> str:
    return f"{count / 1024**2:,.0f} MiB"
