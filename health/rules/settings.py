"""Rules about the settings: what the inventory and group_data say, against what etcd holds and PostgreSQL runs with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.dynamic_config import OWNED_KEY, difference, postgres_parameters, wanted_config
from cluster.layout import changes, latest, layout_of
from cluster.parameters import in_one_unit, is_as, known_parameters, spelled
from cluster.paths import PATRONI_CONFIG
from cluster.slots import STANDBYS_FIRST
from cluster.topology import Cluster

from ..finding import Finding, finding, ok
from ..states import RefusedSetting
from ..view import ClusterView, HostView
from .weaker_commits import undermined


@dataclass(frozen=True)
class Drift:
    """A setting that is not what the settings say. `where` is etcd or a host; None stands for unset. `altered`: by ALTER SYSTEM,
    which no deploy takes back."""

    name: str
    where: str
    wanted: Any
    actual: Any
    needs_restart: bool
    altered: bool = False


def drifts(view: ClusterView, cluster: Cluster) -> tuple[Drift, ...]:
    """Every difference. Where etcd itself differs, the hosts follow it and are not told each; what differs on a host alone
    waits for a restart, or was set there by hand."""
    found: list[Drift] = []
    wanted, version = wanted_config(cluster), cluster.postgres.version
    if view.dcs and view.dcs.config:
        patch = {key: value for key, value in difference(wanted, view.dcs.config).items() if key != OWNED_KEY}
        live = _flat(view.dcs.config)
        found += [_drift(name, "etcd", value, live.get(name), version) for name, value in _flat(patch).items()]
    in_etcd = {drift.name for drift in found}
    parameters = wanted["postgresql"]["parameters"]
    for name, host in view.hosts.items():
        altered = host.postgres.altered if host.postgres else {}
        differing = {k: v for k, v in differing_parameters(host, cluster).items() if k not in altered}
        found += [_drift(k, name, parameters[k], v, version) for k, v in differing.items() if k not in in_etcd]
    return tuple(found)


def altered(view: ClusterView, cluster: Cluster) -> tuple[Drift, ...]:
    """What ALTER SYSTEM has set on hosts, other than the settings say, or which they leave alone."""
    wanted, version = postgres_parameters(cluster), cluster.postgres.version
    known = known_parameters(version)
    return tuple(
        replace(_drift(parameter, name, wanted.get(parameter), value, version), altered=True)
        for name, host in view.hosts.items()
        for parameter, value in _set_by_hand(host, cluster).items()
        if not (parameter in wanted and parameter in known and is_as(parameter, value, wanted[parameter], version))
    )


def _set_by_hand(host: HostView, cluster: Cluster) -> dict[str, str]:
    """What ALTER SYSTEM has set there. Where the settings have slots, for whom they wait is set so by a program of ours."""
    ours = [STANDBYS_FIRST] if cluster.postgres.slots else []
    found = host.postgres.altered if host.postgres else {}
    return {name: value for name, value in sorted(found.items()) if name not in ours}


def differing_parameters(host: HostView, cluster: Cluster) -> dict[str, str | None]:
    """What PostgreSQL runs with on a host (name: value in base units) where that is not what the settings say.

    For whom logical slots wait is said on each host anew, by agents/standby_slots.py.
    """
    if host.postgres is None:
        return {}
    version = cluster.postgres.version
    running, known = host.postgres.parameters, known_parameters(version)
    return {
        name: running.get(name)
        for name, value in postgres_parameters(cluster).items()
        if name in known and name != STANDBYS_FIRST and (name not in running or not is_as(name, running[name], value, version))
    }


def pending_restarts(view: ClusterView, cluster: Cluster) -> dict[str, tuple[str, ...]]:
    """The settings that wait for a restart, by host; a host without is left out.

    Patroni's own flag lags a round behind, so the running values decide.
    """
    differing = {name: differing_parameters(host, cluster) for name, host in view.hosts.items()}
    found = {name: tuple(p for p in view.hosts[name].waiting_for_restart if p in differing[name]) for name in differing}
    return {name: names for name, names in found.items() if names}


def foreign(view: ClusterView, cluster: Cluster) -> dict[str, Any]:
    """What etcd's configuration has that the tool does not own and leaves alone."""
    ours, live = _flat(wanted_config(cluster)), _flat(view.dcs.config if view.dcs else {})
    return {name: value for name, value in live.items() if name not in ours and not name.startswith(OWNED_KEY)}


