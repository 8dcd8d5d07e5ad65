"""The guard of a database host (agents/guard.py): by it a primary whose host is silent is given up before its lease has ended."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import FactBase, StringCommand, operation

from cluster import paths

from . import agents
from .managed import Managed, render
from .patroni import ETCD_TLS_FILES
from .services import Unit, UnitFact

UNIT = "pgquorum-guard.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"


def files() -> list[Managed]:
    """Its unit; the program itself is among the others (agents.py)."""
    return [Managed(UNIT_FILE, render(f"patroni/{UNIT}.j2"))]


class Present(FactBase[bool]):
    """Whether the host has one."""

    def command(self) -> str:
        return f"ls {UNIT_FILE} 2>/dev/null || true"

    def process(self, output: list[str]) -> bool:
        return bool(output)


@operation()
def start() -> Generator[StringCommand]:
    """Starts it, and starts it anew where its files were written since: what was promised is kept."""
    unit = host.get_fact(UnitFact, unit=UNIT, files=(UNIT_FILE, *agents.written(), *ETCD_TLS_FILES)) or Unit()
    if not (unit.active and unit.enabled):
        yield StringCommand(f"systemctl daemon-reload && systemctl enable --now --quiet {UNIT}")
    elif unit.restart_due or unit.stale:
        yield StringCommand(f"systemctl daemon-reload && systemctl restart {UNIT}")


@operation()
def leave() -> Generator[StringCommand]:
    """Takes it away from a host that has one, with what it has put up."""
    if host.get_fact(Present):
        yield StringCommand(f"systemctl disable --now --quiet {UNIT}")
        yield StringCommand(f"rm -rf {UNIT_FILE} {paths.GUARD_STATE} && systemctl daemon-reload")
        gone = "! nft list table inet $t >/dev/null 2>&1 || nft delete table inet $t"
        yield StringCommand(f"for t in {' '.join(paths.GUARD_TABLES)}; do {gone}; done")
