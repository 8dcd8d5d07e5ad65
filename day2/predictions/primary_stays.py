"""What should come of faults that leave the primary where it is, from the timers that run. Pure; durations in seconds."""

from __future__ import annotations

from dataclasses import replace

from cluster.timing import PROMOTE_SECONDS, WAL_SENDER_SECONDS, Timing

from .durability import Durability
from .prediction import Effect, Prediction

# A write that nothing holds up, on a busy machine; writers that have lost their connection begin again within it.
HICCUP_SECONDS = 1.0
# What the writers' own sessions do (CONNECT in day2/load/sessions.py): how long a statement on its way may stay unacknowledged,
# which the kernel looks at when it sends it again; how long a host is asked that does not let them in; how soon one that waits
# for an answer learns that the other end knows nothing of it.
CLIENT_SECONDS, CONNECT_SECONDS, KEEPALIVE_SECONDS = 4.0, 2.0, 2.0
PATRONI_START_SECONDS = 1.0
HAPROXY_START_SECONDS = 2.0
ETCD_START_SECONDS = 5.0
# Patroni starts a replica, which connects to its primary.
REPLICA_START_SECONDS = 15.0
# PostgreSQL tries a file three times, with a second between; each try may take ten (io-timeout in pgbackrest.conf).
ARCHIVE_TRIES_SECONDS = 40.0
NO_REPLICA = "no replica is left to confirm writes, and without_replica is wait: they wait until one is back"


def cut_from_haproxy(timing: Timing) -> Prediction:
    """Patroni, etcd and PostgreSQL see no fault: the primary stays, out of reach."""
    back = timing.connect_check + timing.routed_seconds() + HICCUP_SECONDS
    return Prediction(
        Effect.STOPS,
        within=back,
        hold=timing.ttl + timing.loop_wait,
        why="Patroni and etcd see no fault, so nobody takes over; once healed, HAProxy's next check brings writes back",
        phases={"old_out": timing.taken_out(timing.connect_check)},
    )


def replicas_lost(timing: Timing, durability: Durability, *, etcd_quorum: bool, left: int, waited_for: bool) -> Prediction:
    """Hosts of replicas are off; `left` others stay, and `waited_for` says whether writes waited for one that is lost."""
    if not etcd_quorum:
        return Prediction(
            Effect.STOPS,
            within=resumed(timing),
            hold=timing.ttl + timing.loop_wait,
            may_lose=durability.asynchronous,
            why="without a majority of etcd nobody may lead, and failsafe_mode needs an answer of every member: the primary"
            " steps down",
            unread="nobody leads, and the replicas are off, until they are back",
        )
    return replicas_silent(
        timing, durability, "the primary, etcd's majority and HAProxy are healthy", left=left, waited_for=waited_for
    )


def resumed(timing: Timing) -> float:
    """From when hosts that were down have booted until writes go on."""
    etcd = ETCD_START_SECONDS + 2 * timing.election_ms / 1000 + timing.retry_timeout
    return etcd + 2 * timing.loop_wait + PROMOTE_SECONDS + timing.routed_seconds()


def replica_lags(timing: Timing, durability: Durability, *, waited_for: bool, message: float) -> Prediction:
    """A replica gets its WAL slowly; `waited_for`: writes wait for it, and a `message` of the stream takes so many seconds."""
    hold = WAL_SENDER_SECONDS + 2 * timing.loop_wait
    if durability.asynchronous or not (waited_for or durability.of_all):
        return keeps_running("no write waits for the replica that lags", hold)
    why = "every write waits for the replica that lags, so they go at its pace"
    return keeps_running(why, hold, within=message + HICCUP_SECONDS)


def replicas_silent(timing: Timing, durability: Durability, why: str, *, left: int, waited_for: bool) -> Prediction:
    """The primary stays, and loses replicas without a word; `left` and `waited_for` as above."""
    if durability.stops(left):
        within = REPLICA_START_SECONDS + WAL_SENDER_SECONDS
        return Prediction(Effect.STOPS, within=within, hold=WAL_SENDER_SECONDS + 2 * timing.loop_wait, why=f"{why}; {NO_REPLICA}")
    waits = not durability.asynchronous and (waited_for or durability.of_all or left == 0)
    if not waits:
        return keeps_running(f"{why}, and no write waits for what is lost", hold=WAL_SENDER_SECONDS + 2 * timing.loop_wait)
    within = WAL_SENDER_SECONDS + 2 * timing.loop_wait + HICCUP_SECONDS
    return Prediction(
        Effect.KEEPS_RUNNING,
        within=within,
        hold=within + timing.loop_wait,
        why=f"{why}; writes wait until the silent replica is given up: wal_sender_timeout ({WAL_SENDER_SECONDS:g} s) and"
        " Patroni's next rounds",
    )


