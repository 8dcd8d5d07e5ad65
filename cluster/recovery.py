"""Where a restore goes: the moment that was asked for, the timeline on which it lies, and the backup to begin from. Pure.

The write-ahead log of a cluster is a tree. Each promotion begins a timeline: after a failover it goes on from the end of the one
before, after a restore from somewhere in the middle of it. A moment lies on the timeline that was written then, or on one that
goes on from that; never on one that a restore has begun further back.

Positions are bytes since 0/0, times datetimes with a zone, or seconds since 1970 where an archive tells them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from .archive import SEGMENT_BYTES, Archived, Hole, archived, name_of, together
from .errors import ClusterError, did_you_mean
from .timelines import Base, Timeline, bases, goes_on, lsn, position, timelines

Kind = Literal["time", "lsn", "name", "latest"]
LAST_FILES = 8  # of a log, in which its last transaction is looked for
LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,62}")
FORMS = (
    "should be a time with its zone, such as '2026-11-29 07:00:00+00:00', a position in the write-ahead log, such as 0/5F6ADF0,"
    " the name of a mark (`invoke backup.mark`), or latest"
)


@dataclass(frozen=True)
class Target:
    """What was asked for: `text` as it was typed, and what of it its kind has; `point`: what a mark is called in the log."""

    kind: Kind
    text: str
    time: datetime | None = None
    lsn: int | None = None
    point: str = ""

    @property
    def value(self) -> str:
        """What PostgreSQL is told; for a name that of its point, for `latest` nothing."""
        if self.time:
            return f"{self.time.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00"
        if self.kind == "lsn" and self.lsn is not None:
            return lsn(self.lsn)
        return (self.point or self.text) if self.kind == "name" else ""


def parse_target(text: str) -> Target:
    """The Target that `--to` says. Raises ClusterError for what is none, and for a time without a zone."""
    text = text.strip()
    if text == "latest":
        return Target("latest", text)
    if LSN.fullmatch(text):
        return Target("lsn", text, lsn=position(text))
    if re.match(r"\d{4}-?\d", text):
        return _time(text)
    if NAME.fullmatch(text):
        return Target("name", text)
    raise ClusterError(f"--to {text!r}: {FORMS}")


def _time(text: str) -> Target:
    try:
        found = datetime.fromisoformat(re.sub(r"\s*(UTC|Z)$", "+00:00", text))
    except ValueError:
        raise ClusterError(f"--to {text!r}: {FORMS}") from None
    if found.tzinfo is None:
        raise ClusterError(f"--to {text!r} has no zone, so it could be any of many moments: such as '{text}+00:00' for UTC")
    return Target("time", text, time=found)


def parse_as_of(text: str | None, repository: str | None) -> str:
    """The moment that `--as-of` says, as pgBackRest takes it; empty for none. Raises ClusterError."""
    if text is None:
        return ""
    if repository is None:
        raise ClusterError(f"--as-of {text!r}: needs --repository, the one that is to be read as it was then")
    try:
        found = datetime.fromisoformat(re.sub(r"\s*(UTC|Z)$", "+00:00", text.strip()))
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise ClusterError(f"--as-of {text!r}: should be a time with its zone, such as '2026-11-29 07:00:00+00:00'")
    return f"{found.astimezone(UTC):%Y-%m-%d %H:%M:%S}+00"


def parse_timeline(text: str | None) -> int | None:
    """The number that `--timeline` says. Raises ClusterError."""
    if text is None:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise ClusterError(f"--timeline {text!r}: should be a number, such as 3")
    return int(text)


@dataclass(frozen=True)
class Mark:
    """A named place in the write-ahead log (`invoke backup.mark`). `point`: what the restore point there is called, and no other
    one is: a recovery stops at the first of a name, and a name can be given again. Empty for one that is called like the mark."""

    name: str
    timeline: int
    lsn: int
    at: str
    point: str = ""


@dataclass(frozen=True)
class Archive:
    """What there is to go back to, in all repositories that can be read; `silent` are the others, each with the reason. `system`
    is the identifier of the cluster whose it is. `files`: the write-ahead log that there is in each, by its name. `apart`: what
    reads it asks one repository alone."""

    bases: tuple[Base, ...]
    timelines: Mapping[int, Timeline]
    system: str
    files: Mapping[str, Archived]
    silent: Mapping[str, str]
    apart: bool = False

    def beside(self, base: Base) -> Archived:
        """The log that a restore from a backup can read: each file from whichever has it; where a repository is silent, all from
        the one that has the backup, since asking the silent one for each file would take a minute or more."""
        names = [base.repository] if self.silent or self.apart else list(self.files)
        return together(self.files[name] for name in names if name in self.files)

    def ends(self, base: Base, along: Timeline) -> list[tuple[str, float]]:
        """The last files of the log along a timeline, the newest first, each with when it got there, or a later one did."""
        there, found, end = self.beside(base).found, list[tuple[str, float]](), None
        for timeline, begin in reversed(along.line):
            first, known = begin // SEGMENT_BYTES, there.get(timeline, {})
            wanted = [one for one in known if one >= first and (end is None or one < end)]
            found += [(name_of(timeline, one), known[one]) for one in sorted(wanted, reverse=True)]
            end = first
        return found[:LAST_FILES]


def archive_of(told: Mapping[str, Mapping[str, Any]]) -> Archive:
    """From what agents/sent/archive.py tells of each repository. Raises ClusterError where none can be read, and where they are
    of different clusters."""
    read = {name: said for name, said in told.items() if "problem" not in said}
    silent = {name: str(said["problem"]) for name, said in told.items() if "problem" in said}
    if not read:
        raise ClusterError("; ".join(f"repository {name}: {why}" for name, why in silent.items()))
    histories: dict[int, tuple[str, float]] = {}
    for said in read.values():
        for number, (text, at) in said["histories"].items():
            known = histories.get(int(number))
            # The same file gets to each, to one that was away later: when it was written is when the first one got it.
            histories[int(number)] = (text, min(at, known[1]) if known else at)
    systems = {
        name: str(one["system-id"]) for name, said in read.items() for stanza in said["info"] for one in stanza.get("db", ())[-1:]
    }
    if len(set(systems.values())) > 1:
        named = ", ".join(f"{name}: {one}" for name, one in systems.items())
        raise ClusterError(
            f"the repositories are of different clusters ({named}): those of another one than that which is to come back"
            " have to be taken out of backup_repositories first, by a deploy"
        )
    return Archive(
        bases=tuple(base for name, said in read.items() for base in bases(said["info"], name)),
        timelines=timelines(histories),
        system=next(iter(systems.values()), ""),
        files={name: archived(said["files"]) for name, said in read.items()},
        silent=silent,
    )


def timeline_of(known: Mapping[int, Timeline], target: Target, mark: Mark | None, named: int | None) -> Timeline:
    """The timeline to recover along. `named`: the one that `--timeline` says, None for none. Raises ClusterError."""
    if named is not None:
        if named not in known:
            there = ", ".join(map(str, sorted(known)))
            raise ClusterError(f"--timeline {named}: no such timeline is in the archive, which has {there}")
        return known[named]
    if target.time:
        written = max(n for n, one in known.items() if one.began <= target.time.timestamp())
        return goes_on(known, written)
    if mark:
        holding = [one for one in known.values() if one.has(mark.timeline, mark.lsn)]
        return max(holding, key=lambda one: one.number)
    return known[max(known)]


def unfit(base: Base, along: Timeline, target: Target, mark: Mark | None = None, there: Archived | None = None) -> str | None:
    """Why a backup does not lead to the target along a timeline, by what is `there` in the archive; None where it does."""
    if not along.has(base.timeline, base.lsn):
        return f"it is of timeline {base.timeline}, which does not lead there"
    if target.time and base.ended > target.time.timestamp():
        return f"it ended at {moment(base.ended)}, after that"
    where = mark.lsn if mark else target.lsn
    if where is not None and base.lsn > where:
        return f"it ends at {lsn(base.lsn)}, after that"
    if base.damaged:
        return "pages in it have wrong checksums"
    holes = there.holes(along.line, base.lsn) if there else []
    return beyond(holes[0], target, where) if holes else None


def beyond(hole: Hole, target: Target, where: int | None) -> str | None:
    """Why a moment, `where` in the log if that is known, can't be reached for a hole in the archive; None where it is before."""
    reached = where is not None and where < hole.start
    if target.time and hole.before is not None:
        reached = target.time.timestamp() <= hole.before
    if reached:
        return None
    until = f" (what is there ends at {moment(hole.before)}, {lsn(hole.start)})" if hole.before is not None else ""
    return f"{hole.files} is missing in the archive{until}, and nothing after it can be reached from there"


