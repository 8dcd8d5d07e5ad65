"""Whether hosts are good for the cluster: what to measure on them, and what to make of the answers. Pure.

fitness.py says whether a deploy may go on at all; this says, before there is anything to lose, what would make it a bad
cluster: a port that a firewall eats, a disk that is slow to sync, a package that is too old.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .components import COMPONENTS
from .connections import reached_from
from .topology import Cluster, Host

# etcd's hardware guide: 99 of 100 syncs of its log within 10 ms, or it loses its leader under load.
SYNC_P99_SECONDS = 0.010
MEMORY_BYTES = 1024**3
CLOCK_WARNING_SECONDS = 0.5
# Below these, what the tool relies on is missing.
FLOORS = {component.packages[0]: component.minimum for component in COMPONENTS}

Level = Literal["ok", "warning", "refusal"]


@dataclass(frozen=True)
class Line:
    """One line of a preflight: what it is about (a host or a subject), and what to do when it is not ok."""

    level: Level
    about: str
    text: str


@dataclass(frozen=True)
class HostProbe:
    """What the probe saw on one host. Sizes in bytes, times in seconds; `reached` by (host, port) asked for."""

    name: str
    free: dict[str, int]
    sync_p99: dict[str, float]
    reached: dict[tuple[str, int], str]
    addresses: tuple[str, ...]
    memory: int
    packages: dict[str, dict[str, str | None]]
    active: tuple[str, ...]
    needrestart: bool
    watchdog: bool


def probe_question(cluster: Cluster, host: Host) -> dict[str, Any]:
    """What to ask `host` for: the argument of agents/sent/probe.py, which runs as root and takes two or three seconds."""
    return {
        "directories": _directories(cluster, host),
        "connect": [[target.address, port] for target, port in _connections(cluster, host)],
        "packages": _packages(cluster, host),
    }


def parse_probe(cluster: Cluster, host: Host, output: str) -> HostProbe:
    """The probe's answer. Raises ValueError when it is none."""
    said: dict[str, Any] = json.loads(output)
    targets = [(target.name, port) for target, port in _connections(cluster, host)]
    return HostProbe(
        name=host.name,
        free={name: d["free"] for name, d in said["directories"].items()},
        sync_p99={name: d["sync_p99"] for name, d in said["directories"].items()},
        reached=dict(zip(targets, said["connect"], strict=True)),
        addresses=tuple(said["addresses"]),
        memory=said["memory"],
        packages=said["packages"],
        active=tuple(said["active"]),
        needrestart=said["needrestart"],
        watchdog=said["watchdog"],
    )


def judge(cluster: Cluster, probes: Mapping[str, HostProbe], deployed: bool) -> list[Line]:
    """Every line of a preflight over the hosts that answered. `deployed`: whether the cluster already runs on them."""
    rules = [_addresses, _ports, _disks, _memory, _package_versions, _others, _watchdogs]
    found = [line for rule in rules for line in rule(cluster, probes)]
    return found if deployed else [*found, *_occupied(cluster, probes)]


def _directories(cluster: Cluster, host: Host) -> dict[str, str]:
    settings = (setting for component in cluster.components(host) for setting in component.directories)
    return {setting: directory for setting in settings if (directory := cluster.setting(setting))}


def _connections(cluster: Cluster, host: Host) -> list[tuple[Host, int]]:
    """Every port on every other host that `host` must reach; and its own, where nothing should listen before a deploy."""
    own = [(host, cluster.setting(port)) for component in cluster.components(host) for port in component.ports]
    return list(dict.fromkeys([*reached_from(cluster, host), *own]))


def _packages(cluster: Cluster, host: Host) -> list[str]:
    """The package of each program that is to run on `host`."""
    return [component.packages_for(cluster.postgres.version)[0] for component in cluster.components(host)]


def _addresses(cluster: Cluster, probes: Mapping[str, HostProbe]) -> Iterator[Line]:
    for name, probe in probes.items():
        address = cluster.host(name).address
        if address not in probe.addresses:
            own = ", ".join(a for a in probe.addresses if a not in ("127.0.0.1", "::1"))
            yield Line("refusal", name, f"address = {address!r} is not one of this host's, which are {own}: mend the inventory")


def _ports(cluster: Cluster, probes: Mapping[str, HostProbe]) -> Iterator[Line]:
    lost = [
        (name, target, port, answer)
        for name, probe in probes.items()
        for (target, port), answer in probe.reached.items()
        if target != name and answer not in ("connected", "refused")
    ]
    for name, target, port, answer in lost:
        yield Line("refusal", name, f"can't reach port {port} of {target} ({answer}): let it through the firewall")
    if not lost:
        yield Line("ok", "ports", "every host reaches the ports it needs on every other")


