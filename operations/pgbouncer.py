"""PgBouncer before HAProxy: its processes, who may come in, and its end where the settings do without.

The package's own unit never runs: one process, as PostgreSQL's user, that upgrades restart.
"""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterable

from pyinfra import host
from pyinfra.api import FactBase, StringCommand, operation

from cluster import paths, pooled_roles, pooling
from cluster.databases import wanted_roles
from cluster.topology import Cluster

from .context import Run
from .managed import Managed, directory, render, secret
from .services import Unit, UnitFact, first_start, or_journal

USER = paths.POOL_USER  # as whom it runs, who may read its keys: nobody else's
UNIT_FILE = "/etc/systemd/system/pgquorum-pool@.service"
ANY_UNIT = "pgquorum-pool@*.service"
TLS_FILES = tuple(f"{paths.POOL_TLS}/{name}" for name in ("server.key", "server.crt", "ca.crt"))


def files(run: Run) -> list[Managed]:
    """Everything PgBouncer reads."""
    cluster, group = run.cluster, paths.POOL_USER
    pair = run.vault.certificate(run.host.name, "pgbouncer")
    return [
        directory(paths.POOL),
        directory(paths.POOL_TLS, group, "750"),
        secret(f"{paths.POOL_TLS}/server.key", pair.key, group),
        Managed(f"{paths.POOL_TLS}/server.crt", pair.certificate.decode()),
        Managed(f"{paths.POOL_TLS}/ca.crt", run.vault.authorities["postgres"].certificate.decode()),
        secret(paths.POOL_USERS, render("pgbouncer/users.txt.j2", users=_users(run)), group),
        Managed(
            f"{paths.POOL}/hba.conf",
            render("pgbouncer/hba.conf.j2", cluster=cluster, pooling=pooling, never=pooled_roles.NEVER),
        ),
        *(Managed(f"{paths.POOL}/{route}.ini", _route(run, route)) for route in pooling.ROUTES),
        *(Managed(_own(process), _process(run, process)) for process in pooling.processes(cluster)),
        Managed(UNIT_FILE, render("pgbouncer/pgquorum-pool@.service.j2", cluster=cluster)),
    ]


def _users(run: Run) -> dict[str, str]:
    """By role, the verifier that the server has, too."""
    verifiers = {role.name: role.verifier for role in wanted_roles(run.cluster, run.vault)}
    return {name: verifiers[name] for name in pooled_roles.in_file(run.cluster)}


def _route(run: Run, route: pooling.Route) -> str:
    cluster = run.cluster
    most = {role.name: pooling.most_of_role(cluster, role) for role in cluster.postgres.roles}
    return render(
        "pgbouncer/route.ini.j2", cluster=cluster, host=run.host, pooling=pooling, route=route, ask=pooled_roles.ASK,
        port=pooling.port(cluster, route), behind=pooling.behind(cluster, route), size=pooling.pool_size(cluster),
        databases=[database.name for database in cluster.postgres.databases],
        limits={name: number for name, number in most.items() if number is not None},
        processes=[process for process in pooling.processes(cluster) if process.route == route],
    )  # fmt: skip


def _process(run: Run, process: pooling.Process) -> str:
    port = pooling.port(run.cluster, process.route)
    return render("pgbouncer/process.ini.j2", cluster=run.cluster, process=process, port=port)


def _own(process: pooling.Process) -> str:
    """What a process alone reads, and only when it starts."""
    return f"{paths.POOL}/{process.name}.ini"


class Processes(FactBase[list[str]]):
    """The units of PgBouncer's processes that run here, or would at a boot."""

    def command(self) -> str:
        running = f"systemctl list-units --all --plain --no-legend {shlex.quote(ANY_UNIT)}"
        enabled = f"systemctl list-unit-files --no-legend --state=enabled {shlex.quote(ANY_UNIT)}"
        return f"({running}; {enabled}) | cut -d' ' -f1 | sort -u"

    def process(self, output: list[str]) -> list[str]:
        return [line for line in output if line and not line.endswith("@.service")]


def in_the_way_of_others(cluster: Cluster, listeners: Iterable[tuple[int, str]]) -> list[pooling.Process]:
    """The processes that listen, by `listeners` (port and unit), where the settings now have the pools of the other route."""
    there = set(listeners)
    ports = {route: pooling.port(cluster, route) for route in pooling.ROUTES}
    return [
        one
        for one in pooling.processes(cluster)
        if any((number, one.unit) in there for route, number in ports.items() if route != one.route)
    ]


@operation()
def start(run: Run) -> Generator[StringCommand]:
    """Starts each process where it does not run, lets it read files that are newer than what it runs with, and starts it anew for
    those that it only reads then. Ends those that are too many, and stops those that listen where another one is to."""
    shared = (f"{paths.POOL}/hba.conf", paths.POOL_USERS, *TLS_FILES)
    wanted = pooling.processes(run.cluster)
    units = {
        one: host.get_fact(UnitFact, unit=one.unit, files=(f"{paths.POOL}/{one.route}.ini", *shared)) or Unit() for one in wanted
    }
    own = {one: host.get_fact(UnitFact, unit=one.unit, files=(_own(one),)) or Unit() for one in wanted}
    surplus = [unit for unit in host.get_fact(Processes) or () if unit not in {one.unit for one in wanted}]
    if any(unit.stale for unit in units.values()):
        yield StringCommand("systemctl daemon-reload")
    # Before any is started: two may have a port together only where both say so, and none while another route's is still there.
    if surplus:
        gone = [f"{paths.POOL}/{unit.partition('@')[2].removesuffix('.service')}.ini" for unit in surplus]
        yield StringCommand(f"systemctl disable --now --quiet {' '.join(surplus)}; rm -f {' '.join(gone)}")
    listeners = ((number, unit) for number, unit, _ in run.surveys[run.host.name].listeners)
    in_the_way = in_the_way_of_others(run.cluster, listeners)
    if in_the_way:
        yield StringCommand(f"systemctl stop {' '.join(one.unit for one in in_the_way)}")
    for one, unit in units.items():
        if not (unit.active and unit.enabled):  # also where it runs, and was masked as packages were installed
            yield or_journal(first_start(one.unit), one.unit)
        if own[one].restart_due or one in in_the_way:
            yield or_journal(f"systemctl restart {one.unit}", one.unit)
        elif unit.reload_due:
            yield or_journal(f"systemctl reload {one.unit}", one.unit)


class Written(FactBase[bool]):
    """Whether the host has a configuration of PgBouncer that the deploy has written."""

    def command(self) -> str:
        return f"ls -d {UNIT_FILE} {paths.POOL} 2>/dev/null || true"

    def process(self, output: list[str]) -> bool:
        return bool(output)


@operation()
def leave() -> Generator[StringCommand]:
    """Ends all processes on a host of a cluster that does without, and takes away what they have read."""
    if host.get_fact(Written):
        units = host.get_fact(Processes) or ()
        if units:
            yield StringCommand(f"systemctl disable --now --quiet {' '.join(units)}")
        yield StringCommand(f"rm -rf {paths.POOL} {UNIT_FILE}")
        yield StringCommand("systemctl daemon-reload")
