"""The timeline of a trial, from what was seen on the hosts that stayed, in their logs, and by the writers. Pure.

The keys, each at most once in a timeline, are KEYS. Moments are seconds after the fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

from day2.history.writes import Write, WriteOutcome, longest_gap
from day2.hosts.watch import Event

from . import detection
from .result import LogLine, Phase

KEYS = (
    "fault",
    "detected",  # the first sign, to anybody, that something is wrong
    "moved",  # another proxy host has the virtual address
    "last_write",  # before the longest gap; only where nobody took over
    "old_out",  # HAProxy does not send writes to the old primary any more
    "key_gone",
    "new_leader",
    "promoted",
    "routed",  # HAProxy sends writes to the new primary; maybe to the old one too, until that is out
    "followed",  # a replica streams from it
    "first_write",
    "healing",
    "returned",  # what the fault was done to is healthy again
)
# A shorter gap between writes is no outage worth a line.
GAP_SECONDS = 0.5
MOST_LINES = 500
# What keepalived says when it puts the address on its host.
TAKES_ADDRESS = "Entering MASTER STATE"

Moments = list[tuple[str, str, float | None]]


@dataclass(frozen=True)
class TrialHistory:
    """What is known of a trial: `events` in order of time, `heal_started` None for a fault that ends by itself, `primary` the
    one before the fault, `name` the fault's, `targets` the hosts it was done to."""

    events: Sequence[Event]
    writes: Sequence[Write]
    fault_at: float
    heal_started: float | None
    primary: str
    name: str
    targets: tuple[str, ...]

    def first(self, what: str, fits: Callable[[Event], bool], since: float | None = None) -> float | None:
        """When the first event of a kind came that fits, since the fault or a later moment."""
        since = self.fault_at if since is None else since
        return next((e.at for e in self.events if e.what == what and e.at >= since and fits(e)), None)


def timeline(
    events: Sequence[Event],
    writes: Iterable[Write],
    *,
    fault_at: float,
    heal_started: float | None,
    primary: str,
    name: str,
    targets: Iterable[str] = (),
    predicted: Mapping[str, tuple[float, float]] | None = None,
) -> tuple[Phase, ...]:
    """The phases of a trial, sorted by time, what never came at the end.

    `fault_at` and `heal_started` are monotonic times; `predicted` is for keys, and a key that was predicted is in the timeline
    even if nothing of it was seen."""
    predicted = predicted or {}
    history = TrialHistory(events, list(writes), fault_at, heal_started, primary, name, tuple(targets) or (primary,))
    new = next((e for e in events if e.at >= fault_at and is_new_leader(e, primary)), None)
    moments = _beginning(history)
    moments += _failover(history, new) if new or "new_leader" in predicted else _without_failover(history, predicted)
    if heal_started is not None:
        moments.append(("healing", f"healing {_listed(history.targets)} begins", heal_started))
    phases = [Phase("fault", name, 0.0, predicted.get("fault"))]
    phases += (Phase(key, text, _after(fault_at, at), predicted.get(key)) for key, text, at in moments)
    return tuple(sorted(phases, key=lambda p: inf if p.seconds is None else p.seconds))


def _beginning(history: TrialHistory) -> Moments:
    sign = detection.first_sign(history.events, history.fault_at)
    return [("detected", sign[1] if sign else "a first sign that something is wrong", sign[0] if sign else None)]


def _failover(history: TrialHistory, new: Event | None) -> Moments:
    """Another host takes over, or should have (`new` is None)."""
    name, since = (str(new.value), new.at) if new else ("a new leader", inf)
    # Without a replica, no write is acknowledged in the synchronous modes.
    followed = history.first("streaming", lambda e: e.host == name and bool(e.value), since)
    returned = history.first("streaming", lambda e: history.primary in e.value, since)
    return [
        ("old_out", f"HAProxy sends no more writes to {history.primary}", _old_out(history)),
        ("key_gone", "leader key gone", history.first("leader", lambda e: e.value is None)),
        ("new_leader", f"{name} takes the leader key", new.at if new else None),
        ("promoted", f"{name} is promoted", history.first("primary", lambda e: e.value is True and e.host == name)),
        ("routed", f"HAProxy sends writes to {name}", history.first("routed", lambda e: name in (e.value or ()))),
        ("followed", f"a replica streams from {name}", followed),
        ("first_write", "first acknowledged write", first_of_new_primary(history.writes, history.fault_at)),
        ("returned", f"{history.primary} streams as a replica", returned),
    ]


