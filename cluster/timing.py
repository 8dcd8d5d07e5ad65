"""The timers of a failover: one profile sets Patroni, etcd, HAProxy and keepalived, which only make sense together."""

from __future__ import annotations

from math import ceil
from typing import Literal

from pydantic import BaseModel, ConfigDict

ProfileName = Literal["lan", "standard", "wan"]
# The earliest and the latest moment of something, in seconds after the fault.
Span = tuple[float, float]

# What a promotion costs once the leader key is gone, in seconds: every candidate asks all other members how far they
# are, and waits this long for the dead one (the request timeout in Patroni's ha.py) ...
ASK_MEMBERS_SECONDS = 2.0
# (on the same network it is known to be gone sooner: three questions of the kernel, so far apart) ...
NEIGHBOUR_RETRANS_MS = 100
# ... then PostgreSQL ends recovery, takes a new timeline and lets the REST API say so.
PROMOTE_SECONDS = 1.5
# etcd looks for expired leases twice a second (server/lease/lessor.go, revoke loop).
LEASE_REVOKE_SECONDS = 0.5
# One round of Patroni's loop, when all it asks answer: how late the leader key may be renewed, and how long a race takes.
ROUND_SECONDS = 0.5
# How much later than the leader's a replica's round of Patroni begins (dcs/etcd3.py, watch).
REPLICA_PAUSE_SECONDS = 0.5
# With fewer members of etcd than that, none can be lost.
LEAST_MEMBERS = 3
# HAProxy's `timeout check` (templates/haproxy/haproxy.cfg.j2), and how long it goes on trying to connect for a client.
CHECK_SECONDS = 2.0
RETRY_SECONDS = 3.0
# keepalived's check of HAProxy on its own host: how often, how long it may take, and how many in a row move the address away
# (templates/keepalived). One that fails at once, as HAProxy is started anew, is no reason to.
ENTRY_CHECK_SECONDS, ENTRY_ANSWER_SECONDS, ENTRY_FALL = 1.0, 2.0, 2
# How often it tells the network anew where the address is.
ENTRY_REFRESH_SECONDS = 10
# PostgreSQL's wal_sender_timeout: after that a replica that says nothing is no longer counted (cluster/dynamic_config.py).
WAL_SENDER_SECONDS = 10.0
# VRRP counts hundredths of a second, in 12 bits; more often than that is a burden to a busy host.
LEAST_ADVERT_MS, MOST_ADVERT_MS = 100, 40_000


