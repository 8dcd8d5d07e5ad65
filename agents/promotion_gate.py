"""Patroni's `pre_promote`: a replica that has won the leader key is promoted only if it holds every acknowledged write.

The rule is in cluster/quorum.py. Where there are guards (guard.py), the word of a member counts that has promised to hear no
former primary any more. While there are not enough promises nobody is let through for as long as the lease of a primary that was
given up may live; afterwards it is as without guards. Exit code 0 lets it through. With any other Patroni gives the key back, and
this member stays out of the race for `ttl` seconds, in which one that has more can win it.
"""

from __future__ import annotations

import calendar
import queue
import re
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from agents import https, unarchived
from agents.etcd import Etcd, EtcdError
from agents.keys import ClusterKeys, Keys
from agents.promises import Notes
from agents.specification import Specification
from agents.timelines import Timelines
from cluster.fencing import Fence, Promise
from cluster.quorum import Configuration, Position, in_words, shortfalls

# So long it waits for members that do not answer yet, or have not read all of their own log: servers that were restarted a
# moment ago. While it waits it holds the leader key, and nobody else can win it.
PATIENCE_SECONDS = 3.0
AGAIN_SECONDS, SOON_SECONDS = 0.1, 0.03
# A guard that is there has promised by then.
PROMISE_SECONDS = 0.8
ETCD_SECONDS = 1.0
MEMBER_SECONDS = 1.0
TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?([+-])(\d\d):(\d\d)")


@dataclass(frozen=True)
class Answer:
    """What a member's Patroni says of its PostgreSQL. `position`: how far its log goes at least, None where it does not say;
    `started`: when that server was started, in microseconds since 1970. `primary`: it takes writes."""

    position: Position | None = None
    started: int | None = None
    primary: bool = False


def understood(said: dict[str, object]) -> Answer:
    """An answer of GET /patroni. That a server says how far it is does not mean that it has read all of its own log (log_end.py).
    Raises ValueError and TypeError for what can't be understood."""
    wal = said.get("xlog")
    if not isinstance(wal, dict) or said.get("state") != "running":
        return Answer()
    if wal.get("location"):
        return Answer(primary=True)
    received, replayed = int(wal.get("received_location") or 0), int(wal.get("replayed_location") or 0)
    timeline, started = said.get("timeline"), said.get("postmaster_start_time")
    if not isinstance(timeline, int) or not (received or replayed):
        return Answer()
    return Answer(Position(timeline, max(received, replayed)), microseconds(str(started)))


def microseconds(text: str) -> int | None:
    """Since 1970, of a time as Patroni writes it: `2026-11-30 05:30:00.123456+05:30`. None for what is none."""
    found = TIME.fullmatch(text)
    if not found:
        return None
    at = calendar.timegm(tuple(map(int, found.group(1, 2, 3, 4, 5, 6))))
    east = 3600 * int(found[9]) + 60 * int(found[10])
    return (at - (east if found[8] == "+" else -east)) * 1_000_000 + int((found[7] or "").ljust(6, "0"))


class Members:
    """The members' REST APIs: name to host:port."""

    def __init__(self, apis: dict[str, str], tls: ssl.SSLContext) -> None:
        self._apis, self._tls = apis, tls

    def ask(self, names: Iterable[str], enough: Callable[[dict[str, Answer]], bool]) -> dict[str, Answer]:
        """All at once; an empty answer for whoever gives none in time, or before the others' are `enough`: a host that is off
        would be waited for."""
        answers = {name: Answer() for name in names}
        asked = [name for name in answers if name in self._apis]
        arrived: queue.SimpleQueue[tuple[str, Answer]] = queue.SimpleQueue()
        for name in asked:
            threading.Thread(target=lambda name=name: arrived.put((name, self._ask_one(name))), daemon=True).start()
        until = time.monotonic() + MEMBER_SECONDS
        with suppress(queue.Empty):
            for _ in asked:
                name, answers[name] = arrived.get(timeout=max(until - time.monotonic(), 0))
                if enough(answers):
                    break
        return answers

    def _ask_one(self, name: str) -> Answer:
        with suppress(Exception):  # whatever it is, there is no answer
            return understood(https.ask(self._apis[name], "/patroni", None, self._tls, MEMBER_SECONDS))
        return Answer()


