"""Every setting a user can make, by group, with its type, default and range. What they mean together is in topology.py,
what kinds of values they have in values.py.

The names here are those of group_data without the group's prefix: `etcd_client_port` is `EtcdSettings.client_port`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, model_validator

from .parameters import NEWEST, VERSIONS
from .repositories import DEFAULT, Repositories, Repository
from .timing import ProfileName
from .values import (
    Address,
    CertificateName,
    ClusterName,
    Directory,
    HostName,
    Identifier,
    Interface,
    Network,
    PackageFile,
    Parameters,
    Port,
    PostgresVersion,
    Schedule,
    Sha256,
    Size,
    Url,
    VersionNumber,
)

Durability = Literal["quorum", "all", "synchronous", "asynchronous"]
WithoutReplica = Literal["wait", "continue"]
WeakerCommits = Literal["tell", "mend", "refuse"]
WhenStuck = Literal["keep", "drop"]
# The settings of the ports that the packet filter guards.
FilteredPort = Literal[
    "etcd_client_port",
    "etcd_peer_port",
    "postgres_port",
    "patroni_port",
    "haproxy_write_port",
    "haproxy_read_port",
    "haproxy_stats_port",
    "pooling_write_port",
    "pooling_read_port",
    "backup_port",
]

RESERVED_ROLES = {"postgres", "replicator", "rewinder", "pgquorum_probe", "pgquorum_pooler", "public", "none"}
RESERVED_DATABASES = {"postgres", "template0", "template1", "pgquorum", "replication"}


class Settings(BaseModel):
    """Base of every group of settings: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class HostSettings(Settings):
    """What may differ from host to host (inventory.py). Names as pyinfra has them."""

    address: Address
    ssh_hostname: str | None = None
    # Left out, these are what ssh itself would take: from its configuration, else 22 and the operator's own name.
    ssh_port: Port | None = None
    ssh_user: str | None = None
    ssh_key: str | None = None
    ssh_config_file: str | None = None
    ssh_known_hosts_file: str | None = None
    # A command, run on the operator's machine, that cuts (restores) this host's power: the fault of a failover test.
    power_off: str | None = None
    power_on: str | None = None


class AllSettings(Settings):
    """group_data/all.py"""

    cluster_name: ClusterName
    durability: Durability = "quorum"
    without_replica: WithoutReplica = "wait"
    weaker_commits: WeakerCommits = "tell"
    failover_profile: ProfileName = "lan"
    failover_timing: dict[str, StrictInt] = {}
    fast_failover: StrictBool = False
    client_networks: tuple[Network, ...]
    firewall: StrictBool = False
    firewall_also: dict[FilteredPort, tuple[Network, ...]] = {}
    firewall_connections: Annotated[StrictInt, Field(ge=10, le=100_000)] = 30
    operator_networks: tuple[Network, ...] = ()
    certificate_days: Annotated[StrictInt, Field(ge=90, le=3650)] = 730
    certificate_names: tuple[CertificateName, ...] = ()
    secrets_directory: str = "secrets"
    downgrade_from: VersionNumber | None = None


class EtcdSettings(Settings):
    """group_data/etcd.py"""

    source: Literal["auto", "distribution", "debian", "files"] = "auto"
    source_url: Url | None = None
    source_key: str | None = None
    files: dict[PackageFile, Sha256] = {}
    client_port: Port = 2379
    peer_port: Port = 2380
    data_directory: Directory = "/var/lib/etcd/pgquorum"
    quota: Annotated[Size, Field(ge=64 * 1024**2, le=8 * 1024**3)] = 2 * 1024**3
    compaction_hours: Annotated[StrictInt, Field(ge=1, le=168)] = 1


class Role(Settings):
    """A login role an application uses. Its password is made at the first deploy (cluster/vault.py)."""

    name: Identifier
    connection_limit: Annotated[StrictInt, Field(ge=-1)] | None = None  # None: Cluster.share_of_sessions
    member_of: tuple[Identifier, ...] = ()
    replication: StrictBool = False  # may consume logical slots


class Database(Settings):
    """A database and the role that owns it."""

    name: Identifier
    owner: Identifier


