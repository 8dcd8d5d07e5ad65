"""What a changing command can do, each a value: a plan is a tuple of them, and what is printed of it is what runs. Pure.

`str()` of a step is a line for people, `document()` the same for programs; `executor.execute` does it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from health.upgrades import Change

from .hold import Hold


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
class Checkpoint(BaseStep):
    """Have PostgreSQL on `host` write a checkpoint, so that it stops quickly soon after."""

    host: str
    kind: ClassVar[str] = "checkpoint"

    def __str__(self) -> str:
        return f"write a checkpoint on {self.host}"


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
    """Drain `to` and hand the primary's role from `leader` to it, as soon as it could take over and `leader` can be spared, and
    has written a checkpoint; `hold` is what waits meanwhile."""

    leader: str
    to: str
    hold: Hold | None = None
    kind: ClassVar[str] = "switch-over"

    def __str__(self) -> str:
        return f"switch over from {self.leader} to {self.to}{meanwhile(self.hold)}"


@dataclass(frozen=True)
class HandOver(BaseStep):
    """Hand the primary's role from `leader` to `to` now; `hold` is what waits meanwhile, `drained` means that HAProxy gives
    `to` no reads."""

    leader: str
    to: str
    hold: Hold | None = None
    drained: bool = False
    kind: ClassVar[str] = "hand-over"

    def __str__(self) -> str:
        drain = f"drain {self.to} and " if self.drained else ""
        return f"{drain}hand the primary's role from {self.leader} to {self.to}{meanwhile(self.hold)}"


@dataclass(frozen=True)
class Reinitialize(BaseStep):
    """Have Patroni begin to make PostgreSQL's data on `host` anew: with `repository` from the newest backup that leads to where
    `leader` is, and where there is none, or without, from `leader`. `drained` as for RestartPostgres."""

    host: str
    leader: str
    drained: bool = True
    repository: bool = False
    kind: ClassVar[str] = "reinitialize"

    def __str__(self) -> str:
        source = f"the newest backup, or from {self.leader}" if self.repository else self.leader
        return f"{'drain, ' if self.drained else ''}delete PostgreSQL's data on {self.host} and copy it anew from {source}"


@dataclass(frozen=True)
class MoveEtcdLeader(BaseStep):
    """Make the member on host `to` the leader of etcd, whoever is it by then."""

    to: str
    kind: ClassVar[str] = "move-etcd-leader"

    def __str__(self) -> str:
        return f"move etcd's leadership to {self.to}"


@dataclass(frozen=True)
class MoveAddress(BaseStep):
    """Have the virtual `address` leave `host` for another proxy host, whichever takes it; sessions that came by it are cut."""

    host: str
    address: str
    kind: ClassVar[str] = "move-address"

    def __str__(self) -> str:
        return f"move {self.address} away from {self.host}"


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
    """Stop systemd units on `host` and disable them; `drained` as for RestartPostgres."""

    host: str
    units: tuple[str, ...]
    drained: bool = False
    kind: ClassVar[str] = "stop-units"

    def __str__(self) -> str:
        return f"{'drain and ' if self.drained else ''}stop {', '.join(self.units)} on {self.host}, for good"


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


@dataclass(frozen=True)
class FetchPackages(BaseStep):
    """Bring the packages of `changes` to their hosts, and keep there what they replace: all, or nothing else is done. `run` is
    which upgrade that is; `insist`: what is replaced is kept as far as it can be had."""

    changes: tuple[Change, ...]
    run: str
    insist: bool = False
    kind: ClassVar[str] = "fetch-packages"

    def __str__(self) -> str:
        packages = {change.package for change in self.changes}
        count = f"{len(packages)} package{'s' if len(packages) > 1 else ''}"
        far = " as far as it can be had" if self.insist else ""
        return f"fetch {count} to {_listed(c.host for c in self.changes)}, and keep what they replace{far} (upgrade {self.run})"


@dataclass(frozen=True)
class InstallPackages(BaseStep):
    """Install the packages of `changes` that were fetched before, or are kept, on all their hosts at once. What runs goes on."""

    changes: tuple[Change, ...]
    kind: ClassVar[str] = "install-packages"

    def __str__(self) -> str:
        by_host: dict[str, list[str]] = {}
        for change in self.changes:
            by_host.setdefault(change.host, []).append(f"{change.package} {change.new}")
        alike: dict[str, list[str]] = {}
        for host, packages in by_host.items():
            alike.setdefault(", ".join(dict.fromkeys(packages)), []).append(host)
        return "install " + "; ".join(f"{packages} on {_listed(hosts)}" for packages, hosts in alike.items())


@dataclass(frozen=True)
class RestartTogether(BaseStep):
    """Restart a systemd unit on all of the `hosts` at the same time."""

    hosts: tuple[str, ...]
    unit: str
    kind: ClassVar[str] = "restart-together"

    def __str__(self) -> str:
        return f"restart {self.unit} on {_listed(self.hosts)}"


@dataclass(frozen=True)
class RebootHost(BaseStep):
    """Reboot `host` once it can be spared and does not lead etcd, and wait until it is back; `drained` as for RestartPostgres."""

    host: str
    drained: bool = True
    kind: ClassVar[str] = "reboot-host"

    def __str__(self) -> str:
        return f"{'drain and ' if self.drained else ''}reboot {self.host}"


Step = (
    AwaitSpared
    | Checkpoint
    | RestartPostgres
    | RestartPatroni
    | SwitchOver
    | HandOver
    | Reinitialize
    | MoveEtcdLeader
    | MoveAddress
    | RestartUnit
    | ReloadUnit
    | StopUnits
    | RemoveEtcdMember
    | ForgetHost
    | FetchPackages
    | InstallPackages
    | RestartTogether
    | RebootHost
)
Plan = tuple[Step, ...]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def meanwhile(hold: Hold | None) -> str:
    """What waits in a step, to be put after it."""
    return f", {hold}" if hold else ""


def documents(steps: Iterable[Step]) -> list[dict[str, Any]]:
    """Their JSON form, in order."""
    return [step.document() for step in steps]
