"""Drills of backups: their unit on every host that could have one, and on the host that keeps the backups the timer, and the unit
of a clone."""

from __future__ import annotations

import json
import shlex
from collections.abc import Generator

from pyinfra import host
from pyinfra.api import StringCommand, operation

from cluster import paths
from cluster.components import CLONE_UNIT, DRILL_TIMER, DRILL_UNIT
from cluster.topology import Host

from . import agents
from .context import Run
from .managed import Managed, data_directory, directory, render
from .services import Unit, UnitFact

UNIT_FILE, TIMER_FILE = f"/etc/systemd/system/{DRILL_UNIT}", f"/etc/systemd/system/{DRILL_TIMER}"
CLONE_FILE = f"/etc/systemd/system/{CLONE_UNIT}"


def files(run: Run) -> list[Managed]:
    """All that a drill on this host reads, and where its copy will be."""
    cluster, me = run.cluster, run.host
    place, user = cluster.drill_directory(me), cluster.backup_user(me)
    found = [
        data_directory(place, user),
        Managed(paths.DRILL, json.dumps(_plan(run), indent=2) + "\n"),
        directory("/etc/tmpfiles.d"),
        Managed(paths.DRILL_TMPFILES, render("pgbackrest/drill.tmpfiles.j2", directory=place)),
        Managed(
            UNIT_FILE, render(f"pgbackrest/{DRILL_UNIT}.j2", cluster=cluster, host=me, user=user, directory=place)
        ),
    ]  # fmt: skip
    if me not in cluster.backup_hosts:
        return found
    own = [
        *([] if me in cluster.postgres_hosts else [directory("/usr/local/lib/pgquorum"), *agents.programs()]),
        Managed(paths.DRILL_CONFIG, render("pgbackrest/drill.conf.j2", cluster=cluster, host=me, directory=place)),
        Managed(CLONE_FILE, render(f"pgbackrest/{CLONE_UNIT}.j2", cluster=cluster, host=me, user=user, directory=place)),
    ]
    if cluster.backup.drill_schedule:
        timer = render("pgbackrest/drill.timer.j2", cluster=cluster, unit=DRILL_UNIT)
        check = f"systemd-analyze calendar {shlex.quote(cluster.backup.drill_schedule)} >/dev/null"
        own.append(Managed(TIMER_FILE, timer, check=check))
    return [*own, *found]


def _plan(run: Run) -> dict[str, object]:
    """The fields of agents/drill_files.py's Plan."""
    return {
        "cluster": run.cluster.name,
        "host": run.host.name,
        "binaries": paths.postgres_binaries(run.cluster.postgres.version),
        "directory": run.cluster.drill_directory(run.host),
        "config": config_of(run.host, run.cluster.backup_hosts),
        "include": paths.BACKUP_INCLUDED,
        "runtime": paths.DRILL_RUNTIME,
        "proven_days": run.cluster.backup.max_proven_days,
        "repositories": {place.name: place.number for place in run.cluster.repositories},
    }


def config_of(member: Host, keepers: tuple[Host, ...]) -> str:
    """pgBackRest's file for a drill there: on the repository's host the one for all else takes the data to be elsewhere."""
    return paths.DRILL_CONFIG if member in keepers else paths.BACKUP_CONFIG


def unit_and_all() -> tuple[str, ...]:
    """What is taken away where no host keeps backups any more. Results stay."""
    return (UNIT_FILE, paths.DRILL, paths.DRILL_TMPFILES)


@operation()
def schedule(run: Run) -> Generator[StringCommand]:
    """Starts the timer on the host that keeps the backups, or ends it where the settings have none."""
    units = (DRILL_TIMER, DRILL_UNIT, CLONE_UNIT)
    timer, service, clone = (host.get_fact(UnitFact, unit=unit, files=()) or Unit() for unit in units)
    if run.cluster.backup.drill_schedule is None:
        if timer.active or timer.enabled:
            yield StringCommand(f"systemctl disable --now --quiet {DRILL_TIMER}")
            yield StringCommand(f"rm -f {TIMER_FILE}")
        if timer.active or timer.enabled or clone.stale:
            yield StringCommand("systemctl daemon-reload")
    elif not (timer.active and timer.enabled):
        yield StringCommand(f"systemctl daemon-reload && systemctl enable --now --quiet {DRILL_TIMER}")
    elif timer.stale:
        yield StringCommand(f"systemctl daemon-reload && systemctl restart {DRILL_TIMER}")
    elif service.stale or clone.stale:
        yield StringCommand("systemctl daemon-reload")