@dataclass(frozen=True)
class Given:
    """Promises by member; `alone`: the word of who has given none counts for nothing."""

    promises: dict[str, Promise] = field(default_factory=dict)
    alone: bool = False

    def counted(self, said: dict[str, Answer]) -> dict[str, Answer]:
        """The answers that count, of those that were `said`."""
        bound = {name: _bound(one, said.get(name)) for name, one in self.promises.items()}
        return bound if self.alone else {**said, **bound}


class Promises:
    """What the other members promise the candidate `name`, by their guards. `hosts`: all of the cluster's database hosts;
    `guarded`: whether there are guards. Where a leader was given up there were some a moment ago."""

    def __init__(self, notes: Notes, name: str, hosts: Sequence[str], *, guarded: bool) -> None:
        self._notes, self._name, self._others = notes, name, tuple(host for host in hosts if host != name)
        self._guarded = guarded
        self._term, self._since = 0, 0.0

    @property
    def asked(self) -> bool:
        """Whether somebody was asked."""
        return self._term != 0

    def ask(self, now: Keys) -> None:
        """Asks for them, once in a term. Raises EtcdError."""
        if now.leader and now.leader.created != self._term and (self._guarded or now.given_up):
            self._notes.ask(Fence(now.leader.created, self._name, self._others))
            self._term, self._since = now.leader.created, time.monotonic()

    def given(self, now: Keys) -> Given:
        """Those that were given by now. Raises EtcdError."""
        if self._term == 0:
            return Given()
        late = not self._guarded or time.monotonic() - self._since > PROMISE_SECONDS
        alone = not late or self._notes.strict(now.given_up.text if now.given_up else None)
        return Given(self._notes.read().promised(self._term), alone=alone)


@dataclass(frozen=True)
class Judgement:
    """Where the candidate is, if it says so; why it may lack acknowledged writes, empty if it certainly does not; who has more:
    then waiting can't help; and who answers and may have more, since it has not read all of its own log."""

    position: Position | None
    why: str
    ahead: frozenset[str] = frozenset()
    reading: frozenset[str] = frozenset()


def decide(
    name: str, keys: ClusterKeys, members: Members, timelines: Timelines, deadline: float, promises: Promises | None = None
) -> tuple[bool, str]:
    """Whether `name` may be promoted, and why. Raises EtcdError, OSError and ValueError: then it may not."""
    while True:
        try:
            return _decide(name, keys, members, timelines, deadline, promises)
        except EtcdError:  # the host that is lost may have led it
            if promises is None or not promises.asked or time.monotonic() > deadline:
                raise
            time.sleep(AGAIN_SECONDS)


def _decide(
    name: str, keys: ClusterKeys, members: Members, timelines: Timelines, deadline: float, promises: Promises | None
) -> tuple[bool, str]:
    while True:
        now = keys.read()
        if now.leader is None or now.leader.text != name:
            return False, "it does not hold the leader key any more"
        if not now.synchronous or now.current is None:
            return True, "replication is not synchronous, so nothing is promised"
        found = _judge(name, now, keys, members, promises)
        accepted = now.loss_accepted_for(name, found.ahead | found.reading)
        if found.position and (accepted or not found.why) and _claim(name, found.position.timeline, now, keys, timelines):
            return True, "its owner has accepted the loss of what it lacks" if accepted else "it holds every acknowledged write"
        if found.ahead or time.monotonic() > deadline:
            with suppress(EtcdError, ValueError, AttributeError):  # it is told how much would be lost, and decides nothing
                keys.note_written(now)
            return False, found.why or "/sync changes all the time"
        time.sleep(SOON_SECONDS if promises and promises.asked else AGAIN_SECONDS)


