"""The virtual address by which clients find whichever proxy host has it: keepalived moves it (VRRP). Pure.

A client that names all proxy hosts needs none; it is for drivers that take one address.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_interface

from .survey import HostSurvey
from .topology import Cluster, Host

# Of VRRP: the first host's priority, each later one's is one lower. They only decide who is first when nobody has the address.
FIRST_PRIORITY = 100
MOST_HOSTS = 10


@dataclass(frozen=True)
class Part:
    """What keepalived on one proxy host is told: `source`, its own address, and those of its `peers`; the `address` with its
    prefix, that is no network's, on `interface`; what VRRP calls it (`router`), and its `priority`."""

    source: str
    peers: tuple[str, ...]
    address: str
    interface: str
    router: int
    priority: int


def names(cluster: Cluster) -> tuple[str, ...]:
    """What clients call the address, which certificates have to bear; nothing where there is none."""
    if not cluster.haproxy.proxy_address:
        return ()
    name = cluster.haproxy.proxy_address_name
    return (*([name] if name else []), str(cluster.haproxy.proxy_address))


def part(cluster: Cluster, host: Host, survey: HostSurvey) -> Part:
    """The part of a proxy host, of which the survey has seen the networks."""
    address = cluster.haproxy.proxy_address
    assert address
    return Part(
        source=host.address,
        peers=tuple(other.address for other in cluster.entry_hosts if other != host),
        address=f"{address}/{address.max_prefixlen}",
        interface=cluster.haproxy.proxy_interface or interface_of(host, survey) or "",
        # Any from 1 to 255: peers are known by their addresses. Another cluster's beside it is told apart in a packet dump.
        router=address.packed[-1] or 255,
        priority=FIRST_PRIORITY - cluster.entry_hosts.index(host),
    )


def interface_of(host: Host, survey: HostSurvey) -> str | None:
    """The interface that has the host's own address; None where that is not to be seen."""
    return next((name for name, network in survey.networks if ip_interface(network).ip == host.settings.address), None)


def contradictions(cluster: Cluster) -> Iterator[str]:
    """What the settings of the address may not be beside the others."""
    settings = cluster.haproxy
    if settings.proxy_address is None:
        for name, value in (("proxy_address_name", settings.proxy_address_name), ("proxy_interface", settings.proxy_interface)):
            if value:
                yield f"{name} = {value!r}: is of proxy_address, which is None: set both, or neither"
        return
    said = f"proxy_address = '{settings.proxy_address}'"
    if len(cluster.haproxy_hosts) < 2:
        yield f"{said}: needs two hosts in group 'haproxy', between which it moves, or None"
    if len(cluster.haproxy_hosts) > MOST_HOSTS:
        yield f"{said}: group 'haproxy' has {len(cluster.haproxy_hosts)} hosts: should be at most {MOST_HOSTS}"
    for host in cluster.hosts:
        if host.settings.address == settings.proxy_address:
            yield f"{said}: is the address of {host.name}: should be one that no host has"
    if any(host.settings.address.version != settings.proxy_address.version for host in cluster.haproxy_hosts):
        yield f"{said}: should be of the same kind as the hosts' addresses, IPv4 or IPv6"


def problems(cluster: Cluster, surveys: Mapping[str, HostSurvey]) -> Iterator[str]:
    """Why the address can't be on the proxy hosts that were surveyed."""
    address = cluster.haproxy.proxy_address
    seen = {host: surveys[host.name] for host in cluster.entry_hosts if host.name in surveys and surveys[host.name].uid == 0}
    for host, survey in seen.items():
        yield from (f"host {host.name}: {text}" for text in _of_host(cluster, host, survey))
    holders = [host for host, survey in seen.items() if any(ip_interface(n).ip == address for _, n in survey.networks)]
    # Of hosts that this run leaves out, one may have it.
    if len(seen) == len(cluster.entry_hosts) and not holders and any(survey.answered for survey in seen.values()):
        yield (
            f"proxy_address = '{address}': something else on the network has it already, and answered"
            f" {next(host.name for host, survey in seen.items() if survey.answered)}: should be one that nobody has"
        )


def _of_host(cluster: Cluster, host: Host, survey: HostSurvey) -> Iterator[str]:
    address, wanted = cluster.haproxy.proxy_address, cluster.haproxy.proxy_interface
    assert address
    there = sorted({name for name, _ in survey.networks})
    if wanted and wanted not in there:
        yield f"proxy_interface = {wanted!r}: it has no such interface with an address: should be one of {', '.join(there)}"
        return
    found = interface_of(host, survey)
    if not wanted and found is None:
        yield (
            f"its address {host.address} is on none of its interfaces ({', '.join(there)}), so the one for proxy_address can't"
            " be found: set proxy_interface"
        )
        return
    own = [ip_interface(network) for name, network in survey.networks if name == (wanted or found)]
    networks = [one.network for one in own if one.version == address.version and not one.is_link_local and one.ip != address]
    if not any(ip_address(address) in network for network in networks):
        all_of_them = ", ".join(map(str, networks)) or "no network of that kind"
        yield f"proxy_address = '{address}': is in none of the networks of {wanted or found}: should be in {all_of_them}"