class Timing(BaseModel):
    """Timers of one profile. Names as in the programs' own documentation; units in the comments."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Patroni, seconds
    ttl: int
    loop_wait: int
    retry_timeout: int
    primary_start_timeout: int = 0
    primary_stop_timeout: int = 15
    # etcd, milliseconds
    heartbeat_ms: int
    election_ms: int
    # HAProxy, milliseconds and counts
    connect_ms: int  # for clients; for checks with their TLS handshake; and the wait before a server that refused is tried again
    inter_ms: int
    fastinter_ms: int
    downinter_ms: int
    fall: int  # so many that systemd has time to start a Patroni that died, which is no reason to leave its primary
    rise: int = 1
    # keepalived, milliseconds: how often the proxy host that has the address says so
    advert_ms: int = 500

    def problems(self) -> list[str]:
        """What Patroni or etcd would silently change or refuse, as sentences; empty when all is well.

        Patroni raises or lowers timers that break its rule without an error (patroni/config.py), etcd refuses to start.
        """
        found = []
        if self.ttl < 20:
            found.append(f"ttl = {self.ttl}: Patroni's minimum is 20 seconds")
        if self.loop_wait < 1:
            found.append(f"loop_wait = {self.loop_wait}: Patroni's minimum is 1 second")
        if self.retry_timeout < 3:
            found.append(f"retry_timeout = {self.retry_timeout}: Patroni's minimum is 3 seconds")
        needed = self.loop_wait + 2 * self.retry_timeout
        if needed > self.ttl:
            found.append(
                f"ttl = {self.ttl}: must be at least loop_wait + 2 * retry_timeout"
                f" = {self.loop_wait} + 2 * {self.retry_timeout} = {needed} seconds"
            )
        if self.election_ms < 5 * self.heartbeat_ms:
            found.append(f"election_ms = {self.election_ms}: etcd needs at least 5 * heartbeat_ms = {5 * self.heartbeat_ms}")
        latest, earliest = self.taken_out(self.connect_check)[1], self.key_gone(etcd_leader_lost=False)[0]
        if latest >= earliest:
            found.append(
                f"inter_ms, fastinter_ms, fall: HAProxy would take a primary whose Patroni is dead out after up to {latest:g} s,"
                f" and another may lead after {earliest:g} s (ttl - loop_wait): it has to be sooner"
            )
        if self.advert_ms % 10 or not LEAST_ADVERT_MS <= self.advert_ms <= MOST_ADVERT_MS:
            found.append(f"advert_ms = {self.advert_ms}: should be from {LEAST_ADVERT_MS} to {MOST_ADVERT_MS}, in steps of 10")
        for name in Timing.model_fields.keys() - {"ttl", "loop_wait", "retry_timeout", "advert_ms"}:
            lowest = 0 if name in ("primary_start_timeout", "primary_stop_timeout") else 1
            if getattr(self, name) < lowest:
                found.append(f"{name} = {getattr(self, name)}: should be at least {lowest}")
        return found

    @property
    def read_fall(self) -> int:
        """How many failed checks take a replica out of reads: when PostgreSQL crashes on the primary, no replica streams until
        Patroni has noticed, at its next loop, and gives the leader key away."""
        return ceil(self.loop_wait * 1000 / self.fastinter_ms) + 2

    @property
    def read_rise(self) -> int:
        """How many good checks bring a replica into reads: an old primary streams for moments before Patroni, at its next loop,
        sees that it has rows the new one has not, and rewinds it. A HAProxy that starts needs one good check only."""
        return ceil((self.loop_wait + ROUND_SECONDS) * 1000 / self.downinter_ms) + 1

    def routed_seconds(self) -> float:
        """Seconds until HAProxy has noticed a promotion, at most: `rise` checks at `downinter`, and the check's own time."""
        return self.rise * self.downinter_ms / 1000 + 0.5

    def key_gone(self, *, etcd_leader_lost: bool) -> Span:
        """When the leader key of a holder that renews it no more goes.

        It was renewed up to a round of Patroni's loop before. An etcd leader that was elected meanwhile (after one to two
        election timeouts) gives every lease its full time again, and an election timeout on top.
        """
        if etcd_leader_lost:
            election = self.election_ms / 1000
            return self.ttl + 2 * election, self.ttl + 3 * election + LEASE_REVOKE_SECONDS
        return self.ttl - self.loop_wait - ROUND_SECONDS, self.ttl + LEASE_REVOKE_SECONDS

    @property
    def etcd_left(self) -> float:
        """How long a Patroni goes on with a member of etcd that is gone without a word, at most, and hears of no change: until
        its next round (a replica's begins half a second later), in which it waits for its share of retry_timeout before it asks
        the next of three members (patroni/dcs/etcd.py)."""
        return self.loop_wait + REPLICA_PAUSE_SECONDS + self.retry_timeout / LEAST_MEMBERS

    def taken_out(self, check: float) -> Span:
        """When HAProxy sends no more to a server whose checks fail, each after `check` seconds: `fall` of them, the next one
        due in up to `inter`, the others `fastinter` apart."""
        fast = self.fastinter_ms / 1000
        more = self.fall - 1
        return more * max(check, fast) + check, self.inter_ms / 1000 + more * (check + fast) + check

    @property
    def entry_moves(self) -> Span:
        """When another proxy host takes the address of one that is gone: after three advertisements that did not come, the next
        one due in up to their interval, and up to one more, by priority (RFC 5798, 6.1)."""
        advert = self.advert_ms / 1000
        return 2 * advert, 4 * advert

    @property
    def entry_leaves(self) -> Span:
        """When the address leaves a host whose HAProxy hangs: the checks, then another host takes it as soon as it is told."""
        checks = ENTRY_FALL * ENTRY_ANSWER_SECONDS
        return checks, ENTRY_FALL * ENTRY_CHECK_SECONDS + checks + self.advert_ms / 1000

    @property
    def connect_check(self) -> float:
        """How long a check lasts that gets no connection: no longer than `inter`."""
        return min(self.connect_ms, self.inter_ms) / 1000

    @property
    def connect_retries(self) -> int:
        """How often a client's connection is tried again. When all servers refuse, as when PostgreSQL has crashed and nobody
        leads yet, HAProxy waits for `timeout connect` (a second at most) each time: clients are let in so much after the new
        primary is there."""
        return ceil(RETRY_SECONDS * 1000 / min(self.connect_ms, 1000))


PROFILES: dict[ProfileName, Timing] = {
    # Hosts in one building: round trips under 1 ms.
    "lan": Timing(
        ttl=20,
        # The key of a lost host goes the sooner the longer ago it was renewed: each second here takes half of one from that.
        # A crashed PostgreSQL does not wait for it (agents/wake_patroni.py); one that hangs does, and so do changes.
        loop_wait=3,
        retry_timeout=5,
        heartbeat_ms=100,
        election_ms=1000,
        connect_ms=500,
        inter_ms=1000,
        fastinter_ms=500,
        downinter_ms=500,
        fall=6,
    ),
    # Patroni's own defaults: hosts in one region, or disks and networks that stall for seconds.
    "standard": Timing(
        ttl=30,
        loop_wait=10,
        retry_timeout=10,
        heartbeat_ms=100,
        election_ms=1000,
        connect_ms=1000,
        inter_ms=2000,
        fastinter_ms=1000,
        downinter_ms=1000,
        fall=4,
        advert_ms=1000,
    ),
    # Hosts in several regions: round trips up to 100 ms.
    "wan": Timing(
        ttl=60,
        loop_wait=10,
        retry_timeout=20,
        heartbeat_ms=500,
        election_ms=5000,
        connect_ms=2000,
        inter_ms=3000,
        fastinter_ms=1500,
        downinter_ms=1500,
        fall=3,
        advert_ms=1000,
    ),
}
