"""What the parts of a host say of themselves, each as it was when it was asked: the pieces of which a view is made. Pure.

Sizes and lags are bytes, WAL positions bytes since 0/0, durations seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cluster.own_roles import OwnRole

from .dcs import NONE_KNOWN, Configurations


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
    members: dict[str, str]  # id to name, or to its peer URL where it has never been up
    quorum: bool
    keys: dict[str, str] = field(repr=False)  # Patroni's, without the cluster's prefix
    configurations: Configurations = NONE_KNOWN
    compaction: str = ""  # how much history it keeps, such as 1h; empty: all of it
    outdated: bool = False  # its settings, or whom it trusts, were written since it was started
    restore: dict[str, Any] = field(default_factory=dict)  # the note of one that is under way; empty for none
    archived_to: int | None = None  # all before this position is in the archive, as whoever leads has noted it

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
class LockHolder:
    """A session with many locks. `since`: how long its transaction is open, or without one the session itself; None where that is
    not known. A prepared transaction has no `pid`."""

    pid: int | None
    session: str  # its role, database, client, and what it does, as PostgreSQL calls its process
    locks: int
    since: float | None


@dataclass(frozen=True)
class LockTable:
    """How many locks were held `age` seconds ago, of how many PostgreSQL promises, and by whom the most of them."""

    age: float
    used: int
    capacity: int
    holders: tuple[LockHolder, ...]


@dataclass(frozen=True)
class EntryState:
    """Of a proxy host: the interfaces that have the virtual address."""

    interfaces: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return bool(self.interfaces)


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
class Subscription:
    """A logical subscription that is enabled, with the `synchronous_commit` of the process that applies its changes."""

    name: str
    database: str
    synchronous_commit: str


@dataclass(frozen=True)
class Archiver:
    """How archiving goes on one host, as PostgreSQL tells: what the last file was that got to the archive, and the last that did
    not; how long ago that was, None for never. `waiting` files are to follow, the first of them since `oldest` seconds. `room`:
    bytes that are free for PostgreSQL where its write-ahead log is, None where that is not known."""

    archived_wal: str | None
    archived: float | None
    failed_wal: str | None
    failed: float | None
    waiting: int
    oldest: float | None
    room: int | None = None


@dataclass(frozen=True)
class OldestIds:
    """How old the oldest transaction ID is that a database still has, in transactions, and its oldest multixact, in multixacts:
    of the database where one is oldest. At `reclaimed_at` at the latest autovacuum begins with either."""

    database: str
    transactions: int
    multixacts: int
    reclaimed_at: int


@dataclass(frozen=True)
class Horizon:
    """What keeps rows of old transactions from being cleaned up the longest, and how many transactions ago it began."""

    what: str
    age: int


@dataclass(frozen=True)
class PostgresState:
    """PostgreSQL's own word on one host. `receiver`: state of its connection to the primary, None for none."""

    in_recovery: bool
    version: str
    timeline: int
    lsn: int | None
    received: int | None
    replayed: int | None
    at_log_end: bool  # since it was started it has read all of its own log
    log_begins: int | None  # where the oldest file of the write-ahead log does that is there
    replay_age: float | None
    replay_paused: bool
    receiver: str | None
    pending_restart: tuple[str, ...]
    parameters: dict[str, str]  # those the settings decide, in base units
    connections: Connections
    altered: dict[str, str]  # what ALTER SYSTEM has set here
    refused: tuple[RefusedSetting, ...]
    overrides: tuple[Override, ...]  # of synchronous_commit
    subscriptions: tuple[Subscription, ...]
    unguarded: tuple[str, ...]  # databases without a trigger on logins
    own_roles: dict[str, OwnRole]  # the tool's
    oldest_transaction: float  # how long it has been open
    oldest_ids: OldestIds
    horizon: Horizon | None
    base_backups: int  # how many are being taken from here
    backup_bytes: int  # how much of them has been sent
    synchronous_standby_names: str
    synchronous_commit: str
    base_standbys: str | None  # whom it would wait for where Patroni has not said so: its base configuration's word
    archiver: Archiver
    senders: tuple[Sender, ...]
    slots: tuple[Slot, ...]
    missing_roles: tuple[str, ...] = ()  # of the settings'
    missing_databases: tuple[str, ...] = ()
    verifiers: dict[str, str] = field(default_factory=dict)  # a digest by pooled role; empty for one that may not come in


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
    """HAProxy's own word on one host. `backends`: name, write or read, to its servers. `held`: frontends that take no new
    connections for now, so that these wait."""

    version: str
    backends: dict[str, tuple[Server, ...]]
    held: tuple[str, ...] = ()


@dataclass(frozen=True)
class PoolProcess:
    """One process of PgBouncer. `problem`: why it does not answer, empty when it does. `clients` are connected to it, `waiting`
    of which wait for one of PostgreSQL's connections, the first of them since `longest_wait` seconds; it has `servers` of those,
    and `busy` are at work. `paused`: clients wait until somebody resumes it, or one of its databases."""

    name: str
    problem: str = ""
    version: str = ""
    clients: int = 0
    waiting: int = 0
    longest_wait: float = 0.0
    servers: int = 0
    busy: int = 0
    paused: bool = False


@dataclass(frozen=True)
class PoolerState:
    """PgBouncer's own word on one host. `users`: by role, a digest of the verifier in its file (cluster/pooled_roles.py)."""

    processes: tuple[PoolProcess, ...]
    users: dict[str, str]

    @property
    def version(self) -> str:
        """The oldest that runs; empty where none answers."""
        return min((one.version for one in self.processes if one.version), default="")


@dataclass(frozen=True)
class Disk:
    """The disk under a directory of the cluster's: bytes there are for who is not root, and how many of them are free."""

    path: str
    size: int
    free: int


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
