"""The packages of the cluster's programs on its hosts: what could be upgraded, fetching it, installing it (agents/sent)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from agents.sent import shipped
from cluster import paths
from cluster.apt import apt_get, apt_mark
from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.hosts.ssh import CommandResult, Fleet
from health.upgrades import Change, HostPackages, question, read

# Seconds. Lists may have to be read from far away, and packages; dpkg waits for another that is at work.
LOOK_SECONDS, FETCH_SECONDS, INSTALL_SECONDS = 900, 3600, 1800


def look(fleet: Fleet, cluster: Cluster, named: Collection[str], *, refresh: bool) -> dict[str, HostPackages]:
    """What each host says of its packages, all asked at once. `refresh`: apt's lists are read anew before; without it, hosts that
    can't be reached are left out. Raises ClusterError with the hosts that could not say it."""
    asked = {host.name: question(cluster, host, named, refresh=refresh) for host in cluster.hosts}
    answers = _on_each(fleet, "upgradable", asked, LOOK_SECONDS)
    found, failed = {}, []
    for name, answer in sorted(answers.items()):
        if answer.code is None and not refresh:
            continue
        try:
            if not answer.ok:
                raise ValueError(answer.problem or f"exit code {answer.code}")
            found[name] = read(name, answer.output)
        except ValueError as error:
            failed.append(f"  - {name}: {error}")
    if failed:
        raise ClusterError("\n".join(["what is installed could not be seen on all hosts, nothing was touched:", *failed]))
    return found


def fetch(fleet: Fleet, changes: Collection[Change], run: str, *, insist: bool) -> None:
    """Has every host fetch what is to be installed on it, and keep what that replaces; `insist`: as far as it can be had. Raises
    ClusterError with the hosts where that failed: nothing is installed then."""
    asked: dict[str, dict[str, Any]] = {}
    every = {"apt": apt_get().split(), "directory": paths.REPLACED_PACKAGES, "run": run, "insist": insist}
    for change in changes:
        spec = asked.setdefault(change.host, {**every})
        said = {"component": change.component, "package": change.package, "old": change.old, "new": change.new}
        spec.setdefault("changes", []).append(said)
    _refuse_failed("packages could not be fetched, so nothing was installed", _on_each(fleet, "fetch", asked, FETCH_SECONDS))


def install(fleet: Fleet, cluster: Cluster, changes: Collection[Change]) -> None:
    """Installs what was fetched, on all hosts that it is for at the same time. Raises ClusterError."""
    versions: dict[str, dict[str, str]] = {}
    for change in changes:
        versions.setdefault(change.host, {})[change.package] = change.new
    asked = {
        host: {
            "apt": apt_get().split(),
            "directory": paths.REPLACED_PACKAGES,
            "versions": of,
            "manifest": paths.MANIFEST,
            "hold": apt_mark("hold", cluster.packages(cluster.host(host))),
        }
        for host, of in versions.items()
    }
    _refuse_failed("packages could not be installed", _on_each(fleet, "install", asked, INSTALL_SECONDS))


def _on_each(fleet: Fleet, program: str, asked: Mapping[str, dict[str, Any]], seconds: float) -> dict[str, CommandResult]:
    """What a program says on each host, which has its own argument."""
    if not asked:
        return {}
    with ThreadPoolExecutor(len(asked)) as pool:
        answers = pool.map(lambda host: fleet.run(host, *shipped(program, asked[host]), seconds), asked)
        return dict(zip(asked, answers, strict=True))


def _refuse_failed(what: str, answers: Mapping[str, CommandResult]) -> None:
    failed = [f"{name}: {answer.problem or answer.code}" for name, answer in answers.items() if not answer.ok]
    if failed:
        raise ClusterError(f"{what}: {'; '.join(failed)}")
