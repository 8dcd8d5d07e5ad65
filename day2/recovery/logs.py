"""The write-ahead log that the database hosts still have, where a restore is to lose none of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cluster.archive import SEGMENT_BYTES, segment_of
from cluster.recovery import Archive
from cluster.timelines import timelines


@dataclass(frozen=True)
class Log:
    """That of one host (agents/log_on_disk.py), of the cluster with that `system` identifier: on which `timeline` it ends, and
    where; its `whole` files and the one that it ends in (`part`), by name; the `histories` of the timelines that it has come
    along, and when the `last` transaction since its last checkpoint was committed. `record`: where the last record begins that is
    whole, 0 where that was not seen."""

    system: str
    timeline: int
    end: int
    whole: tuple[str, ...]
    part: str
    histories: Mapping[int, tuple[str, float]]
    last: float | None = None
    record: int = 0

    @property
    def least(self) -> int:
        """A recovery that has read this log to its end has come further than this: behind the beginning of the last record, or
        where that was not seen, of the last file. Not to the `end` itself: a record that is torn is none."""
        return self.record or (self.end - 1) // SEGMENT_BYTES * SEGMENT_BYTES


Logs = Mapping[str, Log]


def log_of(said: Mapping[str, Any]) -> Log:
    """From what a host tells."""
    histories = {int(number): (str(text), float(at)) for number, (text, at) in said["histories"].items()}
    return Log(**{**said, "whole": tuple(said["whole"]), "histories": histories})


def of_cluster(logs: Logs, system: str) -> dict[str, Log]:
    """Those of the cluster that the archive is of."""
    return {host: log for host, log in logs.items() if log.system == system}


def furthest(logs: Logs) -> str | None:
    """The host whose log goes furthest: on the newest timeline, as the promotion gate lets none begin that lacks anything."""
    return max(logs, key=lambda host: (logs[host].timeline, logs[host].end), default=None)


def ends(logs: Logs, system: str) -> tuple[int, ...]:
    """The newest timeline that hosts of the cluster have, and behind what a recovery has to come there; empty for none."""
    ours = of_cluster(logs, system)
    best = furthest(ours)
    return (ours[best].timeline, ours[best].least) if best else ()


def completed(archive: Archive, logs: Logs) -> Archive:
    """The archive with the timelines that only hosts know of yet."""
    histories: dict[int, tuple[str, float]] = {}
    for log in of_cluster(logs, archive.system).values():
        for number, (text, at) in log.histories.items():
            histories[number] = (text, min(at, histories[number][1]) if number in histories else at)
    return replace(archive, timelines={**timelines(histories), **archive.timelines})


def lacking(archive: Archive, logs: Logs) -> dict[str, list[str]]:
    """What each host is to archive, that the archive lacks: each file once. Replicas have marked as archived what their primary
    was to archive, and nobody else would.

    The file in which the log ends is one of them, by its own name: nobody writes on in it. Only that of the log which goes
    furthest, and only where no archive has it, since that could be another one.
    """
    ours = of_cluster(logs, archive.system)
    best = furthest(ours)
    oldest = min((one for files in archive.files.values() for there in files.found.values() for one in there), default=0)
    found: dict[str, list[str]] = {}
    for host in sorted(ours, key=lambda host: (host != best, host)):
        log = ours[host]
        names = [f"{number:08X}.history" for number in log.histories if number not in archive.timelines]
        names += [name for name in log.whole if segment_of(name) >= oldest and not _all(archive, name)]
        if host == best and log.part and not any(files.has(log.part) for files in archive.files.values()):
            names.append(log.part)
        known = {name for several in found.values() for name in several}
        found[host] = [name for name in names if name not in known]
    return found


def _all(archive: Archive, name: str) -> bool:
    """Whether each repository that can be read has the file."""
    return all(files.has(name) for files in archive.files.values())