def _without_failover(history: TrialHistory, predicted: Mapping[str, object]) -> Moments:
    """The primary stays. Of what can happen to it, only what did is told, or was predicted."""
    primary, out, gone = history.primary, _old_out(history), history.first("leader", lambda e: e.value is None)
    # A HAProxy that is silent sends nothing either, but has not taken anybody out.
    cut = history.first("routed", lambda e: primary not in (e.value or ()))
    again, back = (inf if at is None else at for at in (gone, cut))
    last, first = _gap(history)
    was_broken, healthy_at = detection.returned(history.events, history.targets, history.fault_at)
    taker, moved = _moved(history)
    moments: Moments = [
        ("moved", f"{taker} has the virtual address", moved),
        ("last_write", "last acknowledged write before the gap", last),
        ("old_out", f"HAProxy sends no more writes to {primary}", out),
        ("key_gone", "leader key gone", gone),
        ("new_leader", f"{primary} takes the leader key again", history.first("leader", lambda e: e.value == primary, again)),
        (
            "routed",
            f"HAProxy sends writes to {primary} again",
            history.first("routed", lambda e: primary in (e.value or ()), back),
        ),
        ("first_write", "first acknowledged write after the gap", first),
        ("returned", f"{_listed(history.targets)} is back", healthy_at if was_broken else None),
    ]
    # What follows from something that happened is told even if it never came.
    follows = {"new_leader": gone, "routed": cut, "first_write": last, "returned": was_broken or None}
    return [m for m in moments if m[2] is not None or m[0] in predicted or follows.get(m[0]) is not None]


def _moved(history: TrialHistory) -> tuple[str, float | None]:
    """Which proxy host took the virtual address from one of the targets, by its keepalived, and when; None where none did."""
    told = (e for e in history.events if e.what == "log" and e.at >= history.fault_at and e.host not in history.targets)
    takes = (e for e in told if e.value["unit"] == "keepalived" and TAKES_ADDRESS in e.value["text"])
    return next(((event.host, event.at) for event in takes), ("another proxy host", None))


def _old_out(history: TrialHistory) -> float | None:
    return next(
        (
            event.at
            for event, before in detection.changes(history.events)
            if event.what == "routed" and event.at >= history.fault_at and event.value is not None
            if history.primary in (before or ()) and history.primary not in event.value
        ),
        None,
    )


def _gap(history: TrialHistory) -> tuple[float | None, float | None]:
    """Between which acknowledged writes nobody was served for long, after the fault. The second is None if that never ended."""
    before = max((w.ended for w in history.writes if _acknowledged(w) and w.ended <= history.fault_at), default=inf)
    after = [w for w in history.writes if w.ended >= min(before, history.fault_at)]
    gap = longest_gap(after, max((w.ended for w in after), default=0.0))
    if gap is None or gap.seconds <= GAP_SECONDS:
        return None, None
    return max(gap.began, history.fault_at), gap.ended if any(_acknowledged(w) and w.ended == gap.ended for w in after) else None


def log_lines(events: Iterable[Event], *, fault_at: float) -> tuple[LogLine, ...]:
    """The lines that the watched components logged since the fault, in order of time, the first MOST_LINES of them."""
    lines = (
        LogLine(round(event.at - fault_at, 3), event.host, event.value["unit"], event.value["text"])
        for event in events
        if event.what == "log" and event.at >= fault_at
    )
    return tuple(sorted(lines, key=lambda line: line.seconds))[:MOST_LINES]


def first_of_new_primary(writes: Iterable[Write], fault_at: float) -> float | None:
    """When the first write since the fault was acknowledged by who took over; None where none was.

    It is on a new timeline: what the old primary still acknowledges is no sign of the new one."""
    acknowledged = [w for w in writes if _acknowledged(w)]
    reached = max((w.timeline for w in acknowledged if w.ended <= fault_at), default=0)
    return min((w.ended for w in acknowledged if w.ended > fault_at and w.timeline > reached), default=None)


def is_new_leader(event: Event, old: str) -> bool:
    """Whether somebody else took the leader key."""
    return event.what == "leader" and event.value not in (None, old)


def _acknowledged(write: Write) -> bool:
    return write.outcome is WriteOutcome.ACKNOWLEDGED


def _after(fault_at: float, at: float | None) -> float | None:
    return None if at is None else round(max(0.0, at - fault_at), 3)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)
