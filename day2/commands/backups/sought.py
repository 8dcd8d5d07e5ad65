"""What an operator wants to go back to, or to look at, and what leads there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cluster.errors import ClusterError
from cluster.recovery import Archive, Mark, Target, base_for, mark_called, moment, timeline_of
from cluster.timelines import Base, Timeline
from day2.recovery.actions import RestoreActions
from day2.recovery.logs import Logs, completed
from day2.recovery.plan import marks


@dataclass(frozen=True)
class Asked:
    """The options: what to go back to, the backup's label and the timeline where they are named; the repository, and the moment
    as of which it is read, empty where they are not."""

    target: Target
    label: str | None
    timeline: int | None
    repository: str = ""
    as_of: str = ""


@dataclass(frozen=True)
class Sought:
    """Where that lies: what there is in the archive, the timeline along which it is reached, from which backup; the mark, where
    it is one."""

    archive: Archive
    along: Timeline
    base: Base
    mark: Mark | None

    @property
    def newest(self) -> bool:
        """Whether it lies on the newest timeline that the archive has."""
        return self.along.number == max(self.archive.timelines)


def look_for(
    actions: RestoreActions, asked: Asked, noted: Mapping[str, str], away: Mapping[str, str], *, apart: bool = False,
    logs: Logs | None = None,
) -> Sought:  # fmt: skip
    """`apart`: each repository has to lead there by itself; `logs`: what hosts have, which is archived before. Raises
    ClusterError where nothing does."""
    now, target = datetime.now(UTC), asked.target
    if target.time and target.time > now:
        raise ClusterError(
            f"--to {target.text!r} lies in the future: it is {moment(now.timestamp())} now. `--to latest` is all there is"
        )
    archive = completed(replace(actions.archive(asked.repository, asked.as_of, away), apart=apart), logs or {})
    mark = mark_called(target.text, marks(noted)) if target.kind == "name" else None
    along = timeline_of(archive.timelines, target, mark, asked.timeline)
    return Sought(archive, along, base_for(archive.bases, along, target, mark, asked.label, archive), mark)


def refuse_too_late(target: Target, last: float | None, logs: Logs) -> None:
    """Raises ClusterError for a time after all that is in the archive (`last`), and after what hosts have, which is archived
    before. A cluster that lives writes a marker there first."""
    there = {log.last: host for host, log in logs.items() if log.last is not None}
    newest = max(there, default=0.0)
    if target.time and last is not None and target.time.timestamp() > max(last + 1, newest):
        what = f"the last of the write-ahead log got to the archive at {moment(last)}"
        if newest > last:
            what = f"the last transaction that any host has was committed at {moment(newest)} ({there[newest]})"
        raise ClusterError(f"--to {target.text!r}: {what}, so nothing there is later: `--to latest` is all there is")
