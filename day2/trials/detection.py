"""The first sign that something is wrong, among all that hosts tell; and when what was broken was healthy again. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from day2.hosts.journal import is_trouble
from day2.hosts.watch import Event

MOST_CHARACTERS = 100


def first_sign(events: Sequence[Event], since: float) -> tuple[float, str] | None:
    """When anybody saw for the first time that something is wrong, and what; `events` in order of time."""
    for event, before in changes(events):
        if event.at >= since and (text := SIGNS[event.what](event, before)):
            return event.at, text
    return None


def changes(events: Iterable[Event]) -> Iterator[tuple[Event, Any]]:
    """Each event with the value that the same host told of the same thing before; None for the first."""
    last: dict[tuple[str, str], Any] = {}
    for event in events:
        yield event, last.get((event.host, event.what))
        last[event.host, event.what] = event.value


def _leader(event: Event, before: str | None) -> str:
    return "the leader key is gone" if event.value is None else ""


def _primary(event: Event, before: bool | None) -> str:
    if event.value is None and before is not None:
        return f"PostgreSQL on {event.host} does not answer"
    return f"{event.host} is not the primary any more" if before and event.value is False else ""


def _streaming(event: Event, before: list[str] | None) -> str:
    gone = [name for name in before or [] if name not in event.value]
    return f"{', '.join(gone)} does not stream from {event.host} any more" if gone else ""


def _servers(what: str) -> Callable[[Event, Any], str]:
    def sign(event: Event, before: list[str] | None) -> str:
        if event.value is None:
            return f"HAProxy on {event.host} does not answer" if before is not None else ""
        gone = [name for name in before or [] if name not in event.value]
        return f"HAProxy sends no {what} to {', '.join(gone)} any more" if gone else ""

    return sign


def _failing(event: Event, before: list[str] | None) -> str:
    new = [name for name in event.value if name not in (before or [])]
    return f"HAProxy's check of {', '.join(new)} fails" if new else ""


def _etcd(event: Event, before: bool | None) -> str:
    return f"etcd on {event.host} does not answer" if before and not event.value else ""


def _log(event: Event, before: Any) -> str:
    unit, text = event.value["unit"], event.value["text"]
    return f"{unit} on {event.host}: {text[:MOST_CHARACTERS]}" if is_trouble(unit, text) else ""


SIGNS: dict[str, Callable[[Event, Any], str]] = {
    "leader": _leader,
    "primary": _primary,
    "streaming": _streaming,
    "routed": _servers("writes"),
    "reads": _servers("reads"),
    "failing": _failing,
    "etcd": _etcd,
    "log": _log,
}


def returned(events: Sequence[Event], hosts: Sequence[str], since: float) -> tuple[bool, float | None]:
    """Whether anything of `hosts` was seen broken since the monotonic time `since`, and when the last of it was healthy again:
    None for not yet."""
    broken: set[tuple[str, ...]] = set()
    seen, at = False, since
    for event, before in changes(events):
        if event.at < since:
            continue
        for thing, healthy in _state(event, before, hosts):
            if not healthy:
                broken.add(thing)
                seen = True
            elif thing in broken:
                broken.discard(thing)
                at = event.at
    return seen, None if broken else at


def _state(event: Event, before: Any, hosts: Sequence[str]) -> Iterator[tuple[tuple[str, ...], bool]]:
    """What an event says of things on `hosts`: which thing, and whether it is healthy."""
    if event.what == "streaming":
        for name in hosts:
            if name in event.value:
                yield ("streaming", name), True
            elif before and name in before:
                yield ("streaming", name), False
    elif event.host in hosts and event.what in ("primary", "etcd", "routed"):
        yield (event.what, event.host), event.value is not (False if event.what == "etcd" else None)