def replicas_stopped(timing: Timing, durability: Durability) -> Prediction:
    """PostgreSQL and Patroni of all replicas are stopped in order, and their hosts stay."""
    hold = timing.ttl + timing.loop_wait
    if durability.stops(left=0):
        return Prediction(Effect.STOPS, within=REPLICA_START_SECONDS, hold=hold, why=NO_REPLICA)
    if durability.asynchronous:
        return keeps_running("no write waits for a replica", hold)
    why = f"the primary gives up replicas that left in Patroni's next rounds (loop_wait {timing.loop_wait} s), and goes on alone"
    return keeps_running(why, hold, within=2 * timing.loop_wait + HICCUP_SECONDS)


def repository_away() -> Prediction:
    """Write-ahead log can't be archived. Held until PostgreSQL has given up its three tries for the first time."""
    return keeps_running("no write waits for the archive, and what is not archived waits in pg_wal", hold=ARCHIVE_TRIES_SECONDS)


def keeps_running(why: str, hold: float, within: float = HICCUP_SECONDS) -> Prediction:
    """The primary stays, and writes stop for `within` at most."""
    return Prediction(Effect.KEEPS_RUNNING, within=within, hold=hold, why=why)


def patroni_restarts(timing: Timing) -> Prediction:
    """Patroni of the primary is killed, and systemd starts it again."""
    hold = timing.loop_wait + timing.retry_timeout
    why = "systemd starts Patroni again before HAProxy's checks have failed often enough, and long before ttl is over"
    return keeps_running(why, hold, within=PATRONI_START_SECONDS)


def haproxy_restarts(timing: Timing, *, others: int) -> Prediction:
    """HAProxy of one host is killed, and systemd starts it again; clients can go to so many `others`."""
    if others:
        return keeps_running("clients go to another HAProxy", hold=HAPROXY_START_SECONDS * 2)
    why = "systemd starts HAProxy again at once, and its first check finds the primary"
    within = HAPROXY_START_SECONDS + timing.routed_seconds()
    unread = f"the only HAProxy is down, for {HAPROXY_START_SECONDS:g} s at most"
    return replace(keeps_running(why, HAPROXY_START_SECONDS * 2, within), unread=unread)


def proxy_lost(timing: Timing, *, by_address: bool) -> Prediction:
    """A proxy host is gone without a word, and clients go to another one."""
    if not by_address:
        why = "clients give up a session that is not answered, and go to the next host of their list"
        within = CLIENT_SECONDS + CONNECT_SECONDS + HICCUP_SECONDS
        return keeps_running(why, hold=2 * within, within=within)
    moves = timing.entry_moves[1]
    within = max(moves, CLIENT_SECONDS) + CONNECT_SECONDS + HICCUP_SECONDS
    why = f"another proxy host has the address within {moves:g} s (advert_ms {timing.advert_ms}), and ends sessions not its own"
    predicted = keeps_running(why, hold=2 * within, within=within)
    return replace(predicted, unread="nobody has the address until then", phases={"moved": timing.entry_moves})


def proxy_hangs(timing: Timing, *, by_address: bool) -> Prediction:
    """HAProxy on a proxy host is there and does nothing. Connections to it are made by the kernel, and not answered."""
    hold = 2 * timing.entry_leaves[1]
    if not by_address:
        return Prediction(
            Effect.STOPS,
            within=HICCUP_SECONDS + CONNECT_SECONDS,
            hold=hold,
            why="its host keeps open sessions alive, and whoever waits for an answer without a limit waits until it goes on; a"
            " new connection goes to the next host of the list after its connect_timeout",
        )
    leaves = timing.entry_leaves[1]
    within = leaves + KEEPALIVE_SECONDS + CONNECT_SECONDS + HICCUP_SECONDS
    why = f"keepalived's check sees it and the address is with another proxy host within {leaves:g} s, which ends the sessions"
    predicted = keeps_running(why, hold=hold, within=within)
    return replace(predicted, unread="HAProxy answers nobody until then", phases={"moved": timing.entry_leaves})


def etcd_restarts(timing: Timing, *, leader: bool) -> Prediction:
    """A member of etcd, its `leader` or another, is killed, and systemd starts it again."""
    election = 2 * timing.election_ms / 1000
    why = f"the others elect a leader within {election:.1f} s" if leader else "the others are a majority"
    why += f", and Patroni tries for retry_timeout ({timing.retry_timeout} s)"
    return keeps_running(why, hold=timing.loop_wait + timing.retry_timeout + election)


def etcd_gone(timing: Timing) -> Prediction:
    """All members of etcd are stopped."""
    why = "failsafe_mode: every member answers the primary, so it goes on without etcd"
    return keeps_running(why, hold=timing.ttl + 2 * timing.loop_wait)