def _occupied(cluster: Cluster, probes: Mapping[str, HostProbe]) -> Iterator[Line]:
    for name, probe in probes.items():
        for (target, port), answer in probe.reached.items():
            if target == name and answer == "connected":
                yield Line("refusal", name, f"something already listens on port {port}: end it, or choose another port")


def _disks(cluster: Cluster, probes: Mapping[str, HostProbe]) -> Iterator[Line]:
    for name, probe in probes.items():
        for setting, seconds in probe.sync_p99.items():
            level: Level = "ok" if seconds <= SYNC_P99_SECONDS else "warning"
            advice = "" if level == "ok" else f", should be at most {SYNC_P99_SECONDS * 1000:.0f} ms: use a quicker disk"
            free = f"{probe.free[setting] / 1024**3:.0f} GiB free"
            yield Line(level, name, f"{setting}: sync p99 {seconds * 1000:.1f} ms{advice}; {free}")
        if probe.free.get("etcd_data_directory", cluster.etcd.quota * 2) < cluster.etcd.quota * 2:
            yield Line("warning", name, "etcd_data_directory has less free space than twice etcd_quota")


def _memory(cluster: Cluster, probes: Mapping[str, HostProbe]) -> Iterator[Line]:
    small = [p for p in probes.values() if p.memory < MEMORY_BYTES]
    for probe in small:
        yield Line("warning", probe.name, f"has {probe.memory // 1024**2} MiB of memory: should be at least 1 GiB")
    if not small and probes:
        yield Line("ok", "memory", f"{min(p.memory for p in probes.values()) / 1024**3:.1f} GiB or more on every host")


def _package_versions(cluster: Cluster, probes: Mapping[str, HostProbe]) -> Iterator[Line]:
    seen: dict[str, set[str]] = {}
    for host, probe in probes.items():
        for name in _packages(cluster, cluster.host(host)):
            found = probe.packages.get(name, {})
            version = found.get("installed") or found.get("candidate")
            if version is None:
                yield Line("warning", host, f"no {name} in its package lists: `apt-get update`, or add a source that has it")
            elif too_old(name, version):
                floor = " or ".join(FLOORS[name])
                yield Line("refusal", host, f"{name} {version} is too old: should be at least {floor}")
            else:
                seen.setdefault(name, set()).add(version)
    for name, versions in seen.items():
        level: Level = "ok" if len(versions) == 1 else "warning"
        yield Line(level, "packages", f"{name} {', '.join(sorted(versions))}" + ("" if level == "ok" else ": differs by host"))


def too_old(package: str, version: str) -> bool:
    """Whether a Debian package version is below the package's floor; that of its own minor release, where there are several."""
    floors = [_numbers(floor) for floor in FLOORS.get(package, ())]
    have = _numbers(version)
    own = next((floor for floor in floors if floor[:2] == have[:2]), None)
    return have < (own or floors[0]) if floors else False


def _numbers(version: str) -> tuple[int, ...]:
    upstream = version.split(":")[-1].split("-")[0]
    return tuple(int(n) for n in re.findall(r"\d+", upstream)[:3])


def _others(cluster: Cluster, probes: Mapping[str, HostProbe]) -> Iterator[Line]:
    for name, probe in probes.items():
        if "postgresql.service" in probe.active:
            yield Line("warning", name, "postgresql.service is active; the deploy masks it, Patroni alone starts PostgreSQL")
    keepers = {"chrony.service", "ntpsec.service", "systemd-timesyncd.service"}
    adrift = [name for name, probe in probes.items() if not keepers & set(probe.active)]
    if adrift:
        yield Line("warning", "clocks", f"nothing keeps them on {', '.join(adrift)}: install chrony")
    guarded = [
        what
        for what, there in (
            ("unattended-upgrades", any("unattended-upgrades.service" in p.active for p in probes.values())),
            ("needrestart", any(p.needrestart for p in probes.values())),
        )
        if there
    ]
    if guarded:
        yield Line("ok", "others", f"{' and '.join(guarded)}: the deploy keeps them from the cluster's services")


def _watchdogs(cluster: Cluster, probes: Mapping[str, HostProbe]) -> Iterator[Line]:
    without = [h.name for h in cluster.postgres_hosts if h.name in probes and not probes[h.name].watchdog]
    if without:
        yield Line(
            "warning", "watchdog", f"none on {', '.join(without)}: a host that hangs is not reset before another one leads"
        )


def clock_line(offsets: Mapping[str, float]) -> Line:
    """The spread of the hosts' clocks against the operator's, in seconds by host."""
    spread = max(offsets.values()) - min(offsets.values()) if offsets else 0.0
    if spread <= CLOCK_WARNING_SECONDS:
        return Line("ok", "clocks", f"within {spread * 1000:.0f} ms of each other")
    return Line("warning", "clocks", f"{spread:.1f} s apart: install chrony")
