"""What a failover needs that does not wait for a lease: a guard on each database host (agents/guard.py), and on each proxy host
who sees to it that writes go to one server (agents/one_primary.py)."""

from __future__ import annotations

import json
from collections.abc import Generator

from pyinfra import host
from pyinfra.api import FactBase, StringCommand, operation

from cluster import paths
from cluster.components import GUARD_UNIT as GUARD
from cluster.components import ONE_PRIMARY_UNIT as ONE_PRIMARY

from . import agents
from .context import Run
from .managed import Managed, directory, render
from .patroni import TLS_FILES
from .services import Unit, UnitFact

UNIT_FILES = {unit: f"/etc/systemd/system/{unit}" for unit in (GUARD, ONE_PRIMARY)}


def files(run: Run) -> list[Managed]:
    """The guard's unit; the program itself is among the others (agents.py)."""
    return [Managed(UNIT_FILES[GUARD], render(f"patroni/{GUARD}.j2"))]


def proxy_files(run: Run) -> list[Managed]:
    """The program on a proxy host, what it is told of the cluster, and its unit."""
    cluster = run.cluster
    told = {
        "socket": paths.HAPROXY_SOCKET,
        "patroni": {one.name: f"{one.url_address}:{cluster.postgres.patroni_port}" for one in cluster.postgres_hosts},
        "apart": 2 * cluster.timing.heartbeat_ms / 1000,  # as etcd's heartbeat, more than a round trip takes
        "ca": f"{paths.HAPROXY_TLS}/ca.crt",
        "client": f"{paths.HAPROXY_TLS}/client.pem",
    }
    command = paths.agent("one-primary", paths.ONE_PRIMARY)
    return [
        directory("/usr/local/lib/pgquorum"),
        *agents.programs(),
        Managed(paths.ONE_PRIMARY, json.dumps(told, indent=2) + "\n"),
        Managed(UNIT_FILES[ONE_PRIMARY], render(f"haproxy/{ONE_PRIMARY}.j2", command=command)),
    ]


class Present(FactBase[bool]):
    """Whether the host has a file."""

    def command(self, path: str) -> str:
        return f"ls {path} 2>/dev/null || true"

    def process(self, output: list[str]) -> bool:
        return bool(output)


@operation()
def start() -> Generator[StringCommand]:
    """Starts the guard, and starts it anew where its files were written since: what it has promised is kept."""
    yield from _run(GUARD, (*agents.written(), *TLS_FILES))


@operation()
def start_on_proxy() -> Generator[StringCommand]:
    """Starts what sees to it that writes go to one server, and starts it anew where its files were written since."""
    client = (f"{paths.HAPROXY_TLS}/ca.crt", f"{paths.HAPROXY_TLS}/client.pem")
    yield from _run(ONE_PRIMARY, (*agents.programs_written(), paths.ONE_PRIMARY, *client))


def _run(name: str, files: tuple[str, ...]) -> Generator[StringCommand]:
    unit = host.get_fact(UnitFact, unit=name, files=(UNIT_FILES[name], *files)) or Unit()
    if not (unit.active and unit.enabled):
        yield StringCommand(f"systemctl daemon-reload && systemctl enable --now --quiet {name}")
    elif unit.restart_due or unit.stale:
        yield StringCommand(f"systemctl daemon-reload && systemctl restart {name}")


@operation()
def leave() -> Generator[StringCommand]:
    """Takes the guard away from a host that has one, with what it has put up."""
    if host.get_fact(Present, path=UNIT_FILES[GUARD]):
        gone = "! nft list table inet $t >/dev/null 2>&1 || nft delete table inet $t"
        yield StringCommand(f"systemctl disable --now --quiet {GUARD}")
        yield StringCommand(f"rm -rf {UNIT_FILES[GUARD]} {paths.GUARD_STATE} && systemctl daemon-reload")
        yield StringCommand(f"for t in {' '.join(paths.GUARD_TABLES)}; do {gone}; done")


@operation()
def leave_proxy() -> Generator[StringCommand]:
    """Takes the other one away from a host that has it."""
    if host.get_fact(Present, path=UNIT_FILES[ONE_PRIMARY]):
        yield StringCommand(f"systemctl disable --now --quiet {ONE_PRIMARY}")
        yield StringCommand(f"rm -f {UNIT_FILES[ONE_PRIMARY]} {paths.ONE_PRIMARY} && systemctl daemon-reload")
