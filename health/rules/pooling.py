"""Rules about pooled connections: PgBouncer answers, lets in whom the server would, and has room."""

from __future__ import annotations

from collections.abc import Iterator

from cluster import pooling
from cluster.topology import Cluster

from ..finding import Finding, finding, ok
from ..states import PoolerState
from ..view import RUNNING, UNITS, ClusterView, HostView
from .holds import holder

FULL_SHARE = 0.9
WAIT_SECONDS = 5.0


def pools(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """Every process of PgBouncer answers, with room for clients, none of which has waited long."""
    for host in (view.hosts[h.name] for h in cluster.pooler_hosts):
        if host.runs("pgbouncer"):
            text = "pgbouncer.service is active: the deploy runs PgBouncer by units of its own, so mask it"
            yield finding("services.packaged-pgbouncer", host.name, text)
        if host.pooler is None:
            if "pgbouncer" in host.problems:
                yield finding("pooling.silent", host.name, f"PgBouncer could not be asked: {host.problems['pgbouncer']}")
            continue
        wrong = [*_processes(cluster, host, host.pooler), *_passwords(view, host, host.pooler)]
        yield from wrong
        if not wrong:
            clients, servers = (sum(getattr(one, what) for one in host.pooler.processes) for what in ("clients", "servers"))
            yield ok("pooling", host.name, f"{clients} clients of the pools share {servers} connections")


def _processes(cluster: Cluster, host: HostView, state: PoolerState) -> Iterator[Finding]:
    units = {one.name: one.unit for one in pooling.processes(cluster)}
    most = cluster.haproxy.pooling_max_clients
    for one in state.processes:
        unit = units.get(one.name, one.name)
        state_of = host.units.get(unit, "active")
        if one.problem and not (unit in UNITS and state_of not in RUNNING):  # those have a rule of their own (services)
            said = f"does not answer: {one.problem}" if state_of in RUNNING else f"is {state_of}"
            yield finding("pooling.silent", host.name, f"{unit} {said}")
        if one.paused:
            text = f"{one.name} is paused, and its clients wait{holder(host)}: `invoke traffic.resume` lets them go on"
            yield finding("pooling.paused", host.name, text)
        if one.longest_wait > WAIT_SECONDS and not one.paused:
            text = (
                f"{one.waiting} clients of {one.name} wait for one of its {one.servers} connections, the first for"
                f" {one.longest_wait:.0f} s (docs/runbook.md, A pool is full)"
            )
            yield finding("pooling.waiting", host.name, text)
        if one.clients >= FULL_SHARE * most:
            text = f"{one.name} has {one.clients} clients of {most}: raise pooling_max_clients or pooling_processes"
            yield finding("pooling.nearly-full", host.name, text)


def _passwords(view: ClusterView, host: HostView, state: PoolerState) -> Iterator[Finding]:
    """What PgBouncer lets a role in by is what the server would."""
    known = view.primary.verifiers if view.primary else {}
    gone = view.primary.missing_roles if view.primary else ()  # of which a rule of their own tells
    others = (
        sorted(role for role, digest in state.users.items() if known.get(role) != digest and role not in gone) if known else []
    )
    if others:
        text = (
            f"{', '.join(others)}: PgBouncer's file does not have what the server lets them in by (a password that was changed"
            " there, NOLOGIN, VALID UNTIL, SUPERUSER): deploy to have the one of the settings again, or take that back"
        )
        yield finding("pooling.other-password", host.name, text)
