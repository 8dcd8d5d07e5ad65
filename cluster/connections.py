"""Who talks to whom: every connection between hosts, and from outside, in one place; docs/network.md has it as a table. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from .components import COMPONENTS
from .topology import Cluster, Host

# Who is no group of the inventory: whoever is in client_networks, as applications and the database hosts are, and whoever runs
# the tool.
CLIENTS, OPERATOR = "clients", "operator"
EVERY_HOST = "every host"
NO_PORT = ""

ETCD_CERTIFICATE = "client certificate of the etcd authority"
POSTGRES_CERTIFICATE = "client certificate of the postgres authority"
BACKUP_CERTIFICATE = "client certificate of the backup authority, by its name"
SCRAM = "SCRAM password, from client_networks"


@dataclass(frozen=True)
class Connection:
    """Hosts of one group dial those of another, or of the same.

    `source`: a group of the inventory, CLIENTS or OPERATOR; `target`: a group, or EVERY_HOST. `port`: the setting that has its
    number, with its name in group_data or inventory.py; NO_PORT of what has none. `right`: what the one who dials has to show.
    `why`: what for.
    """

    source: str
    target: str
    port: str
    protocol: str
    right: str
    why: str


CONNECTIONS = (
    Connection("etcd", "etcd", "etcd_peer_port", "etcd, TLS", ETCD_CERTIFICATE, "the members agree (Raft)"),
    Connection(
        "etcd", "etcd", "etcd_client_port", "etcd, TLS", ETCD_CERTIFICATE, "a deploy asks for all members before it touches one"
    ),
    Connection(
        "postgres", "etcd", "etcd_client_port", "etcd, TLS", ETCD_CERTIFICATE, "Patroni keeps the leader key there"
    ),
    Connection(
        "postgres", "postgres", "postgres_port", "PostgreSQL, TLS",
        f"{POSTGRES_CERTIFICATE} and SCRAM password", "replication, pg_rewind",
    ),
    Connection(
        "postgres", "postgres", "patroni_port", "HTTPS",
        POSTGRES_CERTIFICATE, "in an election Patroni and the promotion gate ask how far each member is",
    ),
    Connection("haproxy", "postgres", "patroni_port", "HTTPS", POSTGRES_CERTIFICATE, "HAProxy asks who is the primary"),
    Connection(
        "haproxy", "postgres", "postgres_port", "PostgreSQL, TLS", "the client's, whose TLS session is passed through",
        "HAProxy passes on writes and reads",
    ),
    Connection(
        "postgres", "backup", "backup_port", "pgBackRest, TLS", BACKUP_CERTIFICATE,
        "the primary archives its write-ahead log; all ask for what is archived, and replicas are made from backups",
    ),
    Connection("backup", "postgres", "backup_port", "pgBackRest, TLS", BACKUP_CERTIFICATE, "a backup reads the data"),
    Connection(
        "haproxy", "haproxy", NO_PORT, "VRRP (IP protocol 112)",
        "its address", "which proxy host has proxy_address",
    ),
    Connection(CLIENTS, "haproxy", "haproxy_write_port", "PostgreSQL, TLS", SCRAM, "writes; a deploy ends with one"),
    Connection(CLIENTS, "haproxy", "haproxy_read_port", "PostgreSQL, TLS", SCRAM, "reads; a deploy ends with one"),
    Connection(CLIENTS, "haproxy", "pooling_write_port", "PostgreSQL, TLS", SCRAM, "writes by pooled connections"),
    Connection(CLIENTS, "haproxy", "pooling_read_port", "PostgreSQL, TLS", SCRAM, "reads by pooled connections"),
    Connection(CLIENTS, "haproxy", "haproxy_stats_port", "HTTPS", "password, from client_networks", "HAProxy's statistics"),
    Connection(CLIENTS, "postgres", "postgres_port", "PostgreSQL, TLS", SCRAM, "to one server, past HAProxy"),
    Connection(OPERATOR, EVERY_HOST, "ssh_port", "SSH", "key of ssh_user, root or with sudo", "the deploy and the tasks"),
)  # fmt: skip


def used(cluster: Cluster) -> tuple[Connection, ...]:
    """Those that there are in a cluster, which may have no hosts in a group, and do without a component."""
    absent = {port for component in COMPONENTS if not cluster.carriers(component) for port in component.ports}
    there = (one for one in CONNECTIONS if one.port not in absent and (one.port != NO_PORT or cluster.entry_hosts))
    return tuple(one for one in there if one.source in (CLIENTS, OPERATOR) or cluster.members(one.source))


def reached_from(cluster: Cluster, host: Host) -> tuple[tuple[Host, int], ...]:
    """The hosts, and their ports, that `host` dials; it is among them where the members of its group dial each other."""
    dialled = (one for one in used(cluster) if one.source not in (CLIENTS, OPERATOR) and host in cluster.members(one.source))
    with_port = (one for one in dialled if one.port != NO_PORT)
    return tuple((target, cluster.setting(one.port)) for one in with_port for target in cluster.members(one.target))
