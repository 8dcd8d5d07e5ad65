"""Debian packages: installed without starting what they bring."""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterable, Mapping
from types import MappingProxyType

from pyinfra import host
from pyinfra.api import FactBase, StringCommand, operation

from cluster import paths
from cluster.apt import apt_get, apt_mark, apt_update
from cluster.topology import Cluster, Host

from .context import Run
from .managed import Managed, directory, file_text


def kept_from_starting(cluster: Cluster) -> tuple[str, ...]:
    """What would start by itself when its package is unpacked: etcd a lone member of its own, PostgreSQL a server nobody asked
    for."""
    return tuple(unit for component in cluster.used_components for unit in (*component.units, *component.masked))


def packages_of(cluster: Cluster, member: Host) -> list[str]:
    """The packages a host needs for what it carries, with what the deploy itself works with."""
    guarded = cluster.all.fast_failover and member in cluster.postgres_hosts
    filtered = ["nftables"] if cluster.all.firewall or guarded else []
    return ["curl", "ca-certificates", "python3", *filtered, *cluster.packages(member)]


def host_files(marker: str | None) -> list[Managed]:
    """What must be there before the packages are: the marker, and what keeps others from touching the cluster's services."""
    return [
        directory("/etc/pgquorum"),
        *([Managed(paths.MARKER, marker, mode="600")] if marker else []),
        directory("/etc/apt/apt.conf.d"),
        directory("/etc/needrestart"),
        directory("/etc/needrestart/conf.d"),
        directory("/etc/postgresql-common"),
        Managed("/etc/apt/apt.conf.d/52pgquorum", file_text("apt/52pgquorum")),
        Managed("/etc/needrestart/conf.d/pgquorum.conf", file_text("needrestart/pgquorum.conf")),
        Managed("/etc/postgresql-common/createcluster.conf", file_text("postgresql/createcluster.conf")),
    ]


class Installed(FactBase[dict[str, str]]):
    """The installed ones of the named packages, with their versions."""

    def command(self, names: tuple[str, ...]) -> str:
        return f"dpkg-query -W -f '${{Package}} ${{Version}} ${{db:Status-Status}}\\n' {' '.join(names)} 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, str]:
        rows = [line.split() for line in output]
        return {row[0]: row[1] for row in rows if row[2:] == ["installed"]}


class Held(FactBase[list[str]]):
    """Those of the named packages that apt leaves at their version."""

    def command(self, names: tuple[str, ...]) -> str:
        return f"dpkg-query -W -f '${{db:Status-Want}} ${{Package}}\\n' {' '.join(names)} 2>/dev/null || true"

    def process(self, output: list[str]) -> list[str]:
        return [line.removeprefix("hold ") for line in output if line.startswith("hold ")]


class Masked(FactBase[list[str]]):
    """Those of the named units that are masked."""

    def command(self, units: tuple[str, ...]) -> str:
        links = " ".join(f"/etc/systemd/system/{unit}" for unit in units)
        return f'for p in {links}; do [ "$(readlink $p)" = /dev/null ] && echo ${{p##*/}}; done; true'

    def process(self, output: list[str]) -> list[str]:
        return output


def installed(names: list[str]) -> dict[str, str]:
    """Those of the named packages that the host has, with their versions."""
    return host.get_fact(Installed, names=tuple(names)) or {}


def missing(names: list[str]) -> list[str]:
    """Those of the named packages that the host lacks, in the same order."""
    present = installed(names)
    return [name for name in names if name not in present]


@operation()
def install(run: Run, names: list[str], files: Mapping[str, str] = MappingProxyType({})) -> Generator[StringCommand]:
    """Installs what is missing, with every service of ours masked until the deploy itself starts it (services.first_start).
    `files` are the paths on the host of packages that come from files, by name.

    The package lists are refreshed only when the ones at hand don't do: on a host that was just made they are empty, and
    elsewhere an installation should not depend on every configured source answering.
    """
    if wanted := missing(names):
        yield StringCommand(
            f"sh -c {shlex.quote(apt_script([files.get(name, name) for name in wanted], kept_from_starting(run.cluster)))}"
        )
        if files:
            yield StringCommand(f"rm -rf {paths.PACKAGE_FILES}")


def apt_script(names: list[str], units: Iterable[str]) -> str:
    """The shell script that installs packages, of whose services none of `units` starts."""
    masked = " ".join(units)
    # An installation that was cut off may still be at work, or have died half way: apt waits for it, dpkg then mends it.
    return (
        f"export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1; exec 3>&2 2>&1; "
        f"systemctl mask --runtime --quiet {masked} 2>/dev/null; "
        f"log=/var/log/pgquorum-packages.log; i() {{ {apt_get()} install {' '.join(names)} >$log; }}; "
        f'u() {{ {apt_update()} || {{ echo "$said" >$log; false; }}; }}; '
        "i || { dpkg --configure -a && i; } || { u && i; } || { tail -n 20 $log; grep '^E: ' $log | tail -n 2 >&3; exit 1; }"
    )


@operation()
def hold(names: Iterable[str]) -> Generator[StringCommand]:
    """Keeps the packages at their version until the owner says otherwise: to upgrade Patroni's is to restart PostgreSQL."""
    wanted = sorted(names)
    held = host.get_fact(Held, names=tuple(wanted)) or ()
    loose = [name for name in wanted if name not in held]
    if loose:
        yield StringCommand(f"sh -c {shlex.quote(apt_mark('hold', loose))}")


def masked_on(cluster: Cluster, member: Host) -> tuple[str, ...]:
    """The units that packages on a host bring, and that must never run there."""
    drills = ("postgresql.service",) if member in cluster.backup_hosts else ()  # PostgreSQL's programs are there for them
    return tuple(dict.fromkeys((*(unit for one in cluster.components(member) for unit in one.masked), *drills)))


@operation()
def mask(units: tuple[str, ...]) -> Generator[StringCommand]:
    """Keeps what packages bring from ever running beside what the deploy starts: postgresql.service beside Patroni's server."""
    masked = host.get_fact(Masked, units=units) or ()
    if wanted := [unit for unit in units if unit not in masked]:
        yield StringCommand(f"systemctl mask --now --quiet {' '.join(wanted)}")
