"""What a lab is: its name, subnet, Debian releases and hosts. Pure decisions; nothing here runs a command."""

import difflib
import ipaddress
import re
from dataclasses import dataclass
from typing import Literal, get_args

from lab.command import LabError

Kind = Literal["database", "proxy", "backup"]
# Which addresses hosts have. In a lab that is dual the cluster uses IPv4, and clients may come by either.
Addresses = Literal["ipv4", "ipv6", "dual"]

FIRST_DATABASE = 11
FIRST_PROXY = 21
BACKUP = 31  # there is one at most, and in the smallest subnet none
MAX_PER_KIND = FIRST_PROXY - FIRST_DATABASE
# A network interface carries the name of the lab behind "pgq-", and the kernel allows 15 characters.
NAME = re.compile(r"[a-z][a-z0-9]{0,10}")
PRIVATE = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
SUITES = re.compile(r"[a-z][a-z0-9-]*(,[a-z][a-z0-9-]*)*")


@dataclass(frozen=True)
class LabHost:
    """One host of a lab: its name, the address that the cluster uses, what it is meant to carry, its further addresses, and
    the Debian release that it runs."""

    name: str
    address: str
    kind: Kind
    further: tuple[str, ...] = ()
    suite: str = "forky"

    @property
    def addresses(self) -> tuple[str, ...]:
        """All of its addresses."""
        return (self.address, *self.further)


@dataclass(frozen=True)
class LabSpec:
    """What the user may choose about a lab. Raises LabError naming field, value and what would be right.

    `suite` is the code name of a Debian release, or several with commas between, which hosts of a kind then take in turn.
    `subnet` is IPv4, and what the IPv6 network of the lab is made from. `databases` and `proxies` are numbers of hosts;
    `mirror` is anything mmdebstrap takes as a mirror, None its default. `backup`: whether there is a host for backups.
    """

    name: str = "demo"
    subnet: str = "10.77.0.0/24"
    suite: str = "forky"
    databases: int = 3
    proxies: int = 1
    addresses: Addresses = "ipv4"
    mirror: str | None = None
    backup: bool = False

    def __post_init__(self) -> None:
        for field, usable, right in (
            ("name", NAME.fullmatch(self.name), "1 to 11 small letters and digits, a letter first"),
            ("subnet", _is_lab_subnet(self.subnet), "a private IPv4 network, /16 to /27, like 10.77.1.0/24"),
            ("suite", SUITES.fullmatch(self.suite), "the code name of a Debian release, like forky, or several: forky,trixie"),
            ("databases", self.databases in range(1, MAX_PER_KIND + 1), f"1 to {MAX_PER_KIND} hosts"),
            ("addresses", self.addresses in get_args(Addresses), f"one of {', '.join(get_args(Addresses))}"),
            ("proxies", self.proxies in range(MAX_PER_KIND + 1), f"0 to {MAX_PER_KIND} hosts"),
            ("backup", not (self.backup and self.network.num_addresses <= BACKUP + 1), "a subnet of /26 or larger with it"),
        ):
            if not usable:
                raise LabError(f"lab {field} {getattr(self, field)!r} is not usable: give {right}")

    @property
    def suites(self) -> tuple[str, ...]:
        """The Debian releases of its hosts, each once."""
        return tuple(dict.fromkeys(self.suite.split(",")))

    @property
    def network(self) -> ipaddress.IPv4Network:
        """The subnet as a network object."""
        return ipaddress.IPv4Network(self.subnet)

    @property
    def network6(self) -> ipaddress.IPv6Network:
        """The IPv6 network of the same lab: a local one (RFC 4193) of which the subnet's address is the unique part."""
        return ipaddress.IPv6Network((0xFD << 120 | int(self.network.network_address) << 88, 64))

    @property
    def networks(self) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
        """Those that hosts have addresses in, first the one that the cluster uses."""
        if self.addresses == "ipv6":
            return (self.network6,)
        return (self.network, self.network6) if self.addresses == "dual" else (self.network,)

    @property
    def gateways(self) -> tuple[str, ...]:
        """The addresses of the machine itself in those networks, each with the length of its prefix."""
        return tuple(f"{_numbered(network, 1)}/{network.prefixlen}" for network in self.networks)

    @property
    def hosts(self) -> tuple[LabHost, ...]:
        """All hosts, databases first: pg-sv01, pg-sv02, … from .11 on; pg-haproxy, pg-haproxy2, … from .21 on; pg-backup, .31."""
        databases = (self._host(f"pg-sv{n + 1:02}", FIRST_DATABASE, n, "database") for n in range(self.databases))
        proxies = (self._host(f"pg-haproxy{n + 1 if n else ''}", FIRST_PROXY, n, "proxy") for n in range(self.proxies))
        return (*databases, *proxies, *([self._host("pg-backup", BACKUP, 0, "backup")] if self.backup else []))

    def _host(self, name: str, first: int, n: int, kind: Kind) -> LabHost:
        address, *further = (_numbered(network, first + n) for network in self.networks)
        return LabHost(name, address, kind, tuple(further), self.suites[n % len(self.suites)])

    def host(self, name: str) -> LabHost:
        """The host of that name. Raises LabError with the nearest name if there is none."""
        names = {host.name: host for host in self.hosts}
        if name in names:
            return names[name]
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"its hosts: {', '.join(names)}"
        raise LabError(f"lab {self.name} has no host {name!r}; {hint}")


def refuse_unlike(up: LabSpec, asked: LabSpec) -> None:
    """Raise LabError if a lab that exists as `up` cannot become `asked` without losing its disks. It can only grow."""
    for field in ("subnet", "suite", "addresses", "mirror"):
        old, new = getattr(up, field), getattr(asked, field)
        if old != new:
            raise LabError(f"lab {up.name} has {field} {old}, not {new}: `invoke lab.down` first, or keep it")
    for field in ("databases", "proxies"):
        old, new = getattr(up, field), getattr(asked, field)
        if new < old:
            raise LabError(f"lab {up.name} has {old} {field}; for only {new}, `invoke lab.down` first")
    if up.backup and not asked.backup:
        raise LabError(f"lab {up.name} has a host for backups; for one without, `invoke lab.down` first")


def _numbered(network: ipaddress.IPv4Network | ipaddress.IPv6Network, number: int) -> str:
    """The address of that number, which an IPv6 address shows by its last digits, too."""
    return str(network.network_address + (number if network.version == 4 else int(str(number), 16)))


def _is_lab_subnet(text: str) -> bool:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        return False
    return any(network.subnet_of(private) for private in PRIVATE) and 16 <= network.prefixlen <= 27
