"""What a lab is: its name, subnet, Debian suite and hosts. Pure decisions; nothing here runs a command."""

import difflib
import ipaddress
import re
from dataclasses import dataclass
from typing import Literal

from lab.command import LabError

Kind = Literal["database", "proxy"]

FIRST_DATABASE = 11
FIRST_PROXY = 21
MAX_PER_KIND = FIRST_PROXY - FIRST_DATABASE
# A network interface carries the name of the lab behind "pgq-", and the kernel allows 15 characters.
NAME = re.compile(r"[a-z][a-z0-9]{0,10}")
PRIVATE = tuple(map(ipaddress.IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
SUITE = re.compile(r"[a-z][a-z0-9-]*")


@dataclass(frozen=True)
class LabHost:
    """One host of a lab: its name, its IPv4 address, and what it is meant to carry."""

    name: str
    address: str
    kind: Kind


@dataclass(frozen=True)
class LabSpec:
    """What the user may choose about a lab. Raises LabError naming field, value and what would be right.

    `databases` and `proxies` are numbers of hosts; `mirror` is anything mmdebstrap takes as a mirror, None its default.
    """

    name: str = "demo"
    subnet: str = "10.77.0.0/24"
    suite: str = "forky"
    databases: int = 3
    proxies: int = 1
    mirror: str | None = None

    def __post_init__(self) -> None:
        for field, usable, right in (
            ("name", NAME.fullmatch(self.name), "1 to 11 small letters and digits, a letter first"),
            ("subnet", _is_lab_subnet(self.subnet), "a private IPv4 network, /16 to /27, like 10.77.1.0/24"),
            ("suite", SUITE.fullmatch(self.suite), "the code name of a Debian release, like forky"),
            ("databases", self.databases in range(1, MAX_PER_KIND + 1), f"1 to {MAX_PER_KIND} hosts"),
            ("proxies", self.proxies in range(MAX_PER_KIND + 1), f"0 to {MAX_PER_KIND} hosts"),
        ):
            if not usable:
                raise LabError(f"lab {field} {getattr(self, field)!r} is not usable: give {right}")

    @property
    def network(self) -> ipaddress.IPv4Network:
        """The subnet as a network object."""
        return ipaddress.IPv4Network(self.subnet)

    @property
    def gateway(self) -> str:
        """The address of the machine itself in the lab's subnet."""
        return str(self.network.network_address + 1)

    @property
    def hosts(self) -> tuple[LabHost, ...]:
        """All hosts, databases first: pg-sv01, pg-sv02, … from .11 on; pg-haproxy, pg-haproxy2, … from .21 on."""
        base = self.network.network_address
        databases = (LabHost(f"pg-sv{n + 1:02}", str(base + FIRST_DATABASE + n), "database") for n in range(self.databases))
        proxies = (LabHost(f"pg-haproxy{n + 1 if n else ''}", str(base + FIRST_PROXY + n), "proxy") for n in range(self.proxies))
        return (*databases, *proxies)

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
    for field in ("subnet", "suite", "mirror"):
        old, new = getattr(up, field), getattr(asked, field)
        if old != new:
            raise LabError(f"lab {up.name} has {field} {old}, not {new}: `invoke lab.down` first, or keep it")
    for field in ("databases", "proxies"):
        old, new = getattr(up, field), getattr(asked, field)
        if new < old:
            raise LabError(f"lab {up.name} has {old} {field}; for only {new}, `invoke lab.down` first")


def _is_lab_subnet(text: str) -> bool:
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError:
        return False
    return any(network.subnet_of(private) for private in PRIVATE) and 16 <= network.prefixlen <= 27
