"""Replication lag of each replica, judged against thresholds. Pure; `invoke wal-lag` shows it (wal_lag.py).

Lags are bytes of WAL behind the primary: received means written and flushed on the replica's disk, so it survives the
loss of the primary; replayed means visible to its readers. The seconds are those the primary has measured. For a replay
that stands still the primary measures none, so there they are the age of the last transaction replayed: at most that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from cluster.errors import ClusterError
from cluster.parameters import TIME_UNITS
from cluster.slots import slot_name
from cluster.topology import Cluster
from cluster.values import parse_size

from .view import ClusterView, HostView


@dataclass(frozen=True)
class Lag:
    """One replica. `retained` is the WAL its slot holds back, `room` how much more it may, None for no limit."""

    name: str
    state: str
    sync_state: str
    received: int
    replayed: int
    received_seconds: float
    replayed_seconds: float
    retained: int | None
    room: int | None


def lags(view: ClusterView, before: ClusterView, cluster: Cluster) -> tuple[Lag, ...]:
    """A row for every host that the primary knows as a replica; `before` is a view taken a moment earlier."""
    slots = {slot.name: slot for slot in view.primary.slots} if view.primary else {}
    rows = []
    for host in (view.hosts[h.name] for h in cluster.postgres_hosts if h.name not in view.writable):
        sender = view.sender(host.name)
        if sender is None:
            continue
        slot = slots.get(slot_name(host.name))
        stands = _stands_still(host, before.hosts.get(host.name))
        age = host.postgres.replay_age if host.postgres and stands else None
        rows.append(
            Lag(
                host.name,
                sender.state,
                sender.sync_state,
                sender.received_lag,
                sender.replayed_lag,
                sender.received_seconds if sender.received_lag else 0.0,
                (age or sender.replayed_seconds) if sender.replayed_lag else 0.0,
                slot.retained if slot else None,
                slot.room if slot else None,
            )
        )
    return tuple(rows)


def _stands_still(now: HostView, before: HostView | None) -> bool:
    if before is None or now.postgres is None or before.postgres is None:
        return False
    return now.postgres.replayed == before.postgres.replayed


def too_far(rows: tuple[Lag, ...], replicas: list[str], max_bytes: int | None, max_seconds: float | None) -> Iterator[str]:
    """Every one of `replicas` that is not there or beyond a threshold, one sentence each."""
    found = {row.name: row for row in rows}
    for name in replicas:
        row = found.get(name)
        if row is None or row.state != "streaming":
            yield f"{name} is not streaming"
        elif max_bytes is not None and row.replayed > max_bytes:
            yield f"{name} is {row.replayed} bytes behind, more than {max_bytes}"
        elif max_seconds is not None and row.replayed_seconds > max_seconds:
            yield f"{name} is {row.replayed_seconds:.1f} s behind, more than {max_seconds:g} s"


def bytes_of(option: str, text: str | None) -> int | None:
    """A size with a unit, as the settings have them. Raises ClusterError naming the option."""
    try:
        return None if text is None else parse_size(text)
    except ValueError as error:
        raise ClusterError(f"{option} {text}: {error}") from None


def seconds_of(option: str, text: str | None) -> float | None:
    """A duration such as `500ms`, `5s`, `2min`, or a plain number of seconds. Raises ClusterError naming the option."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text)
    unit = (match[2] or "s") if match else ""
    if not match or unit not in TIME_UNITS:
        raise ClusterError(f"{option} {text}: should be a duration such as '500ms', '5s' or '2min'")
    return float(match[1]) * TIME_UNITS[unit] / 1000
