"""The protocol of a failover as a model: servers, etcd, and every step that somebody takes alone.

The decisions are the real ones: Patroni's QuorumStateResolver and cluster/quorum.py. Around them are the parts that carry them
out, as small as they can be. Any step may come late, or never: that is for those who take them (test_protocol.py).
"""

from __future__ import annotations

from patroni.quorum import QuorumError, QuorumStateResolver
from protocol_servers import Agent, Attempt, Server, Servers, Synchronous, Variant, step

from cluster.quorum import Position, Promotion, confirms, shortfalls, unknown

__all__ = ["Variant", "World"]


class World(Servers):
    # Patroni of the primary: synchronous_standby_names and /sync, step by step from one look at both

    @step("patroni", lambda world, one: one.up and one.primary and world.etcd.leader == one.name)
    def look(self, primary: Server) -> None:
        sync = self.etcd.sync[-1]
        if primary.safe is None:
            self.synchronous_changed(primary)
        names = primary.synchronous.names or frozenset()
        active = {one.name for one in self.streaming(primary) if one.name in primary.heard and not one.leaving}
        primary.ready |= {name for name in active & names if primary.heard[name] >= (primary.safe or 0)}
        primary.version = sync.revision
        resolver = QuorumStateResolver(
            leader=sync.leader,
            quorum=sync.quorum,
            voters=sync.voters,
            numsync=primary.synchronous.count,
            sync=names,
            numsync_confirmed=len(primary.ready & active),
            active=active,
            sync_wanted=self.variant.wanted,
            leader_wanted=primary.name,
        )
        try:
            primary.plan = list(resolver)
        except (QuorumError, AssertionError) as e:  # Patroni logs "Unexpected exception", and does nothing until its next round
            primary.plan = []
            self.broken = repr(e)

    @step("patroni", lambda world, one: one.up and bool(one.plan))
    def apply(self, primary: Server) -> None:
        """The next step of Patroni's plan, though its leader key may be gone by now."""
        change = primary.plan.pop(0)
        names = frozenset(change.names)
        if change.transition_type == "sync":
            self.synchronise(primary, max(change.num, int(self.variant.strict)), names)
        elif change.transition_type == "quorum":
            if primary.version == self.etcd.sync[-1].revision:
                primary.version = self.etcd.put_sync(change.leader, names, change.num)
            else:
                primary.plan = []

    def synchronise(self, server: Server, count: int, names: frozenset[str]) -> None:
        server.synchronous = Synchronous(count, names or (None if count else names))
        if server.primary:
            self.synchronous_changed(server)
            self.acknowledge(server)
        else:
            server.safe = None

    def synchronous_changed(self, primary: Server) -> None:
        primary.ready &= primary.synchronous.names or frozenset()
        primary.safe = len(primary.log)

    @step("patroni", lambda world, one: world.holder() is one and one.timeline > world.etcd.timeline)
    def write_history(self, primary: Server) -> None:
        self.etcd.timeline = primary.timeline

    # The agent on the primary's host, which confirms configurations

    @step("agent", lambda world, one: one.up and one.primary and world.sees(one))
    def see(self, primary: Server) -> None:
        """It begins anew with whatever is in force, and reads the barrier anew."""
        barrier = None if self.variant.barrier_last else primary.agent.barrier
        primary.agent = Agent(self.etcd.sync[-1], barrier, self.etcd.confirmed)

    def sees(self, one: Server) -> bool:
        new = self.etcd.sync[-1]
        ready = self.variant.barrier_last or one.agent.barrier is not None
        return ready and new.leader == one.name and new.revision > self.etcd.confirmed and one.agent.configuration != new

    @step(
        "agent",
        lambda world, one: one.up and one.primary and one.agent.barrier is None
        and (one.agent.configuration is not None) == world.variant.barrier_last,
    )  # fmt: skip
    def measure(self, primary: Server) -> None:
        primary.agent.barrier = len(primary.log)

    @step("agent", lambda world, one: one.up and one.primary and not one.agent.sure and world.reached(one))
    def judge(self, primary: Server) -> None:
        primary.agent.sure = True

    def reached(self, one: Server) -> bool:
        agent = one.agent
        if agent.configuration is None or agent.barrier is None:
            return False
        return not self.variant.waits or confirms(agent.configuration, agent.barrier, one.heard)

    @step("agent", lambda world, one: one.up and one.agent.sure)
    def confirm(self, primary: Server) -> None:
        agent, primary.agent = primary.agent, Agent()
        if self.etcd.leader == primary.name and self.etcd.confirmed == agent.confirmed and agent.configuration:
            self.etcd.revision += 1
            self.etcd.confirmed = agent.configuration.revision

    # A candidate: the race of its Patroni, then the gate

    @step(
        "failover",
        lambda world, one: one.up and not one.primary and not one.attempt and world.etcd.leader in (None, one.name)
        and (world.variant.gate or world.wins(one)),
    )  # fmt: skip
    def take(self, candidate: Server) -> None:
        """It takes the leader key, or has it still. What it will demand from its replicas, Patroni derives from /sync now.

        With the gate it need not win the race before: the gate must do without, as in a failover by hand.
        """
        self.etcd.leader = candidate.name
        sync = self.etcd.sync[-1]
        count = len(sync.members) - sync.quorum - (1 if candidate.name in sync.members else 0)
        self.synchronise(candidate, count, sync.members - {candidate.name})
        candidate.attempt = Attempt(passed=not self.variant.gate)

    @step(
        "limit", lambda world, one: one.up and one.primary and world.etcd.leader is None and one.timeline >= world.etcd.timeline
    )
    def regain(self, zombie: Server) -> None:
        """A primary that was never stopped takes the key back: Patroni asks nobody, and no gate, before it lets it go on."""
        self.etcd.leader = zombie.name
        self.lost |= self.acknowledged - {one.number for one in zombie.log}

    def wins(self, candidate: Server) -> bool:
        """Patroni's own race (_is_healthiest_node), without the gate the only judge."""
        sync = self.etcd.sync[-1]
        if candidate.timeline < self.etcd.timeline:
            return False
        others = [self.servers[name] for name in sync.members - {candidate.name} if self.servers[name].up]
        ahead = [one for one in others if len(one.log) > len(candidate.log)]
        if any(one.primary for one in others) or any(one.name != sync.leader for one in ahead):
            return False
        votes = len(others) - len(ahead)
        return votes >= sync.votes_needed(candidate.name) or (not ahead and candidate.name == sync.leader)

    @step("gate", lambda world, one: world.etcd.leader == one.name and world.undecided(one) and not one.attempt.configurations)
    def read(self, candidate: Server) -> None:
        """The keys, in one transaction."""
        assert candidate.attempt
        since = self.etcd.sync[-1].revision if not self.variant.whole_history else self.etcd.confirmed
        known = tuple(one for one in self.etcd.sync if one.revision >= since)
        gap = (unknown(known[-1].leader, self.servers),) if known[0].revision > since else ()
        candidate.attempt.configurations = gap + known
        candidate.attempt.promoted = self.etcd.promoted if self.variant.leaders_age else None

    def undecided(self, one: Server) -> bool:
        return one.up and not one.primary and one.attempt is not None and not one.attempt.passed

    @step("gate", lambda world, one: world.undecided(one) and one.attempt.configurations and one.attempt.missing is None)
    def ask(self, candidate: Server) -> None:
        """Everybody who is there and in recovery says how far it is."""
        assert candidate.attempt
        configurations = candidate.attempt.configurations
        asked = [self.servers[name] for name in {name for one in configurations for name in one.members} | {candidate.name}]
        answering = [one for one in asked if one.up and (self.variant.primaries_vote or not one.primary)]
        heard = [one for one in answering if not (one.unread and self.variant.own_log)]
        candidate.attempt.missing = shortfalls(
            candidate.name,
            self.position(candidate),
            configurations,
            {one.name: self.position(one) for one in heard},
            candidate.attempt.promoted,
        )
        if self.variant.deaf:
            for one in answering:
                self.disconnect(one)

    def position(self, one: Server) -> Position:
        """As it says itself."""
        told = one.log[:1] if one.unread else one.log
        return Position(told[-1].timeline if self.variant.timelines else 0, len(told))

    @step("gate", lambda world, one: world.undecided(one) and one.attempt.missing is not None)
    def decide(self, candidate: Server) -> None:
        """Claims /sync and passes, or gives the key back."""
        assert candidate.attempt
        seen, now = candidate.attempt.configurations[-1], self.etcd.sync[-1]
        mine = self.etcd.leader == candidate.name
        if candidate.attempt.missing or not mine or (self.variant.claims and now != seen):
            self.etcd.leader = None if mine else self.etcd.leader
            candidate.attempt = None
            return
        candidate.attempt.passed = True
        if self.variant.claims:
            self.etcd.put_sync(now.leader, now.voters, now.quorum)
        else:
            self.etcd.revision += 1
        last = self.etcd.promoted if self.variant.reserves else None
        candidate.attempt.timeline = max(candidate.timeline, last.begun_by_another(candidate.name) if last else 0) + 1
        self.etcd.promoted = Promotion(candidate.name, self.etcd.revision, candidate.attempt.timeline)

    @step("gate", lambda world, one: one.attempt is not None and one.up and world.etcd.leader != one.name)
    def give_up(self, candidate: Server) -> None:
        """It notices that the key is not its own any more."""
        candidate.attempt = None

    @step(
        "gate",
        lambda world, one: one.up and one.attempt is not None and one.attempt.passed
        and (world.etcd.leader == one.name or world.variant.late),
    )  # fmt: skip
    def promote(self, candidate: Server) -> None:
        assert candidate.attempt
        timeline = candidate.attempt.timeline or candidate.timeline + 1
        self.disconnect(candidate)
        self.terms += 1
        candidate.primary, candidate.term, candidate.attempt = True, self.terms, None
        candidate.heard.clear()
        self.lost |= self.acknowledged - {one.number for one in candidate.log}
        self.append(candidate, timeline)
        self.acknowledge(candidate)
