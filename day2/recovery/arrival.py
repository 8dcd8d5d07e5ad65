"""Where a recovery has ended, and whether that is where it was sent. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from cluster.recovery import Target
from cluster.timelines import lsn

from .plan import Restore

# Of PostgreSQL: a page of the log, and what is at most in front of its first record.
PAGE_BYTES, HEADER_BYTES = 8192, 40


@dataclass(frozen=True)
class Arrival:
    """Where a recovery has ended: on which timeline PostgreSQL is now, where that was forked from the one before (bytes since
    0/0), why, and when the last transaction was committed that it replayed (seconds since 1970; None: there was none)."""

    timeline: int
    fork: int
    reason: str
    last: float | None


def missed_target(restore: Restore, target: Target, arrival: Arrival) -> str | None:
    """Why the server is not where it should be; None when it is."""
    if arrival.timeline < restore.begins:  # later, where an earlier try has begun that one
        return f"it is on timeline {arrival.timeline}, and {restore.begins} was to begin"
    if target.time and arrival.last is not None and arrival.last > target.time.timestamp() + 1e-6:
        return f"it has a transaction that was committed {arrival.last - target.time.timestamp():.6f} s after that time"
    if target.lsn is not None and arrival.fork < _ended_by(target.lsn):
        return "it has ended before that position"
    if target.kind != "latest" and not arrival.reason:
        return "its history does not say that it stopped there"
    if target.kind == "latest" and restore.whole and not restore.away and restore.ends:
        timeline, least = restore.ends
        if (timeline, least) >= (restore.timeline, arrival.fork):
            return (
                f"it has ended at {lsn(arrival.fork)}, and hosts had more, beyond {lsn(least)} on timeline {timeline}: a file in"
                " between is missing in the archive, or can't be read. `invoke restore --cancel` puts the old data back;"
                f" `invoke restore --to latest --timeline {restore.timeline}` takes what there is"
            )
    return None


def _ended_by(lsn: int) -> int:
    """Where the record before a position ends at the least: where that is the first on its page, at the page's beginning."""
    into = lsn % PAGE_BYTES
    return lsn - into if into <= HEADER_BYTES else lsn


def outrun(restore: Restore) -> str | None:
    """Why a plan that was to have all there is does not, now that everything is stopped: somebody was promoted meanwhile."""
    if restore.kind != "latest" or not restore.whole or not restore.ends or restore.ends[0] <= restore.timeline:
        return None
    return (
        f"hosts have timeline {restore.ends[0]}, which was begun after this was planned along {restore.timeline}: `invoke restore"
        f" --cancel`, and then anew; or without it: `invoke restore --to latest --timeline {restore.timeline}`"
    )
