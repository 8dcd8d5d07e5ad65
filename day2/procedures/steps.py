"""What a changing command can do, each a value: a plan is a tuple of them, and what is printed of it is what runs. Pure.

`str()` of a step is a line for people, `document()` the same for programs; `executor.execute` does it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class BaseStep(ABC):
    """What steps have in common. `kind` is their name for programs and does not change."""

    kind: ClassVar[str]

    @abstractmethod
    def __str__(self) -> str: ...

    def document(self) -> dict[str, Any]:
        """Its JSON form: its kind, its fields, and its line for people."""
        return {"kind": self.kind, **asdict(self), "description": str(self)}


@dataclass(frozen=True)
class AwaitSpared(BaseStep):
    """Wait until the other voters have all that `host` has, so that it can be stopped."""

    host: str
    kind: ClassVar[str] = "await-spared"

    def __str__(self) -> str:
        return f"wait until {self.host} can be spared"


@dataclass(frozen=True)
class RestartPostgres(BaseStep):
    """Patroni restarts PostgreSQL on `host` once that can be spared; `drained` means that HAProxy gives it no reads meanwhile."""

    host: str
    drained: bool = True
    kind: ClassVar[str] = "restart-postgres"

    def __str__(self) -> str:
        return f"{'drain and ' if self.drained else ''}restart PostgreSQL on {self.host}"


@dataclass(frozen=True)
class RestartPatroni(BaseStep):
    """Restart Patroni, and PostgreSQL with it, on `host` once that can be spared; `drained` as for RestartPostgres."""

    host: str
    drained: bool = True
    kind: ClassVar[str] = "restart-patroni"

    def __str__(self) -> str:
        return f"{'drain and ' if self.drained else ''}restart Patroni with PostgreSQL on {self.host}"


@dataclass(frozen=True)
class SwitchOver(BaseStep):
    """Drain `to` and hand the primary's role from `leader` to it, as soon as it could take over and `leader` can be spared."""

    leader: str
    to: str
    kind: ClassVar[str] = "switch-over"

    def __str__(self) -> str:
        return f"switch over from {self.leader} to {self.to}"


@dataclass(frozen=True)
class HandOver(BaseStep):
    """Hand the primary's role from `leader` to `to` now."""

    leader: str
    to: str
    kind: ClassVar[str] = "hand-over"

    def __str__(self) -> str:
        return f"hand the primary's role from {self.leader} to {self.to}"


@dataclass(frozen=True)
class Reinitialize(BaseStep):
    """Have Patroni delete PostgreSQL's data on `host` and begin to copy it anew from `leader`."""

    host: str
    leader: str
    kind: ClassVar[str] = "reinitialize"

    def __str__(self) -> str:
        return f"delete PostgreSQL's data on {self.host} and copy it anew from {self.leader}"


@dataclass(frozen=True)
class MoveEtcdLeader(BaseStep):
    """Make the member on host `to` the leader of etcd, whoever is it by then."""

    to: str
    kind: ClassVar[str] = "move-etcd-leader"

    def __str__(self) -> str:
        return f"move etcd's leadership to {self.to}"


@dataclass(frozen=True)
class RestartUnit(BaseStep):
    """Restart a systemd unit on `host`."""

    host: str
    unit: str
    kind: ClassVar[str] = "restart-unit"

    def __str__(self) -> str:
        return f"restart {self.unit} on {self.host}"


@dataclass(frozen=True)
class ReloadUnit(BaseStep):
    """Reload a systemd unit on `host`."""

    host: str
    unit: str
    kind: ClassVar[str] = "reload-unit"

    def __str__(self) -> str:
        return f"reload {self.unit} on {self.host}"


@dataclass(frozen=True)
class StopUnits(BaseStep):
    """Stop systemd units on `host` and disable them."""

    host: str
    units: tuple[str, ...]
    kind: ClassVar[str] = "stop-units"

    def __str__(self) -> str:
        return f"stop {', '.join(self.units)} on {self.host}, for good"


@dataclass(frozen=True)
class RemoveEtcdMember(BaseStep):
    """Take the member on `host` out of etcd, by way of another one."""

    host: str
    kind: ClassVar[str] = "remove-etcd-member"

    def __str__(self) -> str:
        return f"take {self.host} out of etcd's members"


@dataclass(frozen=True)
class ForgetHost(BaseStep):
    """Note on the other hosts that `host` is no part of the cluster, and there, too, where it answers (`reachable`)."""

    host: str
    reachable: bool = True
    kind: ClassVar[str] = "forget-host"

    def __str__(self) -> str:
        return f"note {'on all hosts' if self.reachable else 'on the others'} that {self.host} is no part of the cluster any more"


Step = (
    AwaitSpared
    | RestartPostgres
    | RestartPatroni
    | SwitchOver
    | HandOver
    | Reinitialize
    | MoveEtcdLeader
    | RestartUnit
    | ReloadUnit
    | StopUnits
    | RemoveEtcdMember
    | ForgetHost
)
Plan = tuple[Step, ...]


def documents(steps: Iterable[Step]) -> list[dict[str, Any]]:
    """Their JSON form, in order."""
    return [step.document() for step in steps]
