"""The `Cluster`: hosts and settings as one frozen, checked object. Made by `build` of building.py alone."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Any, NamedTuple

from . import paths
from . import settings as s
from .components import COMPONENTS, Component
from .errors import ClusterError, did_you_mean
from .parameters import normalize
from .repositories import Place, places
from .timing import Timing

# PostgreSQL's connections for the roles that must get in even where applications have taken all others.
RESERVED_CONNECTIONS = 5


class Sessions(NamedTuple):
    """How many sessions a PostgreSQL takes at a time, and how many of them are for applications."""

    all: int
    for_applications: int


@dataclass(frozen=True)
class Host:
    """One server. `address` is what the cluster's own programs use; `ssh_hostname` is what the operator connects to."""

    name: str
    settings: s.HostSettings

    @property
    def address(self) -> str:
        return str(self.settings.address)

    @property
    def url_address(self) -> str:
        """The address as it stands in a URL or before a port: IPv6 in brackets."""
        return f"[{self.address}]" if isinstance(self.settings.address, IPv6Address) else self.address

    @property
    def ssh_hostname(self) -> str:
        return self.settings.ssh_hostname or self.name


@dataclass(frozen=True)
class Cluster:
    """Everything the cluster is. Hosts are ordered by name, so that every choice by order is the same in every run."""

    name: str
    all: s.AllSettings
    timing: Timing
    etcd: s.EtcdSettings
    postgres: s.PostgresSettings
    haproxy: s.HaproxySettings
    etcd_hosts: tuple[Host, ...]
    postgres_hosts: tuple[Host, ...]
    haproxy_hosts: tuple[Host, ...]
    backup: s.BackupSettings = field(default_factory=s.BackupSettings)
    backup_hosts: tuple[Host, ...] = ()  # one, or none: then nobody keeps backups
    # For messages: the file that describes it, as pyinfra is given it.
    inventory: str = "inventory.py"
    # What there is until PostgreSQL has been restarted, where that is less than the settings say (operations/sessions.py).
    running: Sessions | None = None

    @property
    def hosts(self) -> tuple[Host, ...]:
        by_name = {h.name: h for h in (*self.etcd_hosts, *self.postgres_hosts, *self.haproxy_hosts, *self.backup_hosts)}
        return tuple(by_name[name] for name in sorted(by_name))

    @property
    def pgbackrest_hosts(self) -> tuple[Host, ...]:
        """The hosts between which write-ahead log and backups go; none without one that keeps them."""
        return (*self.backup_hosts, *self.postgres_hosts) if self.backup_hosts else ()

    @property
    def pooler_hosts(self) -> tuple[Host, ...]:
        """The hosts on which PgBouncer pools connections before HAProxy; none where the settings do without."""
        return self.haproxy_hosts if self.haproxy.pooling else ()

    @property
    def entry_hosts(self) -> tuple[Host, ...]:
        """The hosts between which the virtual address moves; none where the settings have no such address."""
        return self.haproxy_hosts if self.haproxy.proxy_address else ()

    @property
    def repositories(self) -> tuple[Place, ...]:
        """Where the backups lie; nowhere without a host that keeps them."""
        return places(self.backup.repositories) if self.backup_hosts else ()

    @property
    def directory_repository(self) -> str:
        """The name of the repository in a directory of the host that keeps the backups; empty where there is none."""
        return next((place.name for place in self.repositories if place.kind == "directory"), "")

    def repository(self, name: str, option: str) -> Place:
        """The repository called `name`, which an `option` has asked for. Raises ClusterError for none."""
        there = {place.name: place for place in self.repositories}
        if name not in there:
            raise ClusterError(f"{option} {name}{did_you_mean(name, there)}: should be one of {', '.join(there)}")
        return there[name]

    @property
    def waits_without_replica(self) -> bool:
        """Whether no write is acknowledged while no replica is there."""
        return self.all.durability != "asynchronous" and self.all.without_replica == "wait"

    @property
    def weaker_commits(self) -> str:
        """What is done about a weaker synchronous_commit. With asynchronous durability there is none."""
        return "tell" if self.all.durability == "asynchronous" else self.all.weaker_commits

    @property
    def address_versions(self) -> tuple[int, ...]:
        """The versions of IP, 4 or 6 or both, that its hosts and its clients use."""
        of_clients = {network.version for network in self.all.client_networks}
        return tuple(sorted(of_clients | {host.settings.address.version for host in self.hosts}))

    @property
    def sessions(self) -> int:
        """How many sessions one PostgreSQL takes at a time."""
        wanted = self._count("max_connections", 100)
        return min(wanted, self.running.all) if self.running else wanted

    @property
    def for_applications(self) -> int:
        """How many of them are not kept for the superuser and the system's roles."""
        kept = self._count("superuser_reserved_connections", 3) + self._count("reserved_connections", RESERVED_CONNECTIONS)
        wanted = self._count("max_connections", 100) - kept
        return min(wanted, self.running.for_applications) if self.running else wanted

    @property
    def share_of_sessions(self) -> int:
        """How many of them a role gets whose entry does not say: nine tenths of what there are for applications."""
        return max(1, self.for_applications * 9 // 10)

    def _count(self, parameter: str, default: int) -> int:
        given = self.postgres.parameters.get(parameter, default)
        return int(float(str(normalize(parameter, given, self.postgres.version))))

    @property
    def decodes(self) -> bool:
        """Whether PostgreSQL writes what logical slots need."""
        return bool(self.postgres.slots) or self.postgres.parameters.get("wal_level") == "logical"

    @property
    def gated_slots(self) -> bool:
        """Whether consumers of logical slots wait until replicas have a change, as acknowledged writes do."""
        return bool(self.postgres.slots) and self.all.durability != "asynchronous"

    def members(self, group: str) -> tuple[Host, ...]:
        """The hosts of a group of the inventory."""
        return {
            "etcd": self.etcd_hosts,
            "postgres": self.postgres_hosts,
            "haproxy": self.haproxy_hosts,
            "backup": self.backup_hosts,
        }[group]

    def carriers(self, component: Component) -> tuple[Host, ...]:
        """The hosts that carry a component; none of one whose own group has no hosts, or that the settings do without."""
        own = self.members(component.group) if not component.when or self.setting(component.when) else ()
        others = self.members(component.also) if own and component.also else ()
        return (*own, *(host for host in others if host not in own))

    @property
    def used_components(self) -> tuple[Component, ...]:
        """The components that any host carries."""
        return tuple(component for component in COMPONENTS if self.carriers(component))

    def components(self, host: Host) -> tuple[Component, ...]:
        """What a host carries."""
        return tuple(component for component in COMPONENTS if host in self.carriers(component))

    def directories(self, host: Host) -> dict[str, str]:
        """Where the data of what a host carries lies, by setting."""
        own = (component for component in COMPONENTS if host in self.members(component.group))
        settings = itertools.chain.from_iterable(component.directories for component in own)
        return {setting: path for setting in settings if (path := self.setting(setting))}

    def packages(self, host: Host) -> tuple[str, ...]:
        """The packages of what a host carries: the cluster's own programs, and what they need beside them."""
        version, found = self.postgres.version, self.components(host)
        carried = itertools.chain.from_iterable(one.packages_for(version) for one in found)
        own = itertools.chain.from_iterable(one.own_packages_for(version) for one in found if host in self.members(one.group))
        return tuple(dict.fromkeys((*carried, *own)))

    def drill_directory(self, host: Host) -> str:
        """Where drills on a host that carries pgBackRest have their copy and their results."""
        return paths.drill(self.backup.directory if host in self.backup_hosts else self.postgres.data_directory)

    def backup_user(self, host: Host) -> str:
        """Who runs pgBackRest there: whoever can read the data, and on the repository's host nobody else's user."""
        return paths.BACKUP_USER if host in self.backup_hosts else "postgres"

    def answered_by_pgbackrest(self, host: Host) -> tuple[Host, ...]:
        """Whom pgBackRest on a host lets in. A drill on the repository's host asks it for what lies elsewhere."""
        if host not in self.backup_hosts:
            return self.backup_hosts
        return (*self.postgres_hosts, *(self.backup_hosts if self.stores_elsewhere else ()))

    @property
    def stores_elsewhere(self) -> bool:
        """Whether any repository is on another machine than the host that keeps backups."""
        return any(place.elsewhere for place in self.repositories)

    def setting(self, variable: str) -> Any:
        """The value of a setting by its name in group_data, such as `etcd_client_port`. Raises KeyError for another name."""
        for group, (_, fields) in s.VARIABLES.items():
            if variable in fields:
                return getattr(getattr(self, group), fields[variable])
        raise KeyError(variable)

    def host(self, name: str, option: str = "") -> Host:
        """The host called `name`, which an `option` may have asked for. Raises ClusterError, with both and the nearest name, when
        there is none."""
        for host in self.hosts:
            if host.name == name:
                return host
        names = [h.name for h in self.hosts]
        said = f"{option}: " if option else ""
        raise ClusterError(f"{said}no host is called {name!r}{did_you_mean(name, names)}: there are {', '.join(names)}")
