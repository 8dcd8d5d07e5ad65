"""Whether hosts are good for the cluster: what to measure on them, and what to make of the answers. Pure.

cluster/fitness.py says whether a deploy may go on at all; this says, before there is anything to lose, what would make it a bad
cluster: a port that a firewall eats, a disk that is slow to sync, a package that is too old.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from cluster.components import COMPONENTS
from cluster.connections import reached_from
from cluster.package_files import PackageFile
from cluster.sources import Source, announced
from cluster.survey import HostSurvey
from cluster.topology import Cluster, Host

from .finding import Finding, finding, healthy, ok

# etcd's hardware guide: 99 of 100 syncs of its log within 10 ms, or it loses its leader under load.
SYNC_P99_SECONDS = 0.010
MEMORY_BYTES = 1024**3
# Of one SSH connection: a failover test has a watcher, a lock, a fault and questions at once on a host. OpenSSH's default.
SSH_SESSIONS = 10
FEW_SESSIONS = f"MaxSessions {{}} in its sshd's configuration: should be at least {SSH_SESSIONS}"
CLOCK_WARNING_SECONDS = 0.5
# What a connection comes to where no firewall is in the way.
REACHED = ("connected", "refused")
TESTED = {component.packages[0]: component.tested for component in COMPONENTS if component.tested}
# Below these, what the tool relies on is missing.
FLOORS = {component.packages[0]: component.minimum for component in COMPONENTS}


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
    ssh_sessions: int | None = None  # sshd's MaxSessions


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
        ssh_sessions=said["ssh_sessions"],
    )


def judge(
    cluster: Cluster,
    probes: Mapping[str, HostProbe],
    deployed: Collection[str] = frozenset(),
    silent: Collection[str] = frozenset(),
    needed: Mapping[str, Collection[Source | PackageFile]] = MappingProxyType({}),
    surveys: Mapping[str, HostSurvey] = MappingProxyType({}),
) -> list[Finding]:
    """Every verdict of a preflight over the hosts that answered. `deployed`: those that the cluster already runs on.
    `silent`: the hosts that do not answer, which is a finding of its own. `needed`: what packages come from that are not the
    distribution's, by host. `surveys`: what hosts say of themselves, such as who listens on a port."""
    rules = [_addresses, _sessions, _disks, _memory, _others, _watchdogs]
    found = [*_ports(cluster, probes, silent), *(one for rule in rules for one in rule(cluster, probes))]
    found += _package_versions(cluster, probes, needed)
    return [*found, *_occupied({name: probe for name, probe in probes.items() if name not in deployed}, surveys)]


def _directories(cluster: Cluster, host: Host) -> dict[str, str]:
    return cluster.directories(host)


def _connections(cluster: Cluster, host: Host) -> list[tuple[Host, int]]:
    """Every port on every other host that `host` must reach; and its own, where nothing should listen before a deploy."""
    own = [(host, cluster.setting(port)) for component in cluster.components(host) for port in component.ports]
    return list(dict.fromkeys([*reached_from(cluster, host), *own]))


def _packages(cluster: Cluster, host: Host) -> list[str]:
    """The package of each program that is to run on `host`."""
    return [component.packages_for(cluster.postgres.version)[0] for component in cluster.components(host)]


def _addresses(cluster: Cluster, probes: Mapping[str, HostProbe]) -> Iterator[Finding]:
    for name, probe in probes.items():
        address = cluster.host(name).address
        if address not in probe.addresses:
            own = ", ".join(a for a in probe.addresses if a not in ("127.0.0.1", "::1"))
            text = f"address = {address!r} is not one of this host's, which are {own}: mend the inventory"
            yield finding("host.other-address", name, text)


def _sessions(cluster: Cluster, probes: Mapping[str, HostProbe]) -> Iterator[Finding]:
    for name, probe in probes.items():
        if probe.ssh_sessions is not None and probe.ssh_sessions < SSH_SESSIONS:
            yield finding("host.few-sessions", name, FEW_SESSIONS.format(probe.ssh_sessions))


