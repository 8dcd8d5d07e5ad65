"""Commands for the lab: real hosts on this machine. The rest of day2/ knows nothing of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from invoke.context import Context

from day2.commands.declare import command

if TYPE_CHECKING:
    from lab import Addresses, Lab, LabSpec

LAB = {"name": "which lab"}
LAB_HOST = {"host": "the host's name, like pg-sv01", **LAB}


def on_lab(name: str, act: Callable[[Lab], object]) -> None:
    """Calls `act` with the lab of that name, and leaves with code 2 where it can't."""
    from day2.ui.console import call
    from lab import Lab, LabError

    def body() -> None:
        act(Lab.load(name, Path.cwd()))

    call(body, errors=(LabError,))


def kept(name: str, checkout: Path) -> LabSpec:
    """What a checkout's lab is; where there is no such lab yet, what a new one would be."""
    from lab import Lab, LabError, LabSpec

    try:
        return Lab.load(name, checkout).spec
    except LabError:
        return LabSpec(name)


@command(
    help={
        **LAB,
        "databases": "hosts for PostgreSQL and etcd",
        "proxies": "hosts for HAProxy",
        "suite": "Debian release, forky unless given; several, with commas between, are taken in turn",
        "subnet": "network of the lab",
        "ipv6": "hosts that have IPv6 addresses only",
        "dual": "hosts that have both: the cluster uses IPv4, clients may come by either",
        "backup": "a host for backups beside them, in group backup of the inventory",
    }
)
def _up(
    c: Context,
    name: str = "demo",
    databases: int = 3,
    proxies: int = 1,
    suite: str = "",
    subnet: str = "10.77.0.0/24",
    ipv6: bool = False,
    dual: bool = False,
    backup: bool = False,
) -> None:
    """Start a lab: real hosts (systemd, sshd) on this machine, with inventory.py's addresses by default."""
    from day2.ui.console import call
    from lab import Lab, LabError, LabSpec

    def body() -> None:
        if ipv6 and dual:
            raise LabError("--ipv6 and --dual: choose one, hosts have IPv6 addresses only or both")
        old = kept(name, Path.cwd())
        addresses: Addresses = "ipv6" if ipv6 else "dual" if dual else old.addresses
        spec = LabSpec(name, subnet, suite or old.suite, databases, proxies, addresses, backup=backup or old.backup)
        Lab(spec, Path.cwd()).up()

    call(body, errors=(LabError,))


@command(help=LAB)
def _down(c: Context, name: str = "demo") -> None:
    """Remove a lab with its disks."""
    on_lab(name, lambda lab: lab.down())


@command(help=LAB)
def _status(c: Context, name: str = "demo") -> None:
    """Show each host's power, cable and SSH."""

    def show(lab: Lab) -> None:
        for host in lab.status():
            signs = {"power": host.power, "cable": host.cable, "ssh": host.ssh}
            said = "  ".join(f"{sign} {'on ' if there else 'off'}" for sign, there in signs.items())
            print(f"{host.name:12} {host.address:15} {host.kind:8}  {said}")

    on_lab(name, show)


@command(help=LAB_HOST)
def _off(c: Context, host: str, name: str = "demo") -> None:
    """Cut a host's power; its disk stays."""
    on_lab(name, lambda lab: lab.off(host))


@command(help=LAB_HOST)
def _on(c: Context, host: str, name: str = "demo") -> None:
    """Power a host on and wait for its sshd."""
    on_lab(name, lambda lab: lab.on(host))


@command(help=LAB_HOST)
def _cut(c: Context, host: str, name: str = "demo") -> None:
    """Cut a host's network cable."""
    on_lab(name, lambda lab: lab.cut(host))


@command(help=LAB_HOST)
def _heal(c: Context, host: str, name: str = "demo") -> None:
    """Mend a host's network cable."""
    on_lab(name, lambda lab: lab.heal(host))


@command(help=LAB_HOST)
def _ssh(c: Context, host: str, name: str = "demo") -> None:
    """Open a session on a host."""
    on_lab(name, lambda lab: os.execvp("ssh", lab.ssh_command(host)))


COMMANDS = (_up, _down, _status, _off, _on, _cut, _heal, _ssh)
