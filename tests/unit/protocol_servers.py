"""The servers of the protocol's model (protocol.py): what PostgreSQL does, and what happens to it.

A log is what a server has on disk; its length is the position. A promotion writes a record of its own into it, on a timeline of
its own, as PostgreSQL does. A write is acknowledged as soon as synchronous_standby_names allows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import wraps
from typing import NamedTuple

from patroni.quorum import Transition

from cluster.quorum import Configuration, Promotion, Shortfall


@dataclass(frozen=True)
class Variant:
    """What holds and what is done; the defaults are what is built. Each other one must be seen to lose a write, or is a limit."""

    wanted: int = 1  # synchronous_node_count
    strict: bool = False  # synchronous_mode_strict
    zombie: bool = False  # the leader key may go while its holder's PostgreSQL lives on
    deaf: bool = True  # who has answered a candidate takes nothing more from the old primary
    gate: bool = True
    whole_history: bool = True  # the candidate is measured by all configurations since the confirmed one, not by the last alone
    waits: bool = True  # a configuration is confirmed when enough voters have reached the barrier
    barrier_last: bool = True  # the barrier is read after /sync was seen
    claims: bool = True  # /sync is written anew before the promotion
    timelines: bool = True  # a later timeline is ahead, whatever the positions
    late: bool = False  # who was let through may be promoted even when the leader key is gone by then: Patroni calls that off
    primaries_vote: bool = False  # a member that is not in recovery counts as one that answers
    reserves: bool = True  # no two promotions begin timelines of one number
    own_log: bool = True  # who has not read all of its own log since its start has no vote
    leaders_age: bool = True  # a former leader is trusted without a vote only if nobody else was promoted since


class Record(NamedTuple):
    timeline: int
    number: int  # unique


@dataclass
class Synchronous:
    """synchronous_standby_names: ANY `count` of `names`; None stands for `*`."""

    count: int
    names: frozenset[str] | None


@dataclass
class Agent:
    """What confirm_quorum has found out so far."""

    configuration: Configuration | None = None
    barrier: int | None = None
    confirmed: int = 0  # as it was when /sync was seen
    sure: bool = False


@dataclass
class Attempt:
    """A candidate that took the leader key, on its way through the gate."""

    configurations: tuple[Configuration, ...] = ()
    promoted: Promotion | None = None
    missing: tuple[Shortfall, ...] | None = None
    timeline: int = 0  # that it will begin
    passed: bool = False


@dataclass
class Server:
    name: str
    log: list[Record] = field(default_factory=list)
    up: bool = True
    primary: bool = False
    term: int = 0  # the promotion that made it a primary
    upstream: str | None = None
    unread: bool = False  # it was started, and has read next to nothing of its log; it says no more than it has read
    leaving: bool = False  # its Patroni says that it stops, while it still streams
    synchronous: Synchronous = field(default_factory=lambda: Synchronous(0, frozenset()))
    heard: dict[str, int] = field(default_factory=dict)  # pg_stat_replication.flush_lsn
    ready: set[str] = field(default_factory=set)  # Patroni's _ready_replicas
    safe: int | None = None  # Patroni's _primary_flush_lsn
    plan: list[Transition] = field(default_factory=list)
    version: int = 0  # the revision of /sync that Patroni has seen last
    agent: Agent = field(default_factory=Agent)
    attempt: Attempt | None = None

    @property
    def timeline(self) -> int:
        return self.log[-1].timeline


@dataclass
class Etcd:
    revision: int
    leader: str | None
    sync: list[Configuration]  # oldest first, the last one is in force
    confirmed: int
    promoted: Promotion | None = None
    timeline: int = 1  # by /history

    def put_sync(self, leader: str, voters: frozenset[str], quorum: int) -> int:
        self.revision += 1
        self.sync.append(Configuration(self.revision, leader, voters, quorum))
        return self.revision


class Step(NamedTuple):
    name: str
    kind: str
    possible: Callable[[Servers, Server], bool]


STEPS: dict[str, Step] = {}


def step(
    kind: str, possible: Callable[[Servers, Server], bool]
) -> Callable[[Callable[[Servers, Server], None]], Callable[..., Servers]]:
    """A method that is one step of a server, and when it can be taken. It is called with the server's name."""

    def register(take: Callable[[Servers, Server], None]) -> Callable[..., Servers]:
        STEPS[take.__name__] = Step(take.__name__, kind, possible)

        @wraps(take)
        def checked(world: Servers, *names: str) -> Servers:
            for name in names:
                assert possible(world, world.servers[name]), f"{take.__name__} is not possible for {name}"
                take(world, world.servers[name])
            return world

        return checked

    return register


