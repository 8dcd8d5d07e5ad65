"""What there is in the places where backups lie, as the host that keeps them sees it."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any

from pyinfra import host, state
from pyinfra.api import FactBase

from cluster import paths
from cluster.components import BACKUP_TIMERS

from .context import Run

_UNITS = " ".join(f"pgquorum-backup@{kind}.service" for kind in BACKUP_TIMERS)
# Says `backed_up` while a backup is being made.
MAKING = f"systemctl is-active {_UNITS} | grep -q activating && echo backed_up; true"
# Of pgBackRest's codes for what a repository has of a cluster: nothing at all, or not what a stanza is made of; can't be seen.
NO_STANZA, UNSEEN = {1, 3}, 99


@dataclass(frozen=True)
class Repository:
    """What there is in a repository: `stanza`, what pgBackRest calls the place of one cluster's; `archived`, anything in its
    archive; `backed_up`, a backup, or one that is being made. `system`: the identifier of the cluster whose it is, where
    pgBackRest was asked."""

    stanza: bool = False
    archived: bool = False
    backed_up: bool = False
    system: str = ""


class RepositoryFact(FactBase[Repository]):
    """The Repository in a directory of this host."""

    def command(self, directory: str, stanza: str) -> str:
        script = (
            f"[ -e {directory}/archive/{stanza}/archive.info ] && [ -e {directory}/backup/{stanza}/backup.info ] && echo stanza;"
            f" ls -A {directory}/archive/{stanza}/*/ 2>/dev/null | grep -q . && echo archived;"
            f" [ -e {directory}/backup/{stanza}/latest ] && echo backed_up;"
            f" {MAKING}"
        )
        return f"sh -c {shlex.quote(script)}"

    def process(self, output: list[str]) -> Repository:
        return Repository("stanza" in output, "archived" in output, "backed_up" in output)


class StoreFact(FactBase[Repository]):
    """The Repository in a place elsewhere, as pgBackRest tells of it. One that can't be seen is left as it is: rules tell."""

    def command(self, number: int, stanza: str) -> str:
        info = paths.pgbackrest(stanza, paths.BACKUP_USER, f"--repo={number} --output=json info 2>/dev/null | tr -d '\\n'; echo")
        return f"sh -c {shlex.quote(f'[ ! -e {paths.BACKUP_CIPHER} ] || {info}; {MAKING}')}"

    def process(self, output: list[str]) -> Repository:
        return store_of(output)


def store_of(output: list[str]) -> Repository:
    """From `pgbackrest info` of one repository, and whether a backup is being made."""
    said = next((json.loads(line) for line in output if line.startswith("[")), None)
    if said is None:
        return Repository()
    (stanza,) = said or [{"status": {"code": min(NO_STANZA)}}]
    code = stanza["status"]["code"]
    if code == UNSEEN:
        return Repository(True, True, True)
    archived = any(one.get("max") for one in stanza.get("archive", ()))
    backed_up = bool(stanza.get("backup")) or "backed_up" in output
    system = next((str(one["system-id"]) for one in stanza.get("db", ())[-1:]), "")
    return Repository(code not in NO_STANZA, archived, backed_up, system)


class SystemFact(FactBase[str]):
    """The identifier of the cluster whose data a database host has; empty for none."""

    def command(self, binaries: str, directory: str) -> str:
        asked = f"runuser -u postgres -- timeout 10 {binaries}/pg_controldata {directory}"
        return f"{asked} 2>/dev/null | sed -n 's/^Database system identifier: *//p'"

    def process(self, output: list[str]) -> str:
        return "".join(output).strip()


def of_another_cluster(run: Run, found: list[Repository]) -> str:
    """Which repositories have backups of another cluster than the one that runs, in words; empty for none."""
    postgres, first = run.cluster.postgres, run.first(run.cluster.postgres_hosts)
    if first is None:  # none is part of this run
        return ""
    member = state.inventory.get_host(first.name)
    binaries = paths.postgres_binaries(postgres.version)
    ours = member.get_fact(SystemFact, binaries=binaries, directory=postgres.data_directory)
    places = zip(run.cluster.repositories, found, strict=True)
    others = [place.name for place, one in places if ours and one.system and one.system != ours]
    return " and ".join(others)


def repositories(run: Run, keeper: Any = host) -> list[Repository]:
    """What there is in each, as `keeper` sees it: pyinfra's host that keeps the backups."""
    cluster = run.cluster
    found = []
    for place in cluster.repositories:
        if place.elsewhere:
            said = keeper.get_fact(StoreFact, number=place.number, stanza=cluster.name)
        else:
            said = keeper.get_fact(RepositoryFact, directory=cluster.backup.directory, stanza=cluster.name)
        found.append(said or Repository())
    return found
