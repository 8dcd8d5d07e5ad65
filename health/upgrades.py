"""Which packages of the cluster's programs are to be upgraded, or taken back, and what stands in the way. Pure.

What a host says of its packages comes from agents/sent/upgradable.py. The order in which it is done: day2/procedures/upgrade.py.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cluster import paths, pooling
from cluster.apt import apt_get
from cluster.components import COMPONENTS, NAMES, Name
from cluster.topology import Cluster, Host

from .preflight import FLOORS, TESTED, too_old, untested, upstream
from .view import ClusterView

# Of a disk, what an upgrade leaves free: PostgreSQL must be able to write on.
SPARE_BYTES = 100 * 1024**2
INSIST = "--without-way-back"


@dataclass(frozen=True)
class Change:
    """A package on a host that gets another version: `new` in place of `old`, which is None for one that comes along new."""

    host: str
    component: Name
    package: str
    old: str | None
    new: str


@dataclass(frozen=True)
class Offered:
    """A change that apt would make. `size` and `unpacked` in bytes; `lost`: why the old version could not be had again."""

    change: Change
    size: int
    unpacked: int
    lost: str


@dataclass(frozen=True)
class Replaced:
    """What an earlier upgrade has done with a package, and which one (`run`). `component`: what it is of, or has come along with;
    `whole`: the versions that are there as files."""

    component: Name
    old: str | None
    new: str
    run: str
    whole: frozenset[str]


@dataclass(frozen=True)
class HostPackages:
    """What a host says of its packages. `problems`: by component why apt would not upgrade it; `unfinished`: installations that
    have come to no end, of no other version; `due`: the components that run since before their packages were installed;
    `unread`: why its package lists could not be read anew; `fetched`: by package and version, for which upgrade it was. Free
    bytes where packages are `kept`, and where `programs` lie."""

    name: str
    installed: dict[str, str]
    offered: tuple[Offered, ...]
    problems: dict[str, str]
    unfinished: tuple[Change, ...]
    due: frozenset[str]
    unread: str
    kept: int
    programs: int
    replaced: dict[str, Replaced]
    fetched: dict[tuple[str, str], str]

    def has(self, package: str, version: str) -> bool:
        """Whether it is installed in that version."""
        return self.installed.get(package.partition(":")[0]) == version


def carried(cluster: Cluster, host: Host) -> dict[Name, list[str]]:
    """By component the packages that a host has of it. On the host that keeps backups there are PostgreSQL's, too, for drills."""
    version = cluster.postgres.version
    found = {one.name: one.packages_for(version) for one in cluster.components(host)}
    of = {package: one.name for one in COMPONENTS for package in one.packages_for(version)}
    for package in cluster.packages(host):
        if not any(package in packages for packages in found.values()):
            found.setdefault(of[package], []).append(package)
    return found


def question(cluster: Cluster, host: Host, named: Collection[str], *, refresh: bool) -> dict[str, Any]:
    """The argument of agents/sent/upgradable.py, for the components that are named."""
    programs: dict[str, dict[str, Any]] = {}
    running = {one.name for one in cluster.components(host)}
    for component, packages in carried(cluster, host).items():
        if component in named:
            units = [unit for one in COMPONENTS if one.name == component and component in running for unit in one.units]
            if component == "pgbouncer":
                units = [process.unit for process in pooling.processes(cluster)]
            programs[component] = {"packages": packages, "running": used(cluster, component), "units": units}
            if component == "postgres" and component in running:
                programs[component]["pid_file"] = f"{cluster.postgres.data_directory}/postmaster.pid"
            if component == "haproxy":
                programs[component]["socket"] = paths.HAPROXY_SOCKET
    return {"apt": apt_get().split(), "refresh": refresh, "directory": paths.REPLACED_PACKAGES, "programs": programs}


def used(cluster: Cluster, component: Name) -> list[str]:
    """The packages of a component that are in use as long as it runs: it is restarted for a new version of them."""
    return next(one for one in COMPONENTS if one.name == component).running_packages_for(cluster.postgres.version)


def read(name: str, output: str) -> HostPackages:
    """A host's answer. Raises ValueError for what is none."""
    try:
        said = json.loads(output)
        return HostPackages(
            name=name,
            installed=dict(said["installed"]),
            offered=tuple(_offered(name, component, one) for component in NAMES for one in said["changes"].get(component, ())),
            problems=dict(said["problems"]),
            unfinished=tuple(
                Change(name, component, str(package), None, str(version))
                for component in NAMES
                for package, version in said["unfinished"].get(component, {}).items()
            ),
            due=frozenset(said["due"]),
            unread=str(said["unread"]),
            kept=int(said["free"]["kept"]),
            programs=int(said["free"]["programs"]),
            replaced={
                package: Replaced(
                    one["component"], one["old"], str(one["new"]), str(one["run"]), frozenset(said["whole"][package])
                )
                for package, one in said["note"].items()
            },
            fetched={(package, str(one["new"])): str(one["run"]) for package, one in said["fetched"].items()},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"an answer that is not understood ({type(error).__name__}: {error})") from None


def _offered(host: str, component: Name, said: dict[str, Any]) -> Offered:
    change = Change(host, component, str(said["package"]), said["old"], str(said["new"]))
    return Offered(change, int(said["size"]), int(said["unpacked"]), str(said["lost"]))


