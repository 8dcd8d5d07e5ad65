"""One observation of the cluster from all sides, as plain frozen data. Rules over it are in rules/.

Sizes and lags are bytes, WAL positions bytes since 0/0, durations seconds. A part that could not be asked is None, and
the host's `problems` say why.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from cluster.components import COMPONENTS, GUARD_UNIT, ONE_PRIMARY_UNIT
from cluster.last_deploy import LastDeploy
from cluster.layout import Note

from .backup_states import BackupState, Drill
from .dcs import Dcs, parse_dcs
from .states import (
    Disk,
    EntryState,
    EtcdState,
    LockTable,
    Package,
    PatroniState,
    PoolerState,
    PostgresState,
    ProxyState,
    Salvage,
    Sender,
    Watchdog,
)

UNITS = (*(unit for one in COMPONENTS for unit in (*one.units, *one.masked, *one.beside)), GUARD_UNIT, ONE_PRIMARY_UNIT)
RUNNING = ("active", "reloading")  # as systemd says it: a unit that is being reloaded serves on


@dataclass(frozen=True)
class HostView:
    """One host. `clock`: how far its clock is ahead of the operator's; `operator`: the line of who holds the lock."""

    name: str
    problems: dict[str, str]  # part ("host", "etcd", "patroni", ...) to why it has no answer
    clock: float | None = None
    cluster_name: str | None = None
    deployed_by: str | None = None  # the version of the tool that deployed it last, as it notes it
    operator: str | None = None
    units: dict[str, str] = field(default_factory=dict)
    certificates: dict[str, int] = field(default_factory=dict)  # path to whole days left
    etcd: EtcdState | None = None
    patroni: PatroniState | None = None
    postgres: PostgresState | None = None
    proxy: ProxyState | None = None
    pooler: PoolerState | None = None
    entry: EntryState | None = None
    backups: BackupState | None = None
    drills: tuple[Drill, ...] = ()  # of backups, that were done there, where the backups are kept elsewhere
    edited: tuple[str, ...] = ()  # files that are not as the deploy wrote them
    salvage: tuple[Salvage, ...] = ()
    packages: dict[str, Package] = field(default_factory=dict)  # of the components, those that are installed
    libraries: dict[str, list[str]] = field(default_factory=dict)  # by unit, those that were replaced since it was started
    disks: tuple[Disk, ...] = ()  # each once, that data or the journal is on
    locks: LockTable | None = None  # the last that could be asked
    watchdog: Watchdog | None = None  # of a database host that has the device
    filtered: bool | None = None  # the kernel has the packet filter as it was loaded; None where the settings have none
    restoring: dict[str, Any] = field(default_factory=dict)  # the note of a restore for which Patroni is held there
    old_data: tuple[str, ...] = ()  # directories with the data of before a restore
    hold: str | None = None  # the line of who lets clients wait at this proxy
    layout: Note | None = None  # what was deployed that can't be changed
    last_deploy: LastDeploy | None = None  # None for one of a version that noted none, too
    failed_starts: tuple[str, ...] = ()  # directories that Patroni has moved away after a first start that failed

    @property
    def reachable(self) -> bool:
        return "host" not in self.problems

    def runs(self, unit: str) -> bool:
        """Whether a unit is active, as far as can be seen."""
        return self.units.get(f"{unit}.service") in RUNNING

    @property
    def waiting_for_restart(self) -> tuple[str, ...]:
        """The settings that PostgreSQL or Patroni here says need a restart."""
        said = (self.postgres.pending_restart if self.postgres else (), self.patroni.waiting if self.patroni else ())
        return tuple(sorted({name for names in said for name in names}))

    @property
    def blank(self) -> bool:
        """Reachable, and nothing of the cluster's has been installed on it."""
        states = [self.units.get(unit, "not-found") for component in COMPONENTS for unit in component.units]
        return self.reachable and set(states) == {"not-found"}


@dataclass(frozen=True)
class ClusterView:
    """All hosts by name, and what follows from them together.

    `left_out` are those that were not asked, on purpose: nothing is known of them, and no rule holds that against the cluster.
    """

    hosts: dict[str, HostView]
    seconds: float = 0.0  # how long the observation took
    left_out: frozenset[str] = frozenset()

    @property
    def best_etcd(self) -> EtcdState | None:
        """The etcd member that knows the most. None when no member answers."""
        answers = [h.etcd for h in self.hosts.values() if h.etcd]
        return max(answers, key=lambda etcd: (etcd.quorum, etcd.revision), default=None)

    @property
    def dcs(self) -> Dcs | None:
        """Patroni's keys. None when no member of etcd answers."""
        best = self.best_etcd
        return replace(parse_dcs(best.keys), configurations=best.configurations) if best else None

    @property
    def without_etcd(self) -> bool:
        """Whether all of etcd's members are among the hosts left out."""
        asked = any(host.etcd or "etcd" in host.problems for host in self.hosts.values())
        return bool(self.left_out) and not asked

    @property
    def leader(self) -> str | None:
        """Who holds the leader key. Where etcd was not asked, the only one that takes writes is taken for it."""
        if self.without_etcd and len(self.writable) == 1:
            return self.writable[0]
        return self.dcs.leader if self.dcs else None

    @property
    def writable(self) -> tuple[str, ...]:
        """Hosts whose PostgreSQL is not in recovery. More than one is a split brain."""
        return tuple(name for name, h in self.hosts.items() if h.postgres and not h.postgres.in_recovery)

    @property
    def primary(self) -> PostgresState | None:
        """PostgreSQL's word on the one primary; None when there is none or more than one."""
        return self.hosts[self.writable[0]].postgres if len(self.writable) == 1 else None

    @property
    def etcd_leader(self) -> str | None:
        return next((name for name, h in self.hosts.items() if h.etcd and h.etcd.leads), None)

    def sender(self, replica: str) -> Sender | None:
        """The primary's row about a replica."""
        return next((s for s in self.primary.senders if s.name == replica), None) if self.primary else None

    def backups_of(self, keeper: str) -> BackupState | None:
        """What the host says of the backups that it keeps, with the drills of which others tell."""
        state = self.hosts[keeper].backups
        return state.with_drills(one for host in self.hosts.values() for one in host.drills) if state else None

    def servers_up(self, proxy: str, backend: str) -> tuple[str, ...]:
        """The servers a HAProxy sends to from the port of `backend`, write or read. Where no replica is fit to be read,
        reads go to the primary."""
        state = self.hosts[proxy].proxy
        backends = state.backends if state else {}
        up = {name: tuple(server.name for server in servers if server.up) for name, servers in backends.items()}
        return up.get(backend) or up.get("write", ())
