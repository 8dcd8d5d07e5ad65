"""A restore of the cluster itself: what it is, and its steps. Pure.

It is noted in etcd while it is under way, with how many of its steps are done: whoever calls it again goes on from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from cluster.recovery import Kind, Mark, Target
from cluster.timelines import Base, Timeline
from cluster.topology import Cluster
from health.finding import Finding
from health.view import ClusterView

from .steps import (
    ArchiveRest,
    AwaitReplicas,
    BeginBackup,
    Clear,
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

# The subjects, or single rules, of problems that a restore makes itself until all replicas are there.
MADE_BY_IT = ("primary.", "patroni.", "replication.", "routing.", "durability.", "failover.no-candidate", "failover.no-leader")


@dataclass(frozen=True)
class Restore:
    """`id` names what it leaves; `to` is what was asked for, `kind` and `value` what PostgreSQL is told of that. It begins with
    the backup `label` on `host`, follows `timeline`, and begins timeline `begins`; those in `taken` were begun elsewhere. The
    other `hosts` get their data from there. `before`: the timeline that was written until then. `live`: the archive was to
    be ended first. `keep`: the old data is kept beside the new. `repository` (its name, and `number`, pgBackRest's) has the
    backup; `as_of`: it is read as it was at that moment (repo-target-time), empty for as it is. `away`: repositories that can't
    be read, so nothing is archived there before the new leader leads. `led`: the host that has the most of what there was,
    empty where that is `host`. `bound`: why it can't be called off since an earlier target, empty where it can. `spent`: a
    timeline that an earlier target may have begun. `whole`: all there is is wanted, of the newest timeline. `ends`: where the log
    of the hosts ended when all were stopped (recovery/logs.py), empty where that is not known. `ways`: the backups that lead to
    where the cluster was. `done` steps are done."""

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
    led: str = ""
    bound: str = ""
    spent: int = 0
    whole: bool = False
    ends: tuple[int, ...] = ()
    ways: tuple[str, ...] = ()
    done: int = 0

    @property
    def best(self) -> str:
        """The host that has all there was before: the last to be stopped, and the last whose old data is deleted."""
        return self.led or self.host

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
    several = {name: tuple(fields[name]) for name in ("taken", "hosts", "away", "ends", "ways") if name in fields}
    return Restore(**{**fields, **several})


def furthest_of(texts: Iterable[str | None]) -> Restore | None:
    """Of what hosts have noted, what has come furthest; None where none has anything that says enough."""
    found = []
    for text in filter(None, texts):
        with suppress(ValueError, TypeError, KeyError):
            found.append(read(text))
    return max(found, key=lambda one: one.done, default=None)


def planned(
    cluster: Cluster, target: Target, base: Base, along: Timeline, known: Mapping[int, Timeline], promoted: int, host: str,
    *, id: str, began: str, before: int, live: bool, keep: bool, as_of: str = "", away: Iterable[str] = (), led: str = "",
    whole: bool = False,
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
        led=led if led != host else "",
        whole=whole,
    )


def numbered(cluster: Cluster, repository: str) -> int:
    """By which number pgBackRest knows it."""
    return next((one.number for one in cluster.repositories if one.name == repository), 1)


def may_lead(unfinished: Restore) -> bool:
    """Whether it has come so far that the restored server may lead. Another one in its place then is a restore like any."""
    return any(isinstance(step, Lead) for step in steps(unfinished)[: unfinished.done + 1])


def overtaken(unfinished: Restore, *, led: bool) -> bool:
    """Whether one that was begun has to be planned anew: before all is stopped others may lead than did, and what is lost is more
    than was said. `led`: somebody leads. Where nobody does, whoever was to write a marker is not there to do it."""
    todo = left(unfinished)
    stopped = not any(isinstance(step, StopMember) for step in todo)
    return not stopped and (led or any(isinstance(step, EndArchive) for step in todo))


def spent(restore: Restore) -> int:
    """The last timeline that it, or one that it is in place of, may have begun; 0 for none."""
    may_have = any(isinstance(step, Recover) for step in begun(restore))
    return max(restore.spent, restore.begins if may_have else 0)


def newest(unfinished: Restore | None) -> int | None:
    """The newest timeline of the cluster's where a restore has not come to its end: what it has begun is none of it. None for the
    newest there is."""
    return max((unfinished.before, *unfinished.ends[:1])) if unfinished and not may_lead(unfinished) else None


def replanned(unfinished: Restore, new: Restore) -> Restore:
    """The new one in place of one that was not finished: the old data is where that has put it, and what it has restored is
    thrown away."""
    kept = replace(new, id=unfinished.id, keep=unfinished.keep, live=unfinished.live, began=unfinished.began)
    kept = replace(kept, host=unfinished.host, led=unfinished.led, hosts=unfinished.hosts, before=unfinished.before)
    kept = replace(kept, bound=final(unfinished) or "", spent=spent(unfinished), ends=unfinished.ends, ways=unfinished.ways)
    fetches = next(n for n, step in enumerate(steps(kept)) if isinstance(step, Fetch))
    return replace(kept, done=min(unfinished.done, fetches))


def place(view: ClusterView, cluster: Cluster) -> str:
    """The host of who leads, or led last; else the first one."""
    names = [one.name for one in cluster.postgres_hosts]
    led = view.writable[0] if len(view.writable) == 1 else view.leader
    return led if led in names else names[0]


def fetching(cluster: Cluster, best: str, *, keep: bool) -> str:
    """Where the backup is restored: on the host that has `best` what there was; where the old data is not kept on another one, so
    that it is there until the new one has arrived."""
    others = [one.name for one in cluster.postgres_hosts if one.name != best]
    return best if keep or not others else others[0]


def steps(restore: Restore) -> tuple[RestoreStep, ...]:
    """All its steps, those that are done, too. Old data that is not kept is deleted where the backup goes, and everywhere else
    once that has come to where it should be: before that nobody knows whether the backup is any good."""
    others = tuple(name for name in restore.hosts if name != restore.host)
    last = _last(restore.hosts, restore.best)
    aside = tuple(SetAside(name, restore.suffix) for name in _last(others, restore.best))
    return (
        *((EndArchive(restore.best, restore.away, restore.repository, restore.number),) if restore.live else ()),
        HoldPatroni(restore.hosts, restore.id),
        *(StopMember(name) for name in last),
        ArchiveRest(restore.hosts, restore.away),
        SetAside(restore.host, restore.suffix),
        *(aside if restore.keep else ()),
        Fetch(restore.host, restore.label, restore.timeline, restore.repository, restore.options),
        Recover(restore.host, restore.kind, restore.value, restore.timeline, restore.begins, restore.taken),
        *(() if restore.keep else aside),
        ForgetCourse(restore.host),
        Lead(restore.host),
        Follow(others, restore.host),
        AwaitReplicas(),
        BeginBackup(),
    )


def _last(hosts: Iterable[str], host: str) -> tuple[str, ...]:
    """The hosts, with that one in the end, where it is one of them."""
    return tuple(sorted(hosts, key=lambda name: name == host))


def begun(restore: Restore) -> tuple[RestoreStep, ...]:
    """The steps that are done, and the one that may be."""
    return steps(restore)[: restore.done + 1]


def deleted(restore: Restore) -> tuple[str, ...]:
    """The hosts whose old data may be deleted by now."""
    return tuple(step.host for step in begun(restore) if isinstance(step, SetAside) and not step.suffix)


def final(restore: Restore) -> str | None:
    """Why an unfinished restore can't be called off any more; None where it can."""
    if restore.bound:
        return restore.bound
    if any(isinstance(step, ForgetCourse) for step in begun(restore)):
        return "what etcd had of the old course may be gone: let it come to its end, and then go back"
    if set(deleted(restore)) - {restore.host} or restore.best in deleted(restore):
        return "old data may be deleted: let it come to its end, and then go back"
    return None


def back(restore: Restore) -> tuple[RestoreStep, ...]:
    """The steps that call it off: all is as it was before, but that a host whose old data was deleted makes it anew."""
    return (
        *(PutBack(name, restore.suffix) for name in restore.hosts if restore.keep),
        *(Clear(name) for name in deleted(restore)),  # that is where the backup went, and nowhere else
        *((PassOver(number),) if (number := spent(restore)) else ()),
        StartPatroni((restore.best, *(name for name in restore.hosts if name != restore.best))),
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