def few_sessions(cluster: Cluster, surveys: Mapping[str, HostSurvey]) -> list[str]:
    """The hosts that live and whose sshd a deploy would ask for more sessions than it allows, a sentence each: the lock, and at
    last at once the collector, the system's logins, and a client for each proxy host. New hosts are probed."""
    needed = 3 + len(cluster.haproxy_hosts)
    return [
        f"{name}: {FEW_SESSIONS.format(survey.ssh_sessions)}"
        for name, survey in sorted(surveys.items())
        if survey.belongs_to and survey.ssh_sessions is not None and survey.ssh_sessions < needed
    ]


def refuses(cluster: Cluster, measured: Iterable[Finding], surveys: Mapping[str, HostSurvey]) -> bool:
    """Whether a deploy is refused for what judge() found: it measures hosts that are new, and asks those that live for their
    sshd's sessions alone. What it would change there may be just what mends the rest."""
    living = {name for name, survey in surveys.items() if survey.belongs_to}
    return bool(few_sessions(cluster, surveys)) or not healthy(one for one in measured if one.about not in living)


def _ports(cluster: Cluster, probes: Mapping[str, HostProbe], silent: Collection[str]) -> Iterator[Finding]:
    asked = [
        (name, target, port, answer)
        for name, probe in probes.items()
        for (target, port), answer in probe.reached.items()
        if target != name
    ]
    reached = {target for _, target, _, answer in asked if answer in REACHED}
    down = set(silent) - reached
    lost = [one for one in asked if one[3] not in REACHED and one[1] not in down]
    for name, target, port, answer in lost:
        text = f"can't reach port {port} of {target} ({answer}): let it through the firewall"
        yield finding("ports.blocked", name, text)
    if probes and not lost and (reached or not down):
        who = "every host" if len(probes) == len(cluster.hosts) else "every host that could be asked"
        yield ok("ports", "ports", f"{who} reaches the ports it needs on every other" + (" that is up" if down else ""))


def _occupied(probes: Mapping[str, HostProbe], surveys: Mapping[str, HostSurvey]) -> Iterator[Finding]:
    for name, probe in probes.items():
        listeners = surveys[name].listeners if name in surveys else ()
        who = {port: f"{program or 'something'} ({unit})" for port, unit, program in listeners if unit}
        for (target, port), answer in probe.reached.items():
            if target == name and answer == "connected":
                text = f"{who.get(port, 'something')} already listens on port {port}: end it, or choose another port"
                yield finding("ports.taken", name, text)


def _disks(cluster: Cluster, probes: Mapping[str, HostProbe]) -> Iterator[Finding]:
    for name, probe in probes.items():
        for setting, seconds in probe.sync_p99.items():
            measured = f"{setting}: sync p99 {seconds * 1000:.1f} ms"
            free = f"{probe.free[setting] / 1024**3:.0f} GiB free"
            if seconds <= SYNC_P99_SECONDS:
                yield ok("disks", name, f"{measured}; {free}")
            else:
                limit = f"should be at most {SYNC_P99_SECONDS * 1000:.0f} ms: use a quicker disk"
                yield finding("disks.slow", name, f"{measured}, {limit}; {free}")
        if probe.free.get("etcd_data_directory", cluster.etcd.quota * 2) < cluster.etcd.quota * 2:
            yield finding("disks.small", name, "etcd_data_directory has less free space than twice etcd_quota")


def _memory(cluster: Cluster, probes: Mapping[str, HostProbe]) -> Iterator[Finding]:
    small = [p for p in probes.values() if p.memory < MEMORY_BYTES]
    for probe in small:
        yield finding("memory.small", probe.name, f"has {probe.memory // 1024**2} MiB of memory: should be at least 1 GiB")
    if not small and probes:
        yield ok("memory", "memory", f"{min(p.memory for p in probes.values()) / 1024**3:.1f} GiB or more on every host")


