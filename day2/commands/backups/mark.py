"""`invoke backup.mark`: a name for this moment, to which a restore can go; `--remove` takes one back."""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Collection
from dataclasses import asdict
from datetime import UTC, datetime

from cluster.errors import ClusterError, did_you_mean
from cluster.recovery import NAME, Mark
from cluster.timelines import lsn, position
from cluster.topology import Cluster
from day2.hosts.changing import changing
from day2.hosts.psql import psql
from day2.recovery.notes import etcd, key, notes
from day2.recovery.plan import marks
from day2.ui.console import EXIT_OK, console

from .keeper import keeper

MOST_LETTERS = 63  # of a restore point's name, as PostgreSQL takes it


def mark(cluster: Cluster, *, name: str, remove: bool = False) -> int:
    """0 when the mark is there, or with `remove` when it is gone. Raises ClusterError for a name that is none, is taken, or is no
    mark's; and without a primary, which removing one does not need."""
    keeper(cluster)
    if not NAME.fullmatch(name) or name == "latest":
        raise ClusterError(f"backup.mark {name!r}: should be letters, digits, _, . and -, a letter first, 63 at most")
    place = key(cluster, f"marks/{name}")
    with changing(cluster, f"backup.mark {name}{' --remove' if remove else ''}") as (fleet, _, view):
        there = marks(notes(fleet, cluster))
        if remove:
            refuse_unknown(name, there)
            etcd(fleet, cluster, f"del {place}")
            console().print(f"{name} is no mark any more: it was at {lsn(there[name].lsn)} on timeline {there[name].timeline}")
            return EXIT_OK
        if view.primary is None:
            raise ClusterError("nobody takes writes (`invoke status`)")
        if name in there:
            raise ClusterError(
                f"backup.mark {name}: there is a mark of that name: choose another one, or `invoke backup.mark {name} --remove`"
            )
        point = point_of(name)
        query = f"select pg_create_restore_point('{point}'); select pg_switch_wal()"
        where = psql(fleet, cluster, view.writable[0], query).split()[0]
        now = datetime.now(UTC).isoformat(timespec="seconds")
        made = Mark(name, view.primary.timeline, position(where), now, point)
        etcd(fleet, cluster, f"put {place} {shlex.quote(json.dumps(asdict(made)))}")
    console().print(f"{name} is at {lsn(made.lsn)} on timeline {made.timeline}: `invoke restore --to {name}` goes back there")
    return EXIT_OK


def point_of(name: str) -> str:
    """What the restore point of a new mark is called: so as no other one, of a mark of the same name that was removed either."""
    unlike = f".{secrets.token_hex(8)}"
    return name[: MOST_LETTERS - len(unlike)] + unlike


def refuse_unknown(name: str, there: Collection[str]) -> None:
    """Raises ClusterError where there is no such mark."""
    if name not in there:
        known = f"there are {', '.join(sorted(there))}" if there else "there is none"
        raise ClusterError(f"backup.mark {name} --remove: no mark is called so{did_you_mean(name, sorted(there))} ({known})")
