"""Who may dial which port of a host: the packet filter that a deploy loads, made from connections.py. Pure.

It judges only what begins a connection to a port of the cluster's, and to SSH where `operator_networks` is set; and VRRP, where
proxy hosts share an address. All else, and
what other tables of the host's own say, is left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from . import pooling
from .connections import CLIENTS, NO_PORT, OPERATOR, used
from .topology import Cluster, Host

SSH_PORT = 22
POOLED_PORTS = ("pooling_write_port", "pooling_read_port")


@dataclass(frozen=True)
class Networks:
    """IPv4 and IPv6 networks. The kernel takes none that overlap, so those that do, or adjoin, are made one."""

    v4: tuple[IPv4Network, ...]
    v6: tuple[IPv6Network, ...]

    @classmethod
    def of(cls, given: Iterable[object]) -> Networks:
        """Those of addresses and networks, as text or values."""
        networks = {ip_network(str(one)) for one in given}
        return cls(
            tuple(collapse_addresses(one for one in networks if isinstance(one, IPv4Network))),
            tuple(collapse_addresses(one for one in networks if isinstance(one, IPv6Network))),
        )


@dataclass(frozen=True)
class Door:
    """A port of a host, with who may dial it. `peers` are hosts of the cluster, which have as many connections as they like. At a
    time, each address of `clients` may have `most`, and all may have `together` (None: as many as they like)."""

    port: int
    peers: Networks
    clients: Networks
    most: int | None = None
    together: int | None = None


def doors(cluster: Cluster, host: Host, ssh_ports: Collection[int] = ()) -> tuple[Door, ...]:
    """The doors of a host, by port. `ssh_ports` are those of its sshd, as the host itself says: the one that the operator dials
    may be in the configuration of SSH alone, or be another than the host's."""
    found = [_door(cluster, setting, sources) for setting, sources in _dialled(cluster, host).items()]
    if cluster.all.operator_networks:
        members = Networks.of(member.address for member in cluster.hosts)
        networks = Networks.of(cluster.all.operator_networks)
        found += [Door(port, members, networks) for port in ssh_ports or (host.settings.ssh_port or SSH_PORT,)]
    return tuple(sorted(found, key=lambda door: door.port))


def vrrp_peers(cluster: Cluster, host: Host) -> Networks | None:
    """Who may tell a host by VRRP, which has no ports, that it has the virtual address. None where nobody does."""
    sources = [one.source for one in used(cluster) if one.port == NO_PORT and host in cluster.members(one.target)]
    if not sources:
        return None
    return Networks.of(other.address for source in sources for other in cluster.members(source) if other != host)


def _dialled(cluster: Cluster, host: Host) -> dict[str, list[str]]:
    """The settings of the ports that a host is dialled at, with who dials it there."""
    sources: dict[str, list[str]] = {}
    for one in used(cluster):
        if one.source != OPERATOR and one.port != NO_PORT and host in cluster.members(one.target):
            sources.setdefault(one.port, []).append(one.source)
    return sources


def _door(cluster: Cluster, setting: str, sources: list[str]) -> Door:
    also = [network for port, networks in cluster.all.firewall_also.items() if port == setting for network in networks]
    clients = [*(cluster.all.client_networks if CLIENTS in sources else ()), *also]
    peers = {member.address for group in sources if group != CLIENTS for member in cluster.members(group)}
    most = together = None
    if setting == "postgres_port":
        # HAProxy counts those of its own clients by itself. PostgreSQL keeps places for twice as many as it takes sessions
        # (pmchild.c): so many come through HAProxy at most, and those that come past it leave them the others.
        most, together = cluster.all.firewall_connections, cluster.share_of_sessions
    elif setting in POOLED_PORTS:
        most = pooling.clients(cluster)  # one address may be all of them, and leaves as many places (pooling.places)
    return Door(cluster.setting(setting), Networks.of(peers), Networks.of(clients), most, together)