def _claim(name: str, timeline: int, now: Keys, keys: ClusterKeys, timelines: Timelines) -> bool:
    """Makes it the last one that was let through, and sees to it that it begins a timeline that nobody else has begun."""
    begun = now.last_promotion.begun_by_another(name) if now.last_promotion else 0
    chosen = timelines.next(timeline, begun)
    if not keys.claim(now, name, chosen):
        return False
    timelines.reserve(timeline, chosen)
    return True


def _judge(name: str, now: Keys, keys: ClusterKeys, members: Members, promises: Promises | None) -> Judgement:
    configurations = keys.configurations(now)
    if promises:
        promises.ask(now)
    names = sorted({name}.union(*(one.members for one in configurations)))

    def enough(answers: dict[str, Answer]) -> bool:
        return not _judged(name, now, configurations, answers).why

    answers = members.ask(names, enough)
    return _judged(name, now, configurations, answers, promises.given(now) if promises else Given())


def _judged(
    name: str,
    now: Keys,
    configurations: Sequence[Configuration],
    answers: dict[str, Answer],
    given: Given = Given(),
) -> Judgement:
    if alive := [other for other, answer in answers.items() if answer.primary and other != name]:
        return Judgement(None, f"{', '.join(alive)} still is a primary")
    # What it has not read yet of its own log it will read when it is promoted.
    mine = answers[name].position
    if mine is None:
        return Judgement(None, "its own PostgreSQL does not say how far it is")
    told = given.counted(answers)
    others = {other: answer.position for other, answer in told.items() if now.at_log_end(other, answer.started)}
    short = shortfalls(name, mine, configurations, others, now.last_promotion)
    # Whoever lives and has more should lead, and can only do so when this one gives the key back.
    words = "; ".join(in_words(short)) or "votes are missing"
    reading = frozenset(other for other, answer in told.items() if answer.position and other not in {name, *others})
    return Judgement(mine, words if short else "", frozenset(name for one in short for name in one.ahead), reading)


def _bound(promise: Promise, said: Answer | None) -> Answer:
    """The word of a member that has promised: what it says now, where that is more."""
    also = said.position if said and said.position and said.started == promise.started else promise.position
    return Answer(max(promise.position, also), promise.started)


def judge(specification: Specification) -> tuple[int, str]:
    """0 to let this host's member be promoted, else 1; and a line about it for the journal."""
    try:
        etcd, hosts = Etcd(specification.etcd, specification.etcd_tls(), ETCD_SECONDS), tuple(specification.patroni)
        keys = ClusterKeys(etcd, specification.cluster, hosts)
        notes = Notes(etcd, specification.cluster, hosts)
        promises = Promises(notes, specification.name, hosts, guarded=bool(specification.addresses))
        members = Members(specification.patroni, specification.patroni_tls())
        timelines = Timelines(Path(specification.wal))
        through, why = decide(specification.name, keys, members, timelines, time.monotonic() + PATIENCE_SECONDS, promises)
    except (EtcdError, OSError, ValueError, KeyError, TypeError) as error:
        through, why = False, f"that can't be judged: {error}"
    verdict = "may" if through else "must not"
    said = f"promotion gate: {specification.name} {verdict} be promoted: {why}"
    if through and specification.archives:
        said += _hand_on(Path(specification.wal))
    return 0 if through else 1, said


def _hand_on(pg_wal: Path) -> str:
    """What is said of the write-ahead log that this member archives in place of the former primary. It is no reason to wait."""
    try:
        return f"; {unarchived.mark(pg_wal)} files wait to be archived"
    except (OSError, ValueError) as error:
        return f"; what the former primary has not archived may be missing in the archive: {error}"


def main(specification: Specification) -> int:
    """0 to let this member be promoted."""
    code, why = judge(specification)
    print(why, file=sys.stderr, flush=True)
    return code
