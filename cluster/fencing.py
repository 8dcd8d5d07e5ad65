"""When the key of a primary that is gone may be taken away before its lease ends, and what voters promise in its place.

Pure, of the standard library alone, for Python 3.10: the deploy also puts this very file on the hosts, where agents/guard.py and
agents/promotion_gate.py judge by it. docs/decisions has why it is as it is.

A lease proves nothing about what a former primary's PostgreSQL still does. So whoever is promoted in its place has promises
instead: each voter first cuts itself off from the former primary, for good, and only then says how far it is (`Promise`). What it
had confirmed before is in what it says, and it confirms nothing there any more. So the rule of quorum.py, applied to promises,
needs no clock.

A term is the time for which one member holds Patroni's leader key; its number is the revision of etcd at which it got it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from cluster.quorum import Configuration, Position, Promotion

Note = TypeVar("Note")


@dataclass(frozen=True)
class Sighting:
    """What one host sees of the `host` that leads in `term`: whether its kernel has been `silent` for long enough to be lost.
    `ready`: it has also cut its own connections there, so that nothing here waits for it any more."""

    host: str
    term: int
    silent: bool
    ready: bool = False


@dataclass(frozen=True)
class Fence:
    """What a candidate asks of all others: to be cut off `against` these, the former primaries, as long as its `term` goes on."""

    term: int
    candidate: str
    against: tuple[str, ...]


@dataclass(frozen=True)
class Promise:
    """Given in `term`: this member hears no former primary any more, and its log goes so far. `started`: when its server was
    started, in microseconds since 1970."""

    term: int
    timeline: int
    lsn: int
    started: int | None = None

    @property
    def position(self) -> Position:
        return Position(self.timeline, self.lsn)


@dataclass(frozen=True)
class Yielded:
    """The leader key of `host` in `term` was taken away, before the `lease` had ended that it was tied to."""

    term: int
    host: str
    lease: int


def written(note: Sighting | Fence | Promise | Yielded) -> str:
    """As it stands in etcd."""
    return json.dumps(asdict(note))


def read(kind: type[Note], text: str | None) -> Note | None:
    """What stands there; None for nothing, and for what can't be understood: a note that says nothing allows nothing."""
    try:
        fields: dict[str, Any] = json.loads(text or "")
        if "against" in fields:
            fields["against"] = tuple(map(str, fields["against"]))
        return kind(**fields)
    except (TypeError, ValueError):
        return None


def agreed(leader: str, term: int, sync: Configuration, hosts: Collection[str], sightings: Mapping[str, Sighting | None]) -> str:
    """Why these sightings are not enough to give the leader up; empty where they are.

    So many of its voters must not see it that every write it may still acknowledge needs one of them; so must a majority of
    the database hosts; and nobody may see it.
    """
    about = {name: one for name, one in sightings.items() if one and (one.host, one.term) == (leader, term) and name != leader}
    if seen := sorted(name for name, one in about.items() if not one.silent):
        return f"{', '.join(seen)} can see {leader}"
    silent = set(about)
    voters = len(silent & sync.voters)
    if voters <= sync.quorum:
        return f"{voters} of the {sync.quorum + 1} voters that it takes do not see {leader}"
    if 2 * len(silent) <= len(hosts):
        return f"{len(silent)} of {len(hosts)} hosts do not see {leader}, which is no majority"
    return ""


def refusal(leader: str, sync: Configuration | None, config: str | None, failover: str | None) -> str:
    """Why a leader that is gone has to be waited for; empty where its key may be taken away. `config` is Patroni's dynamic
    configuration, `failover` what stands in its key of that name. Raises ValueError for what can't be understood."""
    settings: dict[str, Any] = json.loads(config or "{}")
    if settings.get("pause"):
        return "the cluster is paused"
    if settings.get("synchronous_mode") != "quorum" or sync is None:
        return "replication is not synchronous by quorum"
    if sync.leader != leader:
        return f"/sync is of {sync.leader}'s time yet"
    if _asked_for(failover):
        return "a switchover is under way"
    return ""


def _asked_for(failover: str | None) -> bool:
    """Whether a failover or switchover was asked for. Patroni never deletes the key: it has `{}` in it ever after the first one
    (patroni/dcs/__init__.py, manual_failover). Raises ValueError."""
    asked = json.loads(failover or "{}")
    return not isinstance(asked, dict) or bool(asked.get("leader") or asked.get("member"))


def holds(term: int, promoted: Promotion | None, timeline: int | None) -> bool:
    """Whether a promise of a `term`, to hear nobody but its candidate, binds a server on this `timeline`: until it is on that of
    who was let through (`promoted`) since. A later one by itself is no proof: it may be a former primary's, of which this server
    had not read that far."""
    if promoted is None or promoted.revision < term:
        return True
    return timeline is None or timeline < promoted.timeline
