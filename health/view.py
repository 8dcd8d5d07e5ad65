"""One observation of the cluster from all sides, as plain frozen data. Rules over it are in rules/.

Sizes and lags are bytes, WAL positions bytes since 0/0, durations seconds. A part that could not be asked is None, and
the host's `problems` say why.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from cluster.components import COMPONENTS

from .dcs import NONE_KNOWN, Configurations, Dcs, parse_dcs

UNITS = tuple(unit for one in COMPONENTS for unit in (*one.units, *one.masked, *one.beside))
RUNNING = ("active", "reloading")  # as systemd says it: a unit that is being reloaded serves on


@dataclass(frozen=True)
class EtcdState:
    """One etcd member's own word. `quorum`: it could serve a read that a majority agreed to."""

    version: str
    member_id: str
    leader_id: str
    revision: int
    database_size: int
    in_use: int
    alarms: tuple[str, ...]
    members: dict[str, str]  # id to name
    quorum: bool
    keys: dict[str, str] = field(repr=False)  # Patroni's, without the cluster's prefix
    configurations: Configurations = NONE_KNOWN
    compaction: str = ""  # how much history it keeps, such as 1h; empty: all of it

    @property
    def leads(self) -> bool:
        return self.quorum and self.member_id == self.leader_id


@dataclass(frozen=True)
class PatroniState:
    """GET /patroni of one member. `dcs_age`: seconds since it last reached etcd; `waiting`: settings that wait for a restart;
    `blind`: it can't ask its own replica for its timeline, by a replication connection, and so never lets it take over."""

    state: str
    role: str
    version: str
    dcs_age: float
    tags: dict[str, Any]
    pending_restart: bool
    paused: bool
    waiting: tuple[str, ...] = ()
    blind: bool = False


@dataclass(frozen=True)
class Sender:
    """One row of pg_stat_replication. Lags are behind the primary's WAL; received means on the replica's disk."""

    name: str
    state: str
    sync_state: str
    received_lag: int
    replayed_lag: int
    received_seconds: float
    replayed_seconds: float


@dataclass(frozen=True)
class Slot:
    """One replication slot. `retained`: bytes of WAL it holds back; `room`: how many more until it is lost (None: no limit).

    Of a logical one: `failover`, whether PostgreSQL copies it to replicas; `synced`, whether it is such a copy; `temporary`,
    whether that could not take over yet.
    """

    name: str
    type: str
    active: bool
    wal_status: str
    retained: int
    room: int | None
    database: str | None = None
    failover: bool = False
    synced: bool = False
    temporary: bool = False


@dataclass(frozen=True)
class Holder:
    """Who has connections open: a role from an address."""

    role: str
    address: str
    connections: int


@dataclass(frozen=True)
class Connections:
    """How many connections are open, of how many there may be for applications, and who has the most."""

    used: int
    limit: int
    holders: tuple[Holder, ...]


@dataclass(frozen=True)
class RefusedSetting:
    """A line of a configuration file that PostgreSQL does not take, and with which it would not start."""

    name: str | None
    value: str | None
    file: str
    error: str


@dataclass(frozen=True)
class Override:
    """What ALTER ROLE or ALTER DATABASE has set, as `name=value`; None stands for all roles or databases."""

    role: str | None
    database: str | None
    setting: str


@dataclass(frozen=True)
class PostgresState:
    """PostgreSQL's own word on one host. `receiver`: state of its connection to the primary, None for none."""

    in_recovery: bool
    version: str
    timeline: int
    lsn: int | None
    received: int | None
    replayed: int | None
    replay_age: float | None
    replay_paused: bool
    receiver: str | None
    pending_restart: tuple[str, ...]
    parameters: dict[str, str]  # those the settings decide, in base units
    connections: Connections
    altered: dict[str, str]  # what ALTER SYSTEM has set here
    refused: tuple[RefusedSetting, ...]
    overrides: tuple[Override, ...]  # of synchronous_commit
    oldest_transaction: float  # how long it has been open
    base_backups: int  # how many are being taken from here
    backup_bytes: int  # how much of them has been sent
    synchronous_standby_names: str
    synchronous_commit: str
    senders: tuple[Sender, ...]
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class Server:
    """One server line of a HAProxy backend: `status` is UP or DOWN or MAINT ..., `check` why."""

    name: str
    status: str
    check: str
    sessions: int

    @property
    def up(self) -> bool:
        return self.status.startswith("UP")


@dataclass(frozen=True)
class ProxyState:
    """HAProxy's own word on one host. `backends`: name, write or read, to its servers."""

    version: str
    backends: dict[str, tuple[Server, ...]]


@dataclass(frozen=True)
class Watchdog:
    """The watchdog device of a host. `used`: Patroni has it open, so that it resets the host if that hangs."""

    owner: str
    used: bool


@dataclass(frozen=True)
class Package:
    """An installed package. `held`: apt leaves it at its version."""

    version: str
    held: bool


@dataclass(frozen=True)
class Salvage:
    """Write-ahead log that a rewind has thrown away, kept in the directory `path` of its host (agents/salvage.py): from `fork` to
    `end` on `timeline`, positions as PostgreSQL writes them; `commits` transactions, files of `size` bytes."""

    path: str
    host: str
    at: str
    timeline: int
    fork: str
    end: str
    commits: int
    size: int


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
    edited: tuple[str, ...] = ()  # files that are not as the deploy wrote them
    salvage: tuple[Salvage, ...] = ()
    packages: dict[str, Package] = field(default_factory=dict)  # of the components, those that are installed
    watchdog: Watchdog | None = None  # of a database host that has the device
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
    def dcs(self) -> Dcs | None:
        """Patroni's keys, from the etcd member that knows the most. None when no member answers."""
        answers = [h.etcd for h in self.hosts.values() if h.etcd]
        best = max(answers, key=lambda etcd: (etcd.quorum, etcd.revision), default=None)
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

    def servers_up(self, proxy: str, backend: str) -> tuple[str, ...]:
        """The servers a HAProxy sends to from the port of `backend`, write or read. Where no replica is fit to be read,
        reads go to the primary."""
        state = self.hosts[proxy].proxy
        backends = state.backends if state else {}
        up = {name: tuple(server.name for server in servers if server.up) for name, servers in backends.items()}
        return up.get(backend) or up.get("write", ())