def forward(found: Mapping[str, HostPackages]) -> tuple[Change, ...]:
    """All that apt would install, by host and component. What two components need is with both: it is installed once."""
    return tuple(one.change for host in found.values() for one in host.offered)


def back(found: Mapping[str, HostPackages], named: Collection[str]) -> tuple[Change, ...]:
    """What the last upgrade of components that are `named` has installed, to be replaced by what was there before it. A package
    that came along new stays."""
    noted = [(host, *row) for host in found.values() for row in host.replaced.items() if row[1].component in named]
    last = max((one.run for _, _, one in noted), default="")
    return tuple(
        Change(host.name, one.component, package, one.new, one.old)
        for host, package, one in noted
        if one.run == last and one.old and host.has(package, one.new)
    )


def no_way_back(found: Mapping[str, HostPackages], changes: Collection[Change]) -> Iterator[str]:
    """What can't be taken back, since its file is not there."""
    for change in changes:
        if change.new not in found[change.host].replaced[change.package].whole:
            yield f"{change.host}: {change.package} {change.new} is not there as it was kept ({paths.REPLACED_PACKAGES})"


def run_of(found: Mapping[str, HostPackages], changes: Collection[Change], now: str) -> str:
    """Which upgrade this is: the one that was interrupted and is gone on with, or one that begins `now`. What was taken back is
    begun anew."""
    wanted = {(change.package, change.new) for change in changes}
    rows = [(host, *row) for host in found.values() for row in host.replaced.items()]
    # By what has been replaced: what has come along new stays where it is when the rest is taken back.
    begun = [(one.run, (package, one.new)) for host, package, one in rows if one.old and host.has(package, one.new)]
    fetched = {run for host in found.values() for what, run in host.fetched.items() if what in wanted}
    return max((run for run, what in begun if what in wanted or run in fetched), default=now)


def refused(found: Mapping[str, HostPackages], cluster: Cluster, *, insist: bool) -> Iterator[str]:
    """Why what apt offers is not taken, one sentence each. `insist`: it may be that there is no way back."""
    for name, host in found.items():
        for component, why in host.problems.items():
            yield f"{name}: apt does not upgrade {component}: {why}"
        for one in host.offered:
            yield from _refused_version(one.change, cluster)
        yield from _no_room(host)
        for one in {one.change.package: one for one in host.offered if one.lost}.values() if not insist else ():
            text = f"{one.change.package} {one.change.old} could not be had again ({one.lost}), so there is no way back"
            yield f"{name}: {text}: {INSIST} goes on without"
    yield from _apart(found, cluster)


def _refused_version(change: Change, cluster: Cluster) -> Iterator[str]:
    """What is refused by its version."""
    package, old, new = change.package, change.old, change.new
    where = f"{change.host}: {package} would become {new}"
    if package.startswith("postgresql") and old and upstream(old)[:1] != upstream(new)[:1]:
        yield f"{where}, another major version than {old}: that is no upgrade for this command"
    elif too_old(package, new):
        yield f"{where}, which is too old: should be at least {' or '.join(FLOORS[package])}"
    elif old and untested(package, new) and upstream(old)[:2] != upstream(new)[:2]:
        others = [name for name in NAMES if name != change.component and any(c.name == name for c in cluster.used_components)]
        out = f"`--component {','.join(others)}` leaves it out"
        yield f"{where}, a release that was not tested with this tool ({', '.join(TESTED[package])} were): {out}"


def _no_room(host: HostPackages) -> Iterator[str]:
    """What does not fit on its disks: the new files, and those they replace, about as large; and the new programs beside the
    old."""
    new = {one.change.package: one for one in host.offered}
    for what, needed, free in (
        ("packages are kept (/var/lib)", sum(one.size * (2 if one.change.old else 1) for one in new.values()), host.kept),
        ("programs lie (/usr)", sum(one.unpacked for one in new.values()), host.programs),
    ):
        if needed and free < needed + SPARE_BYTES:
            there = f"{free // 1024**2} MiB are free where {what}"
            yield f"{host.name}: {there}, should be at least {(needed + SPARE_BYTES) // 1024**2}"


def _apart(found: Mapping[str, HostPackages], cluster: Cluster) -> Iterator[str]:
    """pgBackRest of one version does not talk to another."""
    after: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name, host in found.items():
        offered = {one.change.package: one.change.new for one in host.offered}
        version = offered.get("pgbackrest") or host.installed.get("pgbackrest")
        if version and cluster.host(name) in cluster.pgbackrest_hosts:
            after[upstream(version)].append(name)
    if len(after) > 1 and any(one.change.package == "pgbackrest" for host in found.values() for one in host.offered):
        told = "; ".join(f"{'.'.join(map(str, version))} on {', '.join(names)}" for version, names in sorted(after.items()))
        yield f"pgbackrest would be {told}: all hosts need one version, so all need a source that has it"


def busy(view: ClusterView) -> Iterator[str]:
    """What a restart of pgBackRest, or of a host, would break off."""
    for host in view.hosts.values():
        state = host.backups
        for run in state.runs if state else ():
            if run.running:
                yield f"{host.name}: a backup is being made ({run.kind}): wait until it is done"
        if state and state.drilling and state.drilling.running:
            yield f"{host.name}: a drill goes on: wait until it is done"