class Slot(Settings):
    """A logical replication slot that survives a failover, for a subscription or another consumer of changes."""

    name: Identifier
    database: Identifier
    plugin: Identifier = "pgoutput"


class PostgresSettings(Settings):
    """group_data/postgres.py"""

    version: PostgresVersion = NEWEST
    source: Literal["auto", "distribution", "pgdg"] = "auto"
    source_url: Url = "https://apt.postgresql.org/pub/repos/apt"
    source_key: str | None = None
    port: Port = 5432
    patroni_port: Port = 8008
    data_directory: Directory = f"/var/lib/postgresql/{NEWEST}/pgquorum"
    wal_directory: Directory | None = None
    parameters: Parameters = {}
    roles: tuple[Role, ...] = ()
    databases: tuple[Database, ...] = ()
    slots: tuple[Slot, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _directory_by_version(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Without one the data is where the packages of the version would have it."""
        if given.get("data_directory") is not None:
            return given
        version = given.get("version") if given.get("version") in VERSIONS else NEWEST
        return {**given, "data_directory": f"/var/lib/postgresql/{version}/pgquorum"}


class HaproxySettings(Settings):
    """group_data/haproxy.py"""

    write_port: Port = 5000
    read_port: Port = 5001
    stats_port: Port = 7000
    read_max_lag: Annotated[Size, Field(ge=1)] = 16 * 1024**2
    max_connections: Annotated[StrictInt, Field(ge=10, le=100_000)] = 1000
    fair_share: Annotated[StrictInt, Field(ge=1, le=100_000)] | None = None  # None: a tenth of the sessions
    proxy_address: Address | None = None
    proxy_address_name: HostName | None = None
    proxy_interface: Interface | None = None  # None: the one that has the host's own address
    pooling: StrictBool = False
    pooling_write_port: Port = 6432
    pooling_read_port: Port = 6433
    pooling_processes: Annotated[StrictInt, Field(ge=1, le=64)] = 1
    pooling_pool_size: Annotated[StrictInt, Field(ge=1, le=10_000)] | None = None  # None: pooling.pool_size
    pooling_max_clients: Annotated[StrictInt, Field(ge=10, le=50_000)] = 1000
    pooling_max_prepared_statements: Annotated[StrictInt, Field(ge=0, le=10_000)] = 200


class BackupSettings(Settings):
    """group_data/backup.py"""

    port: Port = 8432
    directory: Directory = "/var/lib/pgbackrest"
    repositories: Repositories = DEFAULT
    full_schedule: Schedule = "Sun 01:00"
    incr_schedule: Schedule = "Mon..Sat 01:00"
    keep_full: Annotated[StrictInt, Field(ge=1, le=9999)] = 4
    keep_days: Annotated[StrictInt, Field(ge=1, le=3650)] | None = None
    max_age_hours: Annotated[StrictInt, Field(ge=1, le=8760)] = 30
    when_stuck: WhenStuck = "keep"
    drop_above: Annotated[Size, Field(ge=64 * 1024**2)] = 4 * 1024**3
    max_archive_lag: Annotated[StrictInt, Field(ge=60, le=86_400)] = 300
    drill_schedule: Schedule | None = "Sun 04:00"
    drill_pause: Annotated[StrictInt, Field(ge=0, le=3600)] = 300
    max_proven_days: Annotated[StrictInt, Field(ge=1, le=3650)] | None = 15


# The variable names of each group's file, as a user writes them, with the field behind each.
VARIABLES: dict[str, tuple[type[Settings], dict[str, str]]] = {
    "all": (AllSettings, {field: field for field in AllSettings.model_fields}),
    "etcd": (EtcdSettings, {f"etcd_{field}": field for field in EtcdSettings.model_fields}),
    "postgres": (
        PostgresSettings,
        {field if field.startswith("patroni_") else f"postgres_{field}": field for field in PostgresSettings.model_fields},
    ),
    "haproxy": (
        HaproxySettings,
        {
            field if field.startswith(("pooling", "proxy_")) else f"haproxy_{field}": field
            for field in HaproxySettings.model_fields
        },
    ),
    "backup": (BackupSettings, {f"backup_{field}": field for field in BackupSettings.model_fields}),
}

# What the entries of lists are, by setting; and what there is in place of keys that people look for in them.
ENTRIES: dict[str, type[BaseModel]] = {
    "postgres_roles": Role,
    "postgres_databases": Database,
    "postgres_slots": Slot,
    "backup_repositories": Repository,
}
_BY_HAND = "as the system user postgres on the primary (psql); it goes with every failover"
INSTEAD = {
    "password": "a deploy makes one, unless PGQUORUM_PASSWORD_ROLE_<NAME> is in the environment; here it would be no secret",
    "superuser": f"no application should be one; make such a role {_BY_HAND}",
    **dict.fromkeys(("extension", "extensions"), f"create them {_BY_HAND}"),
    **dict.fromkeys(("createdb", "createrole", "bypassrls"), f"no application should; give a role that right {_BY_HAND}"),
    **dict.fromkeys(("grants", "privileges", "schema", "schemas"), "within a database its owner makes and grants what is needed"),
    **dict.fromkeys(
        ("encoding", "locale", "collation", "lc_collate", "lc_ctype", "template"),
        f"databases are UTF8 and sort by C.UTF-8; make another one {_BY_HAND}, and a deploy takes it as it is",
    ),
    **dict.fromkeys(
        ("key", "key_secret", "secret"), "keys come from the environment or the secrets directory (docs/settings.md)"
    ),
    **dict.fromkeys(("verify_tls", "verify"), "it is always verified; ca_file names authorities of your own"),
}

# Settings that have another name now: the old name, with the new one and the version that brought it (CHANGELOG.md has them too).
RENAMED: dict[str, tuple[str, str]] = {}

# Settings of pyinfra's own SSH connector that tasks do not need.
CONNECTOR_SETTINGS = {"ssh_strict_host_key_checking", "ssh_file_transfer_protocol"}

_NO_SECRETS = "a secret has no place in an inventory"
_SUDO = "sudo without a password is needed, since pyinfra would show one in the process lists of hosts"
_AS_SSH = "SSH's configuration decides (ssh_config_file)"
# What pyinfra knows and is not taken, since the tasks would not reach the hosts by it: why, and what is there instead.
NOT_TAKEN: dict[str, str] = {
    "ssh_password": f"{_NO_SECRETS}, and hosts are reached with keys: set ssh_key",
    "ssh_key_password": f"{_NO_SECRETS}: ssh-add the key",
    "ssh_allow_agent": f"{_AS_SSH}: IdentityAgent",
    "ssh_look_for_keys": f"{_AS_SSH}: IdentityFile, IdentitiesOnly",
    "ssh_forward_agent": "no host needs the agent",
    "ssh_paramiko_connect_kwargs": _AS_SSH,
    "ssh_connect_retries": "run it again",
    "ssh_connect_retry_min_delay": "run it again",
    "ssh_connect_retry_max_delay": "run it again",
    "_sudo_password": _SUDO,
    "_use_sudo_password": _SUDO,
}


def explain(error: dict[str, Any]) -> str:
    """One pydantic error as words: what would be right."""
    context = error.get("ctx") or {}
    match error["type"]:
        case "missing":
            return "is needed and not set"
        case "extra_forbidden":
            return "is not a setting"
        case "literal_error":
            return f"should be {context['expected']}"
        case "int_type" | "int_parsing" | "int_from_float":
            return "should be a whole number"
        case "tuple_type" | "list_type":
            return "should be a list, such as [...]"
        case "dict_type":
            return "should be a mapping, such as {...}"
        case "ip_v4_network" | "ip_v6_network":
            return "should be a network such as '10.0.0.0/24', with no bit set behind its prefix"
        case "bool_type":
            return "should be True or False"
        case "greater_than_equal":
            return f"should be at least {context['ge']}"
        case "less_than_equal":
            return f"should be at most {context['le']}"
        case "too_short":
            return f"should have at least {context['min_length']}"
        case "too_long":
            return f"should have at most {context['max_length']}"
        case "value_error":
            return str(context["error"])
        case _:
            message: str = error["msg"]
            return message[0].lower() + message[1:]
