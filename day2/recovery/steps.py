"""The steps of a restore, each a value. Pure; actions.py does them. Each may be done again: an interrupted one is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from day2.procedures.steps import BaseStep


@dataclass(frozen=True)
class EndArchive(BaseStep):
    """Have `host`, the primary, commit a marker, and wait until all it has written by then is archived; where repositories are
    `away`, in `repository` (pgBackRest's `number` of it), which is read later."""

    host: str
    away: tuple[str, ...] = ()
    repository: str = ""
    number: int = 1
    kind: ClassVar[str] = "end-archive"

    def __str__(self) -> str:
        where = f" in {self.repository}" if self.away else ""
        return f"write a marker on {self.host} and wait until it is archived{where}"


@dataclass(frozen=True)
class HoldPatroni(BaseStep):
    """Keep Patroni on `hosts` from being started by anybody but the restore `id`: no deploy, no boot."""

    hosts: tuple[str, ...]
    id: str
    kind: ClassVar[str] = "hold-patroni"

    def __str__(self) -> str:
        return f"keep Patroni from being started on {', '.join(self.hosts)} until the end"


@dataclass(frozen=True)
class StopMember(BaseStep):
    """Stop Patroni and PostgreSQL on `host`."""

    host: str
    kind: ClassVar[str] = "stop-member"

    def __str__(self) -> str:
        return f"stop Patroni and PostgreSQL on {self.host}"


@dataclass(frozen=True)
class ArchiveRest(BaseStep):
    """Archive what the servers on `hosts` have and the archive lacks, now that they are stopped, in all repositories but those
    that are `away`."""

    hosts: tuple[str, ...]
    away: tuple[str, ...] = ()
    kind: ClassVar[str] = "archive-rest"

    def __str__(self) -> str:
        but = f", but not in {' and '.join(self.away)}" if self.away else ""
        return f"archive what write-ahead log any host has and the archive lacks{but}"


@dataclass(frozen=True)
class SetAside(BaseStep):
    """Move the data on `host` to directories with that `suffix`; delete it where that is empty."""

    host: str
    suffix: str
    kind: ClassVar[str] = "set-aside"

    def __str__(self) -> str:
        return f"move the data on {self.host} aside (*{self.suffix})" if self.suffix else f"delete the data on {self.host}"


@dataclass(frozen=True)
class Fetch(BaseStep):
    """Restore the backup `label` of a `repository` on `host`, from which `timeline` is to be followed. `options`: how pgBackRest
    reads that repository."""

    host: str
    label: str
    timeline: int
    repository: str = ""
    options: tuple[str, ...] = ()
    kind: ClassVar[str] = "fetch-backup"

    def __str__(self) -> str:
        where = f" of repository {self.repository}" if self.repository else ""
        return f"restore backup {self.label}{where} on {self.host}"


@dataclass(frozen=True)
class Recover(BaseStep):
    """Start PostgreSQL on `host` where no client reaches it, replay the log of `timeline` up to the target (`target` is its kind,
    as PostgreSQL has it), have it promoted as timeline `begins`, check where it is, and stop it. The numbers in `taken` were used
    by servers that left no history."""

    host: str
    target: str
    value: str
    timeline: int
    begins: int
    taken: tuple[int, ...]
    kind: ClassVar[str] = "recover"

    def __str__(self) -> str:
        where = f"{self.target} {self.value}" if self.value else "its end"
        return f"replay timeline {self.timeline} on {self.host} up to {where}, and begin timeline {self.begins} there"


@dataclass(frozen=True)
class ForgetCourse(BaseStep):
    """Take out of etcd what it has about who led, and how far, before; the cluster is the one whose data is on `host`."""

    host: str
    kind: ClassVar[str] = "forget-course"

    def __str__(self) -> str:
        return "take out of etcd who led, who could vote, and how far they were"


@dataclass(frozen=True)
class Lead(BaseStep):
    """Start Patroni on `host` and wait until it leads."""

    host: str
    kind: ClassVar[str] = "lead"

    def __str__(self) -> str:
        return f"start Patroni on {self.host} and wait until it takes writes"


@dataclass(frozen=True)
class Follow(BaseStep):
    """Start Patroni on `hosts`, which have no data: each makes it anew, from a backup or from `leader`."""

    hosts: tuple[str, ...]
    leader: str
    kind: ClassVar[str] = "follow"

    def __str__(self) -> str:
        return f"start Patroni on {', '.join(self.hosts)}: each makes its data anew, from a backup or from {self.leader}"


@dataclass(frozen=True)
class PutBack(BaseStep):
    """Move the data on `host` from the directories with that `suffix` back to its place, and delete what is there."""

    host: str
    suffix: str
    kind: ClassVar[str] = "put-back"

    def __str__(self) -> str:
        return f"move the old data on {self.host} back to its place"


@dataclass(frozen=True)
class Clear(BaseStep):
    """Delete what was restored on `host`, whose old data is gone."""

    host: str
    kind: ClassVar[str] = "clear"

    def __str__(self) -> str:
        return f"delete what was restored on {self.host}: it makes its data anew"


@dataclass(frozen=True)
class PassOver(BaseStep):
    """See to it that nobody begins `timeline`, which the archive may have a history of by now."""

    timeline: int
    kind: ClassVar[str] = "pass-over"

    def __str__(self) -> str:
        return f"note that timeline {self.timeline} may have been begun"


@dataclass(frozen=True)
class StartPatroni(BaseStep):
    """Start Patroni on `hosts`, which have their data."""

    hosts: tuple[str, ...]
    kind: ClassVar[str] = "start-patroni"

    def __str__(self) -> str:
        return f"start Patroni on {', '.join(self.hosts)}"


@dataclass(frozen=True)
class AwaitReplicas(BaseStep):
    """Wait until no rule finds a problem."""

    kind: ClassVar[str] = "await-replicas"

    def __str__(self) -> str:
        return "wait until all replicas stream and the cluster is healthy"


@dataclass(frozen=True)
class BeginBackup(BaseStep):
    """Begin a full backup."""

    kind: ClassVar[str] = "begin-backup"

    def __str__(self) -> str:
        return "begin a full backup"


RestoreStep = (
    EndArchive
    | HoldPatroni
    | StopMember
    | ArchiveRest
    | SetAside
    | Fetch
    | Recover
    | ForgetCourse
    | Lead
    | Follow
    | AwaitReplicas
    | BeginBackup
    | PutBack
    | Clear
    | PassOver
    | StartPatroni
)
