"""What an operator wants to go back to, or to look at, and what leads there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from cluster.archive import SEGMENT_BYTES, segment_of
from cluster.errors import ClusterError
from cluster.recovery import Archive, Mark, Target, base_for, mark_called, moment, timeline_of
from cluster.timelines import Base, Timeline, lsn
from day2.recovery.actions import RestoreActions
from day2.recovery.logs import Logs, completed
from day2.recovery.plan import marks, read_by


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

    def told(self, target: Target) -> Target:
        """The target as PostgreSQL is told of it."""
        return replace(target, point=self.mark.point) if self.mark else target

    def data(self, target: Target) -> int:
        """How many bytes of data there are at most between the backup and the moment, by the backups in between and the first one
        after it: replay makes of the data what it was then."""
        ours = [one for one in self.archive.bases if one.repository == self.base.repository and one.ended >= self.base.ended]
        later = sorted(ours, key=lambda one: one.ended)
        until = next((n for n, one in enumerate(later) if self._after(one, target)), len(later))
        return max(one.size for one in (self.base, *later[: until + 1]))

    def _after(self, base: Base, target: Target) -> bool:
        where = self.mark.lsn if self.mark else target.lsn
        return base.lsn > where if where is not None else target.time is not None and base.ended > target.time.timestamp()

    @property
    def newest(self) -> bool:
        """Whether it lies on the newest timeline that the archive has."""
        return self.along.number == max(self.archive.timelines)


def look_for(
    actions: RestoreActions, asked: Asked, noted: Mapping[str, str], away: Mapping[str, str], *, apart: bool = False,
    logs: Logs | None = None, newest: int | None = None,
) -> Sought:  # fmt: skip
    """`apart`: each repository has to lead there by itself; `logs`: what hosts have, which is archived before; `newest`: no later
    timeline is meant, unless it is named. Raises ClusterError where nothing does."""
    now, target = datetime.now(UTC), asked.target
    if target.time and target.time > now:
        raise ClusterError(
            f"--to {target.text!r} lies in the future: it is {moment(now.timestamp())} now. `--to latest` is all there is"
        )
    archive = completed(replace(actions.archive(asked.repository, asked.as_of, away), apart=apart), logs or {})
    mark = mark_called(target.text, marks(noted)) if target.kind == "name" else None
    meant = {number: one for number, one in archive.timelines.items() if asked.timeline or newest is None or number <= newest}
    along = timeline_of(meant, target, mark, asked.timeline)
    return Sought(archive, along, base_for(archive.bases, along, target, mark, asked.label, archive), mark)


def refuse_too_late(actions: RestoreActions, host: str, asked: Asked, found: Sought, number: int, logs: Logs) -> None:
    """Raises ClusterError for a position behind the log along that timeline, and for a time after which no transaction has ended:
    only by a later one does a recovery know that it has come so far. What there is is asked of the archive, on a database host
    (`number`: pgBackRest's of the repository), and hosts have what is archived before. Not to be asked where a cluster that lives
    writes a marker first."""
    target, along = asked.target, found.along.number
    files = found.archive.ends(found.base, found.along)
    ours = {name: log for name, log in logs.items() if log.timeline == along}
    if target.lsn is not None:
        ends = [*(log.end for log in ours.values()), *((segment_of(name) + 1) * SEGMENT_BYTES for name, _ in files[:1])]
        if ends and target.lsn > max(ends):
            raise ClusterError(
                f"--to {target.text} is after the last of the write-ahead log of timeline {along}, {lsn(max(ends))}"
            )
    if target.time is None:
        return
    wanted = target.time.timestamp()
    last = actions.last_ended(host, [name for name, _ in files], read_by(number, asked.as_of)) if files else None
    ended = {log.last: f" ({name})" for name, log in ours.items() if log.last is not None}
    ended |= {} if last is None else {last: ""}
    if ended and wanted >= max(ended):
        what = f"the last transaction on timeline {along} ended at {moment(max(ended))}{ended[max(ended)]}"
    elif not ended and files and wanted > files[0][1] + 1:
        what = f"the last of the write-ahead log of timeline {along} got to the archive at {moment(files[0][1])}"
    else:
        return
    latest = "--to latest" if found.newest else f"--to latest --timeline {along}"
    raise ClusterError(f"--to {target.text!r}: {what}, so nothing there is later: `{latest}` is all there is")
