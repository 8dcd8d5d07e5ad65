"""The kinds of values that settings have, each with what is right about it: a wrong one raises ValueError, which says that."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictInt

from . import paths
from .parameters import NEWEST, VERSIONS, spelled
from .version import Version, parse

ParameterValue = StrictBool | StrictInt | float | str

IDENTIFIER = re.compile(r"[a-z_][a-z0-9_]{0,62}")
DNS_NAME = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
SIZE_UNITS = {"": 1, "B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}


def parse_size(value: object) -> int:
    """Bytes of a size such as `64MB`, `2GB` or a plain number of bytes. Raises ValueError with what would be right."""
    match = re.fullmatch(r"(\d+)\s*(B|kB|MB|GB|TB)?", str(value).strip())
    if not match or isinstance(value, bool):
        raise ValueError("should be a size such as '64MB' or '2GB'")
    return int(match[1]) * SIZE_UNITS[match[2] or ""]


def _identifier(value: str) -> str:
    if not IDENTIFIER.fullmatch(value):
        raise ValueError("should be lower-case letters, digits and underscores, at most 63, not starting with a digit")
    return value


def _cluster_name(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,30}", value):
        raise ValueError("should be a lower-case letter followed by up to 30 letters, digits and hyphens")
    return value


def _spelled(parameters: dict[str, ParameterValue]) -> dict[str, ParameterValue]:
    """Under their names as PostgreSQL writes them, which takes them in any case."""
    found: dict[str, ParameterValue] = {}
    for name, value in parameters.items():
        if (own := spelled(name)) in found:
            raise ValueError(f"has {own} twice: should have it once")
        found[own] = value
    return found


def _dns_name_or_address(value: str) -> str:
    try:
        return str(ip_address(value))
    except ValueError:
        pass
    if len(value) > 253 or not DNS_NAME.fullmatch(value):
        raise ValueError("should be an IP address or a name as in DNS, in lower-case letters, such as 'db.example.com'")
    return value


def _host_name(value: str) -> str:
    if len(value) > 253 or not DNS_NAME.fullmatch(value) or "*" in value or re.fullmatch(r"[0-9.]+", value):
        raise ValueError("should be a name as in DNS, in lower-case letters, such as 'db.example.com'")
    return value


def _interface(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,15}", value):
        raise ValueError("should be the name of a network interface, such as 'eth0' (`ip -brief address` on a host)")
    return value


def directory(value: str) -> str:
    """A directory that data may lie in. Raises ValueError for what is none."""
    path = PurePosixPath(value)
    if not path.is_absolute() or ".." in path.parts or len(path.parts) < 3 or not re.fullmatch(r"[\w./-]+", value):
        raise ValueError("should be an absolute path at least two levels deep, of letters, digits and . _ - /")
    if why := paths.why_no_data(value):
        raise ValueError(f"should be elsewhere: it {why}")
    return str(path)


def _url(value: str) -> str:
    if not re.fullmatch(r"(https?://[\w.-]+(:\d+)?|file://)(/[\w.~+-]+)+/?", value, re.ASCII):
        raise ValueError("should be the URL of a repository of packages, such as 'https://mirror.example.com/debian'")
    return value.rstrip("/")


def _package_file(value: str) -> str:
    directory, name = r"((https?://[\w.-]+(:\d+)?|file://)?/)?([\w.~+-]+/)*", r"[a-z0-9.+-]+_[\w.~+-]+_[a-z0-9]+\.deb"
    if not re.fullmatch(directory + name, value, re.ASCII):
        raise ValueError("should be the path or URL of a Debian package, such as 'packages/etcd-server_3.5.30-2_amd64.deb'")
    return value


def _sha256(value: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise ValueError("should be a SHA-256, 64 hexadecimal digits, as `sha256sum` prints it")
    return value.lower()


def _schedule(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9*:.,/~ -]{1,100}", value):
        raise ValueError("should be a time as in a timer of systemd, such as 'Sun 01:00' (man systemd.time)")
    return value


def _postgres_version(value: int) -> int:
    if value in VERSIONS:
        return value
    right = f"should be {' or '.join(map(str, VERSIONS))}"
    if value <= NEWEST:
        raise ValueError(right)
    raise ValueError(f"{right}; Patroni before 4.2 knows no later one (docs/contributing.md has what is to be done for it)")


Port = Annotated[StrictInt, Field(ge=1, le=65535)]
Size = Annotated[int, BeforeValidator(parse_size)]
Identifier = Annotated[str, AfterValidator(_identifier)]
ClusterName = Annotated[str, AfterValidator(_cluster_name)]
Directory = Annotated[str, AfterValidator(directory)]
Url = Annotated[str, AfterValidator(_url)]
PackageFile = Annotated[str, AfterValidator(_package_file)]
Sha256 = Annotated[str, AfterValidator(_sha256)]
CertificateName = Annotated[str, AfterValidator(_dns_name_or_address)]
HostName = Annotated[str, AfterValidator(_host_name)]
Interface = Annotated[str, AfterValidator(_interface)]
VersionNumber = Annotated[Version, BeforeValidator(parse)]
Parameters = Annotated[dict[str, ParameterValue], AfterValidator(_spelled)]
Schedule = Annotated[str, AfterValidator(_schedule)]
PostgresVersion = Annotated[StrictInt, AfterValidator(_postgres_version)]
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
