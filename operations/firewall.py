"""The packet filter of every host: who may dial the cluster's ports, made from the one description of who talks to whom.

What could shut the operator out is tried first: loaded from beside its place, with its end armed in the host's systemd, which
only a new SSH connection through the filter disarms. Until then a boot of the host, too, loads what was there before.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Generator

from pyinfra import host, state
from pyinfra.api import FactBase, StringCommand, operation

from cluster import paths
from cluster.components import FIREWALL_UNIT as UNIT
from cluster.firewall import doors, vrrp_peers

from .connections import new_connection
from .context import Run
from .managed import Managed, directory, render, write
from .refusal import stop

UNIT_FILE = f"/etc/systemd/system/{UNIT}"
CANDIDATE = f"{paths.FIREWALL_RULES}.new"
REVERT = "pgquorum-firewall-revert"
REVERT_SECONDS = 30

# The table as the kernel has it, without how many clients have connections now, which newer releases of nft tell of each set.
LISTED = f"nft -s -t list table inet {paths.FIREWALL_TABLE} 2>/dev/null | sed 's/[[:space:]]*# count [0-9]*$//'"
_DELETE = f"nft delete table inet {paths.FIREWALL_TABLE}"
_BACK = f"rm -f {CANDIDATE}; [ ! -e {paths.FIREWALL_RULES} ] && {_DELETE} || {paths.LOAD_FIREWALL} {paths.FIREWALL_RULES}"
# The revert of an earlier try may still be armed, or have been.
_TRY = (
    f"systemctl stop --quiet {REVERT}.timer 2>/dev/null; systemctl reset-failed --quiet {REVERT}.service 2>/dev/null; "
    f"systemd-run --quiet --collect --unit={REVERT} --on-active={REVERT_SECONDS} sh -c {shlex.quote(_BACK)}"
    f" && {paths.LOAD_FIREWALL} {CANDIDATE}"
)
_KEEP = (
    f"systemctl stop --quiet {REVERT}.timer && mv -f {CANDIDATE} {paths.FIREWALL_RULES}"
    f" && systemctl daemon-reload && systemctl enable --now --quiet {UNIT}"
)


def rules(run: Run) -> Managed:
    """The filter's rules for the host that deploy.py is being loaded for."""
    there = doors(run.cluster, run.host, run.surveys[host.name].ssh_ports)
    text = render("firewall/pgquorum.nft.j2", doors=there, vrrp=vrrp_peers(run.cluster, run.host))
    return Managed(paths.FIREWALL_RULES, text, mode="600", check="nft --check --file {}")


def programs() -> list[Managed]:
    """What loads them, at every boot too."""
    return [
        directory("/usr/local/lib/pgquorum"),
        Managed(paths.LOAD_FIREWALL, render("firewall/load-firewall.sh.j2", listed=LISTED), mode="755"),
        Managed(UNIT_FILE, render("firewall/pgquorum-firewall.service.j2")),
    ]


class Loaded(FactBase[str]):
    """The SHA-256 of the rules that are loaded; empty where the kernel has none, or others."""

    def command(self) -> str:
        return f"{LISTED} | sha256sum | cmp -s - {paths.FIREWALL_NOTE} && sha256sum <{paths.FIREWALL_RULES} || true"

    def process(self, output: list[str]) -> str:
        return "".join(output).partition(" ")[0]


class Present(FactBase[bool]):
    """Whether the host has a filter of ours, loaded or not."""

    def command(self) -> str:
        return f"ls {UNIT_FILE} {paths.FIREWALL_RULES} 2>/dev/null || true"

    def process(self, output: list[str]) -> bool:
        return bool(output)


@operation()
def load(run: Run) -> Generator[StringCommand]:
    """Loads the filter where it is not as it should be, and keeps it if a new SSH connection gets through it."""
    wanted = rules(run)
    assert wanted.content is not None
    if host.get_fact(Loaded) == hashlib.sha256(wanted.content.encode()).hexdigest():
        return
    yield from write(Managed(CANDIDATE, wanted.content, mode=wanted.mode, check=wanted.check))
    yield StringCommand(f"sh -c {shlex.quote(_TRY)}")
    if not state.is_executing or host.connector_cls.__name__ != "SSHConnector":
        yield StringCommand(f"sh -c {shlex.quote(_KEEP)}")
    elif why := new_connection(_KEEP):
        yield from stop(
            f"the packet filter of {host.name} was not kept: no new SSH connection got through it ({why}). Within"
            f" {REVERT_SECONDS} s the host has again what it had before. operator_networks should have the network that SSH"
            f" comes from, or nothing"
        )


@operation()
def remove() -> Generator[StringCommand]:
    """Takes the filter away from a host that has it."""
    if host.get_fact(Present):
        yield StringCommand(f"systemctl disable --now --quiet {UNIT}")
        yield StringCommand(f"rm -f {paths.FIREWALL_RULES} {CANDIDATE} {paths.LOAD_FIREWALL} {UNIT_FILE}")
        yield StringCommand("systemctl daemon-reload")