def by_hand(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """Nobody has set in PostgreSQL itself what the settings decide, or what it can't start with."""
    for name, host in view.hosts.items():
        if host.postgres is None:
            continue
        for one in host.postgres.refused:
            what = f"{one.name} = {one.value!r}" if one.name else "a line"
            text = f"PostgreSQL does not take {what} in {one.file}: {one.error}. It may not start with that"
            yield finding("settings.refused", name, f"{text}: {_taken_out(one, cluster)}")
        for parameter, value in _set_by_hand(host, cluster).items():
            if parameter in undermined(host.postgres, cluster):  # a rule of its own names those
                continue
            over = ", over the settings" if parameter in postgres_parameters(cluster) else ", on this host alone"
            reset = _reset(parameter)
            shown = _drift(parameter, name, None, value, cluster.postgres.version).actual
            text = f"{parameter} is {shown} by ALTER SYSTEM{over}: {reset}"
            yield finding("settings.altered", name, text)


def _taken_out(one: RefusedSetting, cluster: Cluster) -> str:
    """How a line is taken out of the file in which PostgreSQL does not take it."""
    file = Path(one.file).name
    if one.name and file == "postgresql.auto.conf":
        return _reset(one.name)
    if file != "postgresql.conf":
        return "take it out there"
    if one.name is None or spelled(one.name) in postgres_parameters(cluster):
        return "a deploy brings back what the settings say"
    return f"`patronictl -c {PATRONI_CONFIG} edit-config -p {one.name}=null` there"


def _reset(parameter: str) -> str:
    """How what ALTER SYSTEM has set is taken back."""
    return f"`alter system reset {parameter}` there, then `select pg_reload_conf()`"


def without_replica(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """A PostgreSQL that Patroni has not told whom to wait for does what the settings choose (operations/without_replica.py). A
    restore of an older backup brings back what was chosen then."""
    wanted = "*" if cluster.waits_without_replica else None
    would = "would acknowledge" if cluster.waits_without_replica else "would wait for a replica"
    for name, host in view.hosts.items():
        if host.postgres and host.postgres.base_standbys != wanted:
            text = f"started while no replica is there it {would}, and durability and without_replica say otherwise: deploy"
            yield finding("settings.without-replica", name, text)


def as_deployed(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """What no deploy changes is as it was deployed. Where it is not, hosts are asked at the wrong place, and seem silent."""
    note = latest(host.layout for host in view.hosts.values() if host.layout and host.cluster_name == cluster.name)
    for sentence in changes(note.layout, layout_of(cluster)) if note else ():
        yield finding("settings.not-as-deployed", "settings", f"not as deployed: {sentence}")


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
    waiting = {(host.name, name) for host in view.hosts.values() for name in host.waiting_for_restart}
    found = tuple(d for d in found if (d.where, d.name) not in waiting)
    for one in found:
        rule = "settings.not-in-etcd" if one.where == "etcd" else "settings.not-running"
        actual, wanted = ("''" if value == "" else value for value in (one.actual, one.wanted))
        yield finding(rule, one.where, f"{one.name} is {actual}, the settings say {wanted}: deploy to apply it")
    if not found and view.dcs:
        silent = not_seen(view, cluster)
        where = "etcd has" if len(silent) == len(cluster.postgres_hosts) else "etcd and PostgreSQL have"
        but = f"; PostgreSQL on {', '.join(silent)} could not be asked" if silent else ""
        but += ", but for what ALTER SYSTEM has set" if altered(view, cluster) else ""
        yield ok("settings", "settings", f"{where} what the settings say{but}")


def not_seen(view: ClusterView, cluster: Cluster) -> list[str]:
    """The hosts whose PostgreSQL did not say with which values it runs."""
    return [host.name for host in cluster.postgres_hosts if not (host.name in view.hosts and view.hosts[host.name].postgres)]


def _drift(name: str, where: str, wanted: Any, actual: Any, version: int) -> Drift:
    short = name.removeprefix("postgresql.parameters.")
    known = known_parameters(version).get(short)
    if known and None not in (wanted, actual):
        wanted, actual = in_one_unit(short, wanted, actual, version=version)
    elif known and wanted is None and actual is not None:
        (actual,) = in_one_unit(short, actual, version=version)
    return Drift(short, where, wanted, actual, known is not None and known.needs_restart)


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as one level of dotted names."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
