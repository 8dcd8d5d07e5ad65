"""A restore of the cluster itself: what it is, what stands in the way, and its steps. Pure.

It is noted in etcd while it is under way, with how many of its steps are done: whoever calls it again goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from cluster.recovery import Kind, Mark, Target
from cluster.timelines import Base, Timeline
from cluster.topology import Cluster
from health.finding import Finding
from health.view import ClusterView

from .steps import (
    ArchiveRest,
    AwaitReplicas,
    BeginBackup,
    EndArchive,
    Fetch,
    Follow,
    ForgetCourse,
    HoldPatroni,
    Lead,
    PassOver,
    PutBack,
    Recover,
    RestoreStep,
    SetAside,
    StartPatroni,
    StopMember,
)

# Beyond the backup's own size: what is replayed after it, and what PostgreSQL needs to run.
ROOM = 1.1
SPARE_BYTES = 256 * 1024**2
# The subjects, or single rules, of problems that a restore makes itself until all replicas are there.
MADE_BY_IT = ("primary.", "patroni.", "replication.", "routing.", "durability.", "failover.no-candidate", "failover.no-leader")


@dataclass(frozen=True)
class Restore:
    """`id` names what it leaves; `to` is what was asked for, `kind` and `value` what PostgreSQL is told of that. It begins with
    the backup `label` on `host`, follows `timeline`, and begins timeline `begins`; those in `taken` were begun elsewhere. The
    other `hosts` get their data from there. `before`: the timeline that was written until then. `live`: the archive was to
    be ended first. `keep`: the old data is kept beside the new. `repository` (its name, and `number`, pgBackRest's) has the
    backup; `as_of`: it is read as it was at that moment (repo-target-time), empty for as it is. `away`: repositories that can't
    be read, so nothing is archived there before the new leader leads. `done` steps are done."""

    id: str
    to: str
    kind: Kind
    value: str
    label: str
    host: str
    timeline: int
    begins: int
    taken: tuple[int, ...]
    hosts: tuple[str, ...]
    before: int
    live: bool
    keep: bool
    began: str
    repository: str = ""
    number: int = 1
    as_of: str = ""
    away: tuple[str, ...] = ()
    done: int = 0

    @property
    def options(self) -> tuple[str, ...]:
        """By which pgBackRest reads that repository."""
        return tuple(read_by(self.number, self.as_of))

    @property
    def suffix(self) -> str:
        """What the directories of the old data are called more; empty where it is deleted."""
        return f".before-{self.id}" if self.keep else ""

    @property
    def text(self) -> str:
        """The restore as JSON, as its note in etcd has it."""
        return json.dumps(asdict(self))


def read_by(number: int, as_of: str) -> list[str]:
    """The options by which pgBackRest reads one repository, as it was at a moment where one is named."""
    return [f"--repo={number}", *([f"--repo-target-time={as_of}"] if as_of else [])]


def read(text: str) -> Restore:
    """The Restore that is noted. Raises ValueError, TypeError and KeyError for what is none."""
    fields = json.loads(text)
    several = {name: tuple(fields[name]) for name in ("taken", "hosts", "away") if name in fields}
    return Restore(**{**fields, **several})


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


def planned(
    cluster: Cluster, target: Target, base: Base, along: Timeline, known: Mapping[int, Timeline], promoted: int, host: str,
    *, id: str, began: str, before: int, live: bool, keep: bool, as_of: str = "", away: Iterable[str] = (),
) -> Restore:  # fmt: skip
    """A new restore on `host`. `promoted`: the last timeline that somebody was let begin, of which the archive may not know."""
    newest = max(*known, promoted)
    return Restore(
        id=id,
        to=target.text,
        kind=target.kind,
        value=target.value,
        label=base.label,
        host=host,
        timeline=along.number,
        begins=newest + 1,
        taken=tuple(number for number in range(along.number + 1, newest + 1) if number not in known),
        hosts=tuple(one.name for one in cluster.postgres_hosts),
        before=before,
        live=live,
        keep=keep,
        began=began,
        repository=base.repository,
        number=numbered(cluster, base.repository),
        as_of=as_of,
        away=tuple(away),
    )


def numbered(cluster: Cluster, repository: str) -> int:
    """By which number pgBackRest knows it."""
    return next((one.number for one in cluster.repositories if one.name == repository), 1)


def may_lead(unfinished: Restore) -> bool:
    """Whether it has come so far that the restored server may lead. Another one in its place then is a restore like any."""
    return any(isinstance(step, Lead) for step in steps(unfinished)[: unfinished.done + 1])


def instead(unfinished: Restore, new: Restore) -> Restore:
    """The new one in place of one that was not finished: the old data is where that has put it, and what it has restored is
    thrown away."""
    kept = replace(new, id=unfinished.id, keep=unfinished.keep, live=unfinished.live, began=unfinished.began)
    kept = replace(kept, host=unfinished.host, hosts=unfinished.hosts, before=unfinished.before)
    fetching = next(n for n, step in enumerate(steps(kept)) if isinstance(step, Fetch))
    return replace(kept, done=min(unfinished.done, fetching))


def reachable(view: ClusterView, cluster: Cluster) -> Iterator[str]:
    """Which hosts have to answer and do not: one that is left with the old data would lead, or be followed, as soon as it is
    back."""
    for host in (*cluster.postgres_hosts, *cluster.backup_hosts):
        if not view.hosts[host.name].reachable:
            why = "all database hosts have to: one with the old data could lead when it is back"
            yield f"{host.name} does not answer ({view.hosts[host.name].problems['host']}); {why}"
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


def place(view: ClusterView, cluster: Cluster) -> str:
    """Where the backup is restored: on the host of who leads, or led last; else the first one."""
    names = [one.name for one in cluster.postgres_hosts]
    led = view.writable[0] if len(view.writable) == 1 else view.leader
    return led if led in names else names[0]


def steps(restore: Restore) -> tuple[RestoreStep, ...]:
    """All its steps, those that are done, too."""
    others = tuple(name for name in restore.hosts if name != restore.host)
    return (
        *((EndArchive(restore.host, restore.away, restore.repository, restore.number),) if restore.live else ()),
        HoldPatroni(restore.hosts, restore.id),
        *(StopMember(name) for name in (*others, restore.host)),
        ArchiveRest(restore.hosts, restore.away, restore.live),
        *(SetAside(name, restore.suffix) for name in (restore.host, *others)),
        Fetch(restore.host, restore.label, restore.timeline, restore.repository, restore.options),
        Recover(restore.host, restore.kind, restore.value, restore.timeline, restore.begins, restore.taken),
        ForgetCourse(restore.host),
        Lead(restore.host),
        Follow(others, restore.host),
        AwaitReplicas(),
        BeginBackup(),
    )


def final(restore: Restore) -> str | None:
    """Why an unfinished restore can't be called off any more; None where it can."""
    planned = steps(restore)
    begun = planned[: restore.done + 1]
    if any(isinstance(step, ForgetCourse) for step in begun):
        return "what etcd had of the old course may be gone: let it come to its end, and then go back"
    if not restore.keep and any(isinstance(step, SetAside) for step in begun):
        return "old data may be deleted: let it come to its end, and then go back"
    return None


def back(restore: Restore) -> tuple[RestoreStep, ...]:
    """The steps that call it off: all is as it was before."""
    return (
        *(PutBack(name, restore.suffix) for name in restore.hosts),
        PassOver(restore.begins),
        StartPatroni((restore.host, *(name for name in restore.hosts if name != restore.host))),
        AwaitReplicas(),
    )


def left(restore: Restore) -> tuple[RestoreStep, ...]:
    """The steps that are to be done."""
    return steps(restore)[restore.done :]


def awaited(found: Iterable[Finding]) -> list[Finding]:
    """The problems that there are as long as replicas are made anew. Others were there before, and are told in the end."""
    return [one for one in found if one.level == "problem" and one.rule.startswith(MADE_BY_IT)]


def marks(notes: Mapping[str, str]) -> dict[str, Mark]:
    """The marks among what we have noted in etcd, by name."""
    return {key.removeprefix("marks/"): Mark(**json.loads(text)) for key, text in notes.items() if key.startswith("marks/")}


@dataclass(frozen=True)
class Arrival:
    """Where a recovery has ended: on which timeline PostgreSQL is now, where that was forked from the one before (bytes since
    0/0), why, and when the last transaction was committed that it replayed (seconds since 1970; None: there was none)."""

    timeline: int
    fork: int
    reason: str
    last: float | None


def astray(restore: Restore, target: Target, arrival: Arrival) -> str | None:
    """Why the server is not where it should be; None when it is."""
    if arrival.timeline < restore.begins:  # later, where an earlier try has begun that one
        return f"it is on timeline {arrival.timeline}, and {restore.begins} was to begin"
    if target.time and arrival.last is not None and arrival.last > target.time.timestamp() + 1e-6:
        return f"it has a transaction that was committed {arrival.last - target.time.timestamp():.6f} s after that time"
    if target.lsn is not None and arrival.fork < target.lsn:
        return "it has ended before that position"
    if target.kind != "latest" and not arrival.reason:
        return "its history does not say that it stopped there"
    return None
