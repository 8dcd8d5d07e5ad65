"""Who certainly holds every acknowledged write: the rule by which a replica may be promoted.

Pure, of the standard library alone, for Python 3.10: the deploy also puts this very file on the hosts, where
agents/promotion_gate.py judges by it.

Patroni keeps the names of its voters in the key /sync of etcd, with a `quorum`. One value of that key is a `Configuration`. Under
each, Patroni keeps this (patroni/quorum.py): any `quorum` + 1 of its members include one that has every write acknowledged while
it was in force. But it says nothing about writes that were acknowledged *before*, under another one: when a voter leaves, Patroni
publishes the smaller configuration without asking whether those that stay have what only the one that left had confirmed.

So a change of configuration is treated as Raft treats one (joint consensus): until the new configuration is *confirmed*, a
candidate needs a quorum in it and in every one since the last that was.

* Confirmed is a configuration when so many of its voters have all that the primary had written by then, that every quorum
  includes one of them (`confirms`). The primary's host notes it in etcd (agents/confirm_quorum.py).
* A candidate asks all members how far they are, and holds every acknowledged write if it has a quorum of members that are not
  ahead of it in each of those configurations (`shortfalls`). Whoever does not answer has no vote. Ahead is, as in Raft, who is
  on a later timeline, or on the same one with more: a former primary that was not rewound may have more bytes than others, and
  yet not what they have acknowledged since under a new one.

Why that is enough. Let w be an acknowledged write, and C the configuration in force then. If C is not older than the confirmed
one, it is among those asked for, and the candidate's quorum in C includes a member that has w; it is not ahead of the
candidate, so that has w, too. If C is older, w stood in the primary's log when that confirmed; so every quorum of the
confirmed configuration includes the primary itself or a voter that has w.

Every promotion begins a timeline of its own (agents/timelines.py), so that a later one has the higher number.

Revisions are those of etcd.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Position(NamedTuple):
    """How far a server's log goes: its timeline, and there the bytes of WAL since 0/0. The later one is ahead."""

    timeline: int
    lsn: int


@dataclass(frozen=True)
class Configuration:
    """One value of /sync, and the revision of etcd at which it was written."""

    revision: int
    leader: str
    voters: frozenset[str]
    quorum: int

    @property
    def members(self) -> frozenset[str]:
        """Who may have a vote: the voters, and the primary of that time."""
        return self.voters | {self.leader}

    def votes_needed(self, candidate: str) -> int:
        """How many members beside the candidate must not be ahead of it."""
        return self.quorum if candidate in self.members else self.quorum + 1


@dataclass(frozen=True)
class Promotion:
    """Who was let through the gate last, the revision of etcd at which that was noted, and the timeline that it was to begin."""

    name: str
    revision: int
    timeline: int = 0

    def begun_by_another(self, candidate: str) -> int:
        """The timeline that was begun, for all one can know, by another one than the candidate; itself, it would be on it."""
        return 0 if candidate == self.name else self.timeline


@dataclass(frozen=True)
class Shortfall:
    """Why a candidate at `position` may lack acknowledged writes: in `configuration` it has `votes` and needs `needed` of them.

    `ahead` has the positions of members that answer and have more than the candidate; `silent` are those without an answer.
    """

    configuration: Configuration
    position: Position
    votes: tuple[str, ...]
    needed: int
    ahead: dict[str, Position]
    silent: tuple[str, ...]


def parse(value: str | None, revision: int) -> Configuration | None:
    """The configuration that a value of /sync says; None where it says none, as without synchronous replication.

    Raises ValueError for what can't be understood: then nobody may guess.
    """
    if not value:
        return None
    try:
        fields = json.loads(value)
        leader, voters, quorum = fields.get("leader"), fields.get("sync_standby") or "", int(fields.get("quorum") or 0)
        names = frozenset(name for name in voters.split(",") if name)
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"/sync can't be understood: {value[:200]!r}") from None
    return Configuration(revision, leader, names, quorum) if leader else None


def promotion(value: str, revision: int) -> Promotion:
    """What the gate has noted. Raises ValueError for what can't be understood."""
    try:
        fields = json.loads(value)
        return Promotion(str(fields["name"]), revision, int(fields.get("timeline", 0)))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise ValueError(f"the note of the last promotion can't be understood: {value[:200]!r}") from None


def unknown(leader: str, hosts: Collection[str], revision: int = 0) -> Configuration:
    """In place of configurations that are not known any more: all but one of the cluster's hosts must have a say, because
    whatever it was, two hosts had each acknowledged write."""
    voters = frozenset(hosts) - {leader}
    return Configuration(revision, leader, voters, max(len(voters) - 1, 0))


def confirms(configuration: Configuration, barrier: int, flushed: Mapping[str, int]) -> bool:
    """Whether every quorum of the configuration includes a member that has everything up to `barrier`.

    `barrier` is how many bytes the primary had written, read after the configuration was published; `flushed` how many each
    replica had on disk, by the primary's own word. With v voters and quorum q, any q + 1 of them meet any v - q of them.
    """
    holders = sum(1 for name in configuration.voters if flushed.get(name, -1) >= barrier)
    return holders >= len(configuration.voters) - configuration.quorum


def shortfalls(
    candidate: str,
    position: Position,
    configurations: Sequence[Configuration],
    answers: Mapping[str, Position | None],
    promoted: Promotion | None = None,
) -> tuple[Shortfall, ...]:
    """In which of `configurations` (the confirmed one and all since) the candidate at `position` has no quorum; none if it
    certainly holds every acknowledged write.

    `answers` has the positions of the members that answered with all that is on their disks. The leader of a configuration has
    what was acknowledged under it without anybody's vote, unless another one was promoted since.
    """
    found = []
    for one in configurations:
        led_last = promoted is None or promoted.revision < one.revision or promoted.name == candidate
        if not (candidate == one.leader and led_last) and (short := _shortfall(candidate, position, one, answers)):
            found.append(short)
    return tuple(found)


def _shortfall(
    candidate: str, position: Position, one: Configuration, answers: Mapping[str, Position | None]
) -> Shortfall | None:
    said = {name: answers.get(name) for name in sorted(one.members - {candidate})}
    votes = tuple(name for name, where in said.items() if where is not None and where <= position)
    needed = one.votes_needed(candidate)
    if len(votes) >= needed:
        return None
    ahead = {name: where for name, where in said.items() if where is not None and where > position}
    return Shortfall(one, position, votes, needed, ahead, tuple(name for name, where in said.items() if where is None))


def in_words(shortfalls: Sequence[Shortfall]) -> Iterator[str]:
    """One sentence for each host that is ahead, and one for those whose word is missing where nobody is."""
    for name, (timeline, lsn), mine in sorted({(name, p, one.position) for one in shortfalls for name, p in one.ahead.items()}):
        more = (
            f"{lsn - mine.lsn} bytes more" if timeline == mine.timeline else f"timeline {timeline}, and this one {mine.timeline}"
        )
        yield f"{name} has {more}: writes that may have been acknowledged"
    for one in shortfalls:
        if not one.ahead:
            who = " or ".join(one.silent)
            yield f"{who} must say first how far it is: it may have acknowledged writes that nobody else has"
            return
