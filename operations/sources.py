"""Sources of packages: added where a host's distribution does not have what the cluster needs (cluster/sources.py)."""

from __future__ import annotations

import shlex
from collections.abc import Generator
from pathlib import Path

from pyinfra import host, state
from pyinfra.api import StringCommand, operation

from cluster import paths
from cluster.apt import apt_update
from cluster.sources import KEYS, NAMES, Source, shadows_sysusers
from health.preflight import FLOORS, not_tested, too_old, untested

from .context import Run, warn
from .managed import Managed, directory, render
from .packages import apt_script, installed, kept_from_starting, missing
from .refusal import stop


def files(run: Run) -> list[Managed]:
    """What apt reads of them on this host, and what a package needs that does not fit the host's systemd."""
    needed = run.sources
    found = [Managed(one.preferences, render("apt/pgquorum.pref.j2", source=one)) for one in needed]
    for one in (one for one in needed if not one.there):
        if one.key:
            found += [directory(KEYS), Managed(one.signed_by, Path(one.key).read_text(encoding="utf-8"))]
        found.append(Managed(one.file, render("apt/pgquorum.sources.j2", source=one)))
    if shadows_sysusers(run.surveys[host.name], (*needed, *run.package_files)):
        found += [directory("/etc/sysusers.d"), Managed(paths.ETCD_SYSUSERS, 'u etcd - "etcd" /var/lib/etcd\n')]
    return found


def not_needed(run: Run) -> tuple[str, ...]:
    """What an earlier deploy may have written of sources that this host does not need now."""
    ours = [path for name in NAMES for path in (paths.apt_source(name), paths.apt_preferences(name))]
    return tuple(sorted(set(ours) - {managed.path for managed in files(run)}))


@operation()
def bring_keys(run: Run, names: list[str]) -> Generator[StringCommand]:
    """Installs the packages of the distribution that bring the keys of sources, while apt does not know these yet: without its
    key a source would be in the way."""
    if not missing(names):
        return
    for one in run.sources:
        if one.key_package and not one.there:
            script = apt_script([one.key_package], kept_from_starting(run.cluster))
            yield StringCommand(f"sh -c {shlex.quote(f'[ -e {one.signed_by} ] || {{ {script}; }}')}")


@operation()
def read(run: Run, names: list[str]) -> Generator[StringCommand]:
    """Fetches the package lists of the sources where something has still to be installed. Strictly: a source that can't be read,
    or is signed by another key, ends the deploy, where apt itself would go on with what it has from elsewhere."""
    if missing(names):
        yield from (StringCommand(f"sh -c {shlex.quote(_read(one))}") for one in run.sources)


def _read(source: Source) -> str:
    alone = (f"Dir::Etc::sourcelist={source.file}", "Dir::Etc::sourceparts=/dev/null", "APT::Get::List-Cleanup=0")
    update = apt_update(*alone, "APT::Update::Error-Mode=any")
    there = f"{source.uri} {source.suite}, signed by {source.signed_by}"
    reason = shlex.quote(f"{source.what} can't be read: {there}. Set by {' and '.join(source.settings)}")
    why = 'echo "$said" | tail -n 20; echo "$said" | grep "^E: " | tail -n 2 >&2'
    return f"{{ {update}; }} || {{ {why}; echo {reason} >&2; exit 1; }}"


@operation()
def refuse_old(names: list[str]) -> Generator[StringCommand]:
    """Ends the deploy where an installed package is older than the cluster needs."""
    if not state.is_executing:
        return
    old = [f"{name} {version}" for name, version in installed(names).items() if too_old(name, version)]
    if old:
        floors = "; ".join(f"{name} {' or '.join(floor)}" for name, floor in FLOORS.items() if floor)
        yield from stop(f"{', '.join(old)} on {host.name} too old: should be at least {floors}")


def unseen(run: Run, names: list[str]) -> list[str]:
    """What is still to be installed from sources that the deploy adds: which version that will be, no preflight could tell."""
    added = [one for one in run.sources if not one.there]
    return [name for name in missing(names) if any(one.serves(name) for one in added)]


@operation()
def tell_untested(names: list[str]) -> Generator[StringCommand]:
    """Says what was installed of a minor release that was not tested. It does nothing and counts as no change."""
    if state.is_executing:
        for name, version in installed(names).items():
            if untested(name, version):
                warn(f"{host.name}: {not_tested(name, version)}")
    yield from ()
