"""Until when a restore can be undone by another one: as long as a backup is kept that leads to where the cluster was. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cluster.recovery import Archive, Target, unfit
from cluster.topology import Cluster
from health.backup_states import BackupState

from .plan import Restore

DAY = 86_400


@dataclass(frozen=True)
class WayBack:
    """The newest full `backup` of a `repository` with which all can be had back. It expires with the scheduled full backup of
    this number from now on (`fulls`; 0: with the next backup of any kind), or where days are kept not before `until` (seconds
    since 1970)."""

    repository: str
    backup: str
    fulls: int | None = None
    until: float | None = None


def leading(archive: Archive, timeline: int) -> tuple[str, ...]:
    """The backups that lead to the end of a timeline, by label."""
    if timeline not in archive.timelines:
        return ()
    along, latest = archive.timelines[timeline], Target("latest", "latest")
    return tuple(one.label for one in archive.bases if unfit(one, along, latest, None, archive.beside(one)) is None)


def ways_back(cluster: Cluster, restore: Restore, state: BackupState | None, now: float) -> Iterator[WayBack]:
    """In each repository that has one. `state`: the backups as they were before the restore's own, which expires none."""
    for place in cluster.repositories if state else ():
        there = state.of(place.name) if state else ()
        fulls = [one for one in there if one.kind == "full"]
        # What builds on a full backup goes with it; its label begins with that one's.
        needed = {one.label.partition("_")[0] for one in there if one.label in restore.ways}
        best = max((n for n, one in enumerate(fulls) if one.label in needed), default=None)
        if best is None:
            continue
        kept, number = place.retention(cluster.backup.keep_full, cluster.backup.keep_days)
        newer = fulls[best + 1 :]
        if kept == "time":  # until the one after it is so old that it alone is enough
            until = (newer[0].ended if newer else now) + number * DAY
            yield WayBack(place.name, fulls[best].label, until=until)
        else:  # the restore's own is one of them
            yield WayBack(place.name, fulls[best].label, fulls=max(0, number - len(newer) - 1))
