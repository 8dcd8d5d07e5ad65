"""The components of a cluster, each as one value, of which the lists in the other layers are made. Pure.

A component has the same name everywhere: operations/NAME.py, templates/NAME/, what a host is asked for, what is restarted by
`invoke rolling-restart --component NAME`. How one is added: docs/adding-a-component.md; tests/unit/test_components.py asks of
each whether every layer knows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from .certificates import End

Name = Literal["etcd", "postgres", "patroni", "haproxy", "pgbouncer", "keepalived", "pgbackrest"]
NAMES: tuple[Name, ...] = get_args(Name)


@dataclass(frozen=True)
class Certificate:
    """One that each host of a component gets: its `use`, which names its files; the authority that signs it; and the ends of a
    connection it is good for."""

    use: str
    authority: str
    ends: frozenset[End]


@dataclass(frozen=True)
class Component:
    """What the other layers have to know of one program and what belongs to it. Settings are named as in group_data.

    `packages`: Debian's, `{version}` standing for PostgreSQL's major version; the first is the program's own. `minimum`: what
    that has to be at least, one version for each minor release that is maintained. `tested`: the minor releases that were
    tried; another one is a warning. `tools`: those of the packages of which nothing runs, so that a new version needs no
    restart. `units`: run on every host of the group.
    `beside`: small services of ours that it goes on without, at a price. `masked`: brought by the packages, never to run.
    `ports`: settings of the ports it listens on. `directories`: settings of where its data lies; one may be None.
    `passwords`: of the system, not of roles. `also`: another group whose hosts carry it as well, and are dialled by it; what lies
    in `directories` does so on hosts of its own group alone. `own_packages`: what those have besides. `when`: a setting that
    has to be on, or to have a value, or nobody carries it.
    """

    name: Name
    group: str
    packages: tuple[str, ...]
    minimum: tuple[str, ...] = ()
    tested: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    masked: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    directories: tuple[str, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    passwords: tuple[str, ...] = ()
    also: str = ""
    own_packages: tuple[str, ...] = ()
    when: str = ""

    def packages_for(self, version: int) -> list[str]:
        """The packages with PostgreSQL's major version put in."""
        return [package.format(version=version) for package in self.packages]

    def running_packages_for(self, version: int) -> list[str]:
        """Those of them that are in use as long as the component runs."""
        return [package.format(version=version) for package in self.packages if package not in self.tools]

    def own_packages_for(self, version: int) -> list[str]:
        """The same of those that hosts of its own group have besides."""
        return [package.format(version=version) for package in self.own_packages]


BOTH: frozenset[End] = frozenset(("server", "client"))
SERVER: frozenset[End] = frozenset(("server",))
CLIENT: frozenset[End] = frozenset(("client",))

COMPONENTS = (
    Component(
        name="etcd",
        group="etcd",
        packages=("etcd-server", "etcd-client"),
        minimum=("3.5.28", "3.6.9"),  # below, fixes of lost leases are missing
        tested=("3.5",),
        tools=("etcd-client",),
        units=("etcd.service",),
        ports=("etcd_client_port", "etcd_peer_port"),
        directories=("etcd_data_directory",),
        certificates=(Certificate("etcd", "etcd", BOTH),),  # it dials itself with its server certificate
    ),
    Component(
        name="postgres",
        group="postgres",
        packages=("postgresql-{version}", "postgresql-client-{version}"),
        tools=("postgresql-client-{version}",),
        masked=("postgresql.service",),  # Patroni alone starts PostgreSQL
        ports=("postgres_port",),
        directories=("postgres_data_directory", "postgres_wal_directory"),
        certificates=(Certificate("postgres", "postgres", BOTH),),  # Patroni's too; both are clients of their like
        passwords=("replication", "rewind", "probe"),
    ),
    Component(
        name="patroni",
        group="postgres",
        packages=("patroni", "python3-etcd", "python3-psycopg2"),  # its own does not pull what `etcd3:` needs
        minimum=("4.1.3",),  # quorum mode that has settled
        tested=("4.1",),
        units=("patroni.service",),
        beside=("pgquorum-wake-patroni.service", "pgquorum-confirm-quorum.service"),
        ports=("patroni_port",),
        certificates=(Certificate("etcd-client", "etcd", CLIENT),),
        passwords=("rest_api",),
    ),
    Component(
        name="haproxy",
        group="haproxy",
        packages=("haproxy", "socat"),
        minimum=("2.4",),  # conditions in its configuration
        tested=("2.6", "3.0", "3.2"),
        tools=("socat",),
        units=("haproxy.service",),
        ports=("haproxy_write_port", "haproxy_read_port", "haproxy_stats_port"),
        certificates=(Certificate("haproxy-client", "postgres", CLIENT), Certificate("haproxy", "haproxy", SERVER)),
        passwords=("haproxy_stats",),
    ),
    Component(
        name="pgbouncer",
        group="haproxy",
        packages=("pgbouncer", "postgresql-client"),  # psql, for its console
        minimum=("1.26.1",),  # below, who knows one role's password can log in as another
        tested=("1.26",),
        tools=("postgresql-client",),
        # The first process of each port; others, where the settings ask for more, are in cluster/pooling.py.
        units=("pgquorum-pool@write-1.service", "pgquorum-pool@read-1.service"),
        masked=("pgbouncer.service",),  # the package's own: one process, as postgres, restarted by upgrades
        ports=("pooling_write_port", "pooling_read_port"),
        certificates=(Certificate("pgbouncer", "postgres", BOTH),),  # clients see it; with it PgBouncer asks for verifiers
        when="pooling",
    ),
    Component(
        name="keepalived",
        group="haproxy",
        packages=("keepalived",),  # it brings ip along, which takes the address away where it was killed
        minimum=("2.2.4",),  # that of the oldest release that hosts may run
        tested=("2.3",),  # of 2.2, which Debian 12 and Ubuntu before 26.04 have, only that it reads its files
        units=("keepalived.service",),
        when="proxy_address",
    ),
    Component(
        name="pgbackrest",
        group="backup",
        packages=("pgbackrest",),
        minimum=("2.59.3",),  # below, what it encrypts has weak keys
        tested=("2.60",),
        units=("pgbackrest.service",),
        ports=("backup_port",),
        directories=("backup_directory",),
        certificates=(Certificate("pgbackrest", "backup", BOTH),),  # each end dials the other
        passwords=("backup_cipher",),
        also="postgres",
        own_packages=("postgresql-{version}", "postgresql-client-{version}"),  # a drill runs it on a backup
    ),
)
# On hosts that carry etcd and PostgreSQL: moves the leadership of etcd off the primary's host.
APART_TIMER = "pgquorum-leaders-apart.timer"
# Where the settings ask for fast_failover: on the database hosts, and on the proxy hosts.
GUARD_UNIT, ONE_PRIMARY_UNIT = "pgquorum-guard.service", "pgquorum-one-primary.service"
FIREWALL_UNIT = "pgquorum-firewall.service"  # on every host, where the settings ask for it
GROUPS = tuple(dict.fromkeys(component.group for component in COMPONENTS))
OPTIONAL_GROUPS = ("backup",)  # a cluster may do without
# Which backups pgBackRest makes, the fuller the first; and those that a timer makes.
BACKUP_TYPES = ("full", "diff", "incr")
CLONE_UNIT = "pgquorum-backup-clone.service"
DRILL_UNIT, DRILL_TIMER = "pgquorum-backup-drill.service", "pgquorum-backup-drill.timer"
BACKUP_TIMERS = {kind: f"pgquorum-backup-{kind}.timer" for kind in ("full", "incr")}