def _package_versions(
    cluster: Cluster, probes: Mapping[str, HostProbe], needed: Mapping[str, Collection[Source | PackageFile]]
) -> Iterator[Finding]:
    seen: dict[str, set[str]] = {}
    for host, probe in probes.items():
        added = [origin for origin in needed.get(host, ()) if not origin.there]
        for name in _packages(cluster, cluster.host(host)):
            found = probe.packages.get(name, {})
            version = found.get("installed") or found.get("candidate")
            if not found.get("installed") and (origin := next((one for one in added if one.serves(name)), None)):
                version = origin.version(name)
                if version is None:
                    continue  # what it will be is judged when the source is there
            if version is None:
                text = f"no {name} in its package lists: `apt-get update`, or add a source that has it"
                yield finding("packages.missing", host, text)
            elif too_old(name, version):
                floor = " or ".join(FLOORS[name])
                yield finding("packages.too-old", host, f"{name} {version} is too old: should be at least {floor}")
            else:
                if untested(name, version):
                    yield finding("packages.untested", host, not_tested(name, version))
                seen.setdefault(name, set()).add(version)
    for text in announced({host: needed[host] for host in probes if host in needed}):
        yield ok("packages", "packages", text)
    for name, versions in seen.items():
        text = f"{name} {', '.join(sorted(versions))}"
        if len(versions) == 1:
            yield ok("packages", "packages", text)
        else:
            yield finding("packages.differ", "packages", f"{text}: differs by host")


def untested(package: str, version: str) -> bool:
    """Whether a Debian package version is of a minor release that nobody has tried."""
    return package in TESTED and ".".join(map(str, upstream(version)[:2])) not in TESTED[package]


def not_tested(package: str, version: str) -> str:
    """The same in words, of one that is."""
    return f"{package} {version} was not tested with this tool: {', '.join(TESTED[package])} were"


def too_old(package: str, version: str) -> bool:
    """Whether a Debian package version is below the package's floor; that of its own minor release, where there are several."""
    floors = [upstream(floor) for floor in FLOORS.get(package, ())]
    have = upstream(version)
    own = next((floor for floor in floors if floor[:2] == have[:2]), None)
    return have < (own or floors[0]) if floors else False


def upstream(version: str) -> tuple[int, ...]:
    """The program's own version in a Debian package's: without the distribution's part."""
    return tuple(int(n) for n in re.findall(r"\d+", version.split(":")[-1].split("-")[0])[:3])


def _others(cluster: Cluster, probes: Mapping[str, HostProbe]) -> Iterator[Finding]:
    for name, probe in probes.items():
        if "postgresql.service" in probe.active:
            text = "postgresql.service is active; the deploy masks it, Patroni alone starts PostgreSQL"
            yield finding("services.packaged-postgresql", name, text)
    keepers = {"chrony.service", "ntpsec.service", "systemd-timesyncd.service"}
    adrift = [name for name, probe in probes.items() if not keepers & set(probe.active)]
    if adrift:
        yield finding("clocks.unkept", "clocks", f"nothing keeps them on {', '.join(adrift)}: install chrony")
    guarded = [
        what
        for what, there in (
            ("unattended-upgrades", any("unattended-upgrades.service" in p.active for p in probes.values())),
            ("needrestart", any(p.needrestart for p in probes.values())),
        )
        if there
    ]
    if guarded:
        yield ok("services", "others", f"{' and '.join(guarded)}: the deploy keeps them from the cluster's services")


def _watchdogs(cluster: Cluster, probes: Mapping[str, HostProbe]) -> Iterator[Finding]:
    without = [h.name for h in cluster.postgres_hosts if h.name in probes and not probes[h.name].watchdog]
    if without:
        text = f"none on {', '.join(without)}: a host that hangs is not reset before another one leads"
        yield finding("watchdog.missing", "watchdog", text)


def clocks(offsets: Mapping[str, float]) -> Finding:
    """The spread of the hosts' clocks against the operator's, in seconds by host."""
    spread = max(offsets.values()) - min(offsets.values()) if offsets else 0.0
    if spread <= CLOCK_WARNING_SECONDS:
        return ok("clocks", "clocks", f"within {spread * 1000:.0f} ms of each other")
    return finding("clocks.apart", "clocks", f"{spread:.1f} s apart: install chrony")
