"""`invoke backup.mark`: a name for this moment, to which a restore can go."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict
from datetime import UTC, datetime

from cluster.errors import ClusterError
from cluster.recovery import NAME, Mark
from cluster.timelines import lsn, position
from cluster.topology import Cluster
from day2.hosts.changing import changing
from day2.hosts.psql import psql
from day2.recovery.notes import etcd, key, notes
from day2.recovery.plan import marks
from day2.ui.console import EXIT_OK, console

from .keeper import keeper


def mark(cluster: Cluster, *, name: str) -> int:
    """0 when the mark is there. Raises ClusterError for a name that is none or is taken, and without a primary."""
    keeper(cluster)
    if not NAME.fullmatch(name) or name == "latest":
        raise ClusterError(f"backup.mark {name!r}: should be letters, digits, _, . and -, a letter first, 63 at most")
    with changing(cluster, f"backup.mark {name}") as (fleet, _, view):
        if view.primary is None:
            raise ClusterError("nobody takes writes (`invoke status`)")
        if name in marks(notes(fleet, cluster)):
            raise ClusterError(f"backup.mark {name}: there is a mark of that name: choose another one")
        query = f"select pg_create_restore_point('{name}'); select pg_switch_wal()"
        where = psql(fleet, cluster, view.writable[0], query).split()[0]
        made = Mark(name, view.primary.timeline, position(where), datetime.now(UTC).isoformat(timespec="seconds"))
        etcd(fleet, cluster, f"put {key(cluster, f'marks/{name}')} {shlex.quote(json.dumps(asdict(made)))}")
    console().print(f"{name} is at {lsn(made.lsn)} on timeline {made.timeline}: `invoke restore --to {name}` goes back there")
    return EXIT_OK