class Servers:
    def __init__(self, hosts: int = 3, variant: Variant = Variant()) -> None:
        names = [f"n{number}" for number in range(1, hosts + 1)]
        replicas = frozenset(names[1:])
        self.variant = variant
        self.servers = {name: Server(name, [Record(1, 0)], upstream=None if name == "n1" else "n1") for name in names}
        self.etcd = Etcd(1, "n1", [Configuration(1, "n1", replicas, len(replicas) - variant.wanted)], 1)
        self.acknowledged: set[int] = set()
        self.numbers = 0
        self.terms = 0
        self.lost: set[int] = set()  # acknowledged, and not in the log of one that was promoted
        self.split: set[int] = set()  # acknowledged by a primary after a later one was promoted
        self.broken = ""  # what Patroni's resolver raised last
        n1 = self.servers["n1"]
        n1.primary, n1.ready, n1.safe = True, set(replicas), 1
        n1.synchronous, n1.heard = Synchronous(variant.wanted, replicas), dict.fromkeys(replicas, 1)

    def possible(self, kind: str | None = None) -> list[tuple[str, str]]:
        """The steps that could be taken now, each with the name of its server."""
        steps = [one for one in STEPS.values() if kind in (None, one.kind)]
        return [(one.name, name) for one in steps for name in self.servers if self.can(one.name, name)]

    def can(self, step: str, name: str) -> bool:
        return bool(STEPS[step].possible(self, self.servers[name]))

    def source(self, replica: Server) -> Server | None:
        """The primary that it streams from."""
        one = self.servers.get(replica.upstream or "")
        return one if one and one.up and one.primary and replica.up else None

    def streaming(self, primary: Server) -> Iterator[Server]:
        return (one for one in self.servers.values() if self.source(one) is primary)

    def acknowledge(self, primary: Server) -> None:
        count, names = primary.synchronous.count, primary.synchronous.names
        reached = sorted((lsn for name, lsn in primary.heard.items() if names is None or name in names), reverse=True)
        upto = len(primary.log) if count == 0 or names == frozenset() else reached[count - 1] if len(reached) >= count else 0
        new = {one.number for one in primary.log[:upto] if one.timeline == primary.timeline} - self.acknowledged
        if primary.term < self.terms:
            self.split |= new
        self.acknowledged |= new

    def append(self, server: Server, timeline: int) -> None:
        self.numbers += 1
        server.log.append(Record(timeline, self.numbers))

    def disconnect(self, server: Server) -> None:
        """The replica's stream ends, or those of all its replicas."""
        for one in self.servers.values():
            if one is server or one.upstream == server.name:
                if one.upstream:
                    self.servers[one.upstream].heard.pop(one.name, None)
                one.upstream = None

    def holder(self) -> Server | None:
        one = self.servers.get(self.etcd.leader or "")
        return one if one and one.up and one.primary else None

    # PostgreSQL

    @step("replication", lambda world, one: one.up and one.primary)
    def write(self, primary: Server) -> None:
        self.append(primary, primary.timeline)
        self.acknowledge(primary)

    @step("replication", lambda world, one: (source := world.source(one)) is not None and len(one.log) < len(source.log))
    def receive(self, replica: Server) -> None:
        """One record more is on the replica's disk."""
        replica.log.append(self.servers[replica.upstream or ""].log[len(replica.log)])

    @step(
        "replication",
        lambda world, one: (source := world.source(one)) is not None and source.heard.get(one.name) != len(one.log),
    )
    def report(self, replica: Server) -> None:
        """The primary hears how far the replica is."""
        primary = self.servers[replica.upstream or ""]
        primary.heard[replica.name] = len(replica.log)
        self.acknowledge(primary)

    @step("network", lambda world, one: one.upstream is not None)
    def cut(self, replica: Server) -> None:
        self.disconnect(replica)

    @step(
        "network",
        lambda world, one: one.up and not one.primary and not one.attempt and world.holder() not in (None, world.source(one)),
    )
    def follow(self, replica: Server) -> None:
        """It streams from the leader, and is rewound before if it has what the leader has not."""
        primary = self.holder()
        assert primary
        self.disconnect(replica)
        same = next((i for i, (a, b) in enumerate(zip(replica.log, primary.log, strict=False)) if a != b), None)
        replica.log = replica.log[: len(primary.log) if same is None else same]
        replica.upstream, replica.leaving, replica.unread = primary.name, False, False

    # Failures

    @step("failure", lambda world, one: one.up)
    def crash(self, server: Server) -> None:
        self.disconnect(server)
        server.up, server.leaving, server.attempt = False, False, None
        server.heard.clear()
        self.forget(server)

    @step("failure", lambda world, one: not one.up)
    def restart(self, server: Server) -> None:
        """A primary that still has the key goes on as one, anybody else is a replica."""
        server.up = True
        server.primary = server.primary and self.etcd.leader == server.name
        server.unread = not server.primary

    @step("replication", lambda world, one: one.up and one.unread)
    def catch_up(self, server: Server) -> None:
        """It has read all of its own log."""
        server.unread = False

    @step("failure", lambda world, one: one.up and one.primary)
    def restart_patroni(self, server: Server) -> None:
        self.forget(server)

    def forget(self, server: Server) -> None:
        server.plan, server.ready, server.safe, server.agent = [], set(), None, Agent()

    @step("failure", lambda world, one: one.up and not one.primary and one.upstream is not None and not one.leaving)
    def leave(self, replica: Server) -> None:
        """It is being stopped in order: Patroni no longer counts it, while it still streams and confirms."""
        replica.leaving = True

    @step("etcd", lambda world, one: one.name == "n1" and len(world.etcd.sync) > 1)
    def compact(self, _: Server) -> None:
        """etcd forgets the earlier values of /sync."""
        del self.etcd.sync[:-1]

    @step("failover", lambda world, one: world.etcd.leader == one.name)
    def expire(self, holder: Server) -> None:
        """The leader key goes. What the lease promises is that its holder has stopped PostgreSQL by then."""
        if holder.up and holder.primary and not self.variant.zombie:
            Servers.crash(self, holder.name)
        self.etcd.leader = None

    @step("failover", lambda world, one: one.up and one.primary and world.etcd.leader != one.name)
    def demote(self, zombie: Server) -> None:
        """An old primary notices that it has lost the key."""
        Servers.crash(self, zombie.name)
        Servers.restart(self, zombie.name)
