"""Rules about the settings: what the inventory and group_data say, against what etcd holds and PostgreSQL runs with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cluster.dynamic_config import MEMORY, difference, wanted_config
from cluster.invariant import Seen, differing_parameters
from cluster.parameters import in_one_unit, known_parameters
from cluster.topology import Cluster

from ..finding import Finding, finding, ok
from ..view import ClusterView


@dataclass(frozen=True)
class Drift:
    """A setting that is not what the settings say. `where` is etcd or a host; None stands for unset."""

    name: str
    where: str
    wanted: Any
    actual: Any
    needs_restart: bool


def drifts(view: ClusterView, cluster: Cluster) -> tuple[Drift, ...]:
    """Every difference. Where etcd itself differs, the hosts follow it and are not told each; what differs on a host alone
    waits for a restart, or was set there by hand."""
    found: list[Drift] = []
    wanted = wanted_config(cluster)
    if view.dcs and view.dcs.config:
        patch = {key: value for key, value in difference(wanted, view.dcs.config).items() if key != MEMORY}
        live = _flat(view.dcs.config)
        found += [_drift(name, "etcd", value, live.get(name)) for name, value in _flat(patch).items()]
    running = {name: host.postgres.parameters for name, host in view.hosts.items() if host.postgres}
    parameters = wanted["postgresql"]["parameters"]
    for name in running:
        differing = differing_parameters(cluster, Seen(parameters=running), name)
        in_etcd = {drift.name for drift in found if drift.where == "etcd"}
        found += [_drift(k, name, parameters[k], v) for k, v in differing.items() if k not in in_etcd]
    return tuple(found)


def foreign(view: ClusterView, cluster: Cluster) -> dict[str, Any]:
    """What etcd's configuration has that the tool does not own and leaves alone."""
    ours, live = _flat(wanted_config(cluster)), _flat(view.dcs.config if view.dcs else {})
    return {name: value for name, value in live.items() if name not in ours and not name.startswith(MEMORY)}


def files(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """Nobody has edited what the deploy wrote."""
    found = [(name, path) for name, host in view.hosts.items() for path in host.edited]
    for name, path in found:
        yield finding("files.edited", name, f"{path} is not as the deploy wrote it: deploy to bring it back")
    if not found and any(h.reachable for h in view.hosts.values()):
        yield ok("files", "files", "what the deploy wrote has not been edited")


def drift(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """The rule: nothing differs, but for what waits for a restart, which is a rule of its own."""
    found = drifts(view, cluster)
    waiting = {(host.name, name) for host in view.hosts.values() if host.postgres for name in host.postgres.pending_restart}
    found = tuple(d for d in found if (d.where, d.name) not in waiting)
    for one in found:
        rule = "settings.not-in-etcd" if one.where == "etcd" else "settings.not-running"
        yield finding(rule, one.where, f"{one.name} is {one.actual}, the settings say {one.wanted}: deploy to apply it")
    if not found and view.dcs:
        yield ok("settings", "settings", "etcd and PostgreSQL have what the settings say")


def _drift(name: str, where: str, wanted: Any, actual: Any) -> Drift:
    short = name.removeprefix("postgresql.parameters.")
    known = known_parameters().get(short)
    if known and None not in (wanted, actual):
        wanted, actual = in_one_unit(short, wanted, actual)
    return Drift(short, where, wanted, actual, known is not None and known.needs_restart)


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as one level of dotted names."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