def base_for(
    found: Iterable[Base], along: Timeline, target: Target, mark: Mark | None, label: str | None, archive: Archive | None = None
) -> Base:
    """The newest backup that leads to the target, or the one called `label`. Raises ClusterError where there is none."""
    there = tuple(found)
    silent = archive.silent if archive else {}
    also = "".join(f"; repository {name} can't be read, and may have one: {why}" for name, why in silent.items())
    if label is not None:
        named = next((one for one in there if one.label == label), None)
        if named is None:
            labels = [one.label for one in there]
            raise ClusterError(f"--set {label}{did_you_mean(label, labels)}: should be one of `invoke backup.list`{also}")
        if why := unfit(named, along, target, mark, archive.beside(named) if archive else None):
            raise ClusterError(f"--set {label} does not lead to {target.text}: {why}")
        return named
    why_not = {one: unfit(one, along, target, mark, archive.beside(one) if archive else None) for one in there}
    fit = [one for one, why in why_not.items() if why is None]
    if fit:
        return max(fit, key=lambda one: (one.ended, one.label))
    lines = [f"no backup leads to {target.text}: one has to have ended before that moment{also}"]
    lines += [f"  - {one.label}: {why}" for one, why in why_not.items()]
    raise ClusterError("\n".join(lines if there else [f"there is no backup (`invoke backup.list`){also}"]))


def mark_called(name: str, marks: Mapping[str, Mark]) -> Mark:
    """The mark of that name. Raises ClusterError."""
    if name in marks:
        return marks[name]
    known = f"there are {', '.join(sorted(marks))}" if marks else "there is none"
    raise ClusterError(
        f"--to {name}{did_you_mean(name, list(marks))}: no mark is called so ({known}); a restore point that was made by SQL is"
        f" named by the position that pg_create_restore_point returned. It {FORMS}"
    )


def moment(seconds: float) -> str:
    """Seconds since 1970 for a person."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
