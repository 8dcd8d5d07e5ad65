"""What should come of faults that take the primary away, from the timers that run. Pure; durations in seconds.

The reasons are in Patroni's source (4.1): ha.py, dcs/etcd3.py, api.py. Spans are the earliest and the latest moment after
the fault; what follows from another adds to both.
"""

from __future__ import annotations

from dataclasses import replace

from agents.pulse import LOST_SECONDS
from cluster.timing import (
    ASK_MEMBERS_SECONDS,
    CHECK_SECONDS,
    NEIGHBOUR_RETRANS_MS,
    PROMOTE_SECONDS,
    ROUND_SECONDS,
    WAL_SENDER_SECONDS,
    Span,
    Timing,
)

from .durability import Durability
from .prediction import Effect, Prediction
from .primary_stays import NO_REPLICA, REPLICA_START_SECONDS, replicas_silent, resumed

# Between the new leader's promotion and a replica that streams from it: it is told of by etcd, reloads, and connects.
FOLLOW_SECONDS = 1.5
# How candidates fare with the old leader's Patroni: it answers or refuses at once; or it says nothing; or its host is off,
# which the kernel finds out by itself if it is on the same network.
AT_ONCE: Span = (0.0, ROUND_SECONDS)
SILENT: Span = (ASK_MEMBERS_SECONDS, ASK_MEMBERS_SECONDS + ROUND_SECONDS)
OFF: Span = (3 * NEIGHBOUR_RETRANS_MS / 1000, SILENT[1])
# A primary's fast stop; a server that panics, tries again, and gives up.
STOP_SECONDS = 2.0
CRASH_SECONDS = 3.0


def add_spans(span: Span, more: Span) -> Span:
    """When what takes `more` from a moment in `span` on is done."""
    return span[0] + more[0], span[1] + more[1]


def _failover(
    timing: Timing,
    durability: Durability,
    *,
    key_gone: Span,
    asks: Span,
    old_out: Span,
    why: str,
    loses: bool,
    since: float = 0.0,
    returns: bool = False,
) -> Prediction:
    """A failover that begins when the leader key goes. Writes stop `since` the fault at the earliest; `returns`: the old primary
    is soon back as a replica.

    HAProxy believes the holder of the key, so it may send writes there before the promotion ends. Except with asynchronous
    replication, the first write waits for a replica, and one that lost the race asks all members once more.
    """
    new_leader = add_spans(key_gone, asks)
    phases = {
        "old_out": old_out,
        "key_gone": key_gone,
        "new_leader": new_leader,
        "promoted": add_spans(new_leader, (0.0, PROMOTE_SECONDS)),
        "routed": add_spans(new_leader, (0.0, timing.routed_seconds())),
    }
    needed = ["promoted", "routed"]
    if not durability.asynchronous:
        phases["followed"] = add_spans(new_leader, (0.0, asks[1] + FOLLOW_SECONDS))
        needed.append("followed")
    if durability.stops(left=durability.replicas - 1) and not returns:
        return _until_back(timing, phases, why)
    first = tuple(max(phases[step][end] for step in needed) for end in (0, 1))
    phases["first_write"] = (first[0], first[1] + ROUND_SECONDS + _old_given_up(timing, durability, returns=returns))
    return Prediction(
        Effect.FAILS_OVER,
        within=phases["first_write"][1] - since,
        why=why,
        may_lose=loses and durability.asynchronous,
        phases=phases,
    )


def _old_given_up(timing: Timing, durability: Durability, *, returns: bool) -> float:
    """How much longer than for a replica that follows the first write may have to wait: until the old primary, for which the
    new one waits too (`all`) or alone (there is no other replica), is back, or Patroni's rounds have found it gone."""
    if durability.asynchronous or not (durability.of_all or durability.replicas == 1):
        return 0.0
    return REPLICA_START_SECONDS if returns and durability.replicas == 1 else timing.loop_wait + 2 * ROUND_SECONDS


def _until_back(timing: Timing, phases: dict[str, Span], why: str) -> Prediction:
    """A failover to the only replica, where writes wait for the old primary to come back as one."""
    there = {step: span for step, span in phases.items() if step != "followed"}
    latest = max(span[1] for span in there.values())
    return Prediction(
        Effect.STOPS,
        within=REPLICA_START_SECONDS + 2 * timing.loop_wait,
        hold=latest + timing.loop_wait,
        why=f"{why}; the only replica takes over; {NO_REPLICA}",
        phases=there,
    )


def host_lost(
    timing: Timing, durability: Durability, *, etcd_leader_lost: bool, off: bool = True, guards: bool = False
) -> Prediction:
    """The primary's host is gone without a word: without power (`off`), or out of reach. Where there are `guards` the leader key
    may go before the lease ends; what they leave to the lease comes no later than without them."""
    why = f"the leader key outlives its holder by up to ttl ({timing.ttl} s)"
    if etcd_leader_lost:
        why += ", and the new etcd leader gives it that time anew"
    lost = _failover(
        timing,
        durability,
        key_gone=timing.key_gone(etcd_leader_lost=etcd_leader_lost),
        asks=OFF if off else SILENT,
        old_out=(timing.taken_out(OFF[0] if off else timing.connect_check)[0], timing.taken_out(timing.connect_check)[1]),
        why=f"{why}; every candidate waits up to {ASK_MEMBERS_SECONDS:g} s for its answer",
        loses=True,
    )
    if not guards or lost.phases is None:
        return lost
    phases = {key: (min(earliest, LOST_SECONDS), latest) for key, (earliest, latest) in lost.phases.items()}
    return replace(lost, phases=phases, why=f"the guards give it up within seconds, or {lost.why}")


def processes_killed(timing: Timing, durability: Durability) -> Prediction:
    """PostgreSQL and Patroni are dead, and their host says so to whoever asks."""
    killed = _failover(
        timing,
        durability,
        key_gone=timing.key_gone(etcd_leader_lost=False),
        asks=AT_ONCE,
        old_out=timing.taken_out(0),
        why=f"the leader key outlives its holder by up to ttl ({timing.ttl} s); the dead host refuses connections at once",
        loses=True,
    )
    # Soon after the fault HAProxy takes replicas that don't stream out; while the key lives, that nobody leads is not known.
    until = f"until HAProxy sends writes to the new primary, at most {killed.phases['routed'][1]:.1f} s" if killed.phases else ""
    return replace(killed, unread=f"no replica streams from a dead primary, {until}")


def postgres_crashed(timing: Timing, durability: Durability) -> Prediction:
    """The postmaster is dead, and Patroni, which lives, gives the key away in its next round (primary_start_timeout 0): at
    once if it is told (agents/wake_patroni.py)."""
    return _failover(
        timing,
        durability,
        key_gone=(0.0, timing.loop_wait + 2 * ROUND_SECONDS),
        asks=AT_ONCE,
        old_out=add_spans((0.0, timing.loop_wait + 2 * ROUND_SECONDS), timing.taken_out(0)),
        why=f"Patroni is told at once, or sees it in its next round (loop_wait, {timing.loop_wait} s), and gives the key away",
        loses=True,
        returns=True,
    )


def disk_full(timing: Timing, durability: Durability) -> Prediction:
    """PostgreSQL panics, restarts by itself, and can't, for want of room."""
    gone = (0.0, timing.loop_wait + 2 * ROUND_SECONDS + CRASH_SECONDS)
    return _failover(
        timing,
        durability,
        key_gone=gone,
        asks=AT_ONCE,
        old_out=add_spans(gone, timing.taken_out(0)),
        why="PostgreSQL panics where it can't write its log, can't start again, and Patroni gives the key away",
        loses=True,
    )


def postgres_hangs(timing: Timing, durability: Durability) -> Prediction:
    """Patroni waits for an answer of PostgreSQL that never comes, and meanwhile renews nothing and answers nobody."""
    return _failover(
        timing,
        durability,
        key_gone=timing.key_gone(etcd_leader_lost=False),
        asks=SILENT,
        old_out=timing.taken_out(CHECK_SECONDS),
        why=f"Patroni hangs with PostgreSQL, so the leader key is left to expire (ttl {timing.ttl} s)",
        loses=True,
    )


def patroni_gone(timing: Timing, durability: Durability, *, answers: bool) -> Prediction:
    """PostgreSQL lives on, and writes go on until HAProxy hears no Patroni; `answers`: its host still takes connections."""
    old_out = timing.taken_out(timing.connect_check if answers else 0)
    return _failover(
        timing,
        durability,
        key_gone=timing.key_gone(etcd_leader_lost=False),
        asks=SILENT if answers else AT_ONCE,
        old_out=old_out,
        since=old_out[0],
        why=f"HAProxy takes the old primary out within {old_out[1]:.1f} s; the leader key goes after ttl ({timing.ttl} s)",
        # Until the new primary is promoted, the old one sends it all it has, long after its last client was cut off.
        loses=False,
    )


def cut_from_replicas(timing: Timing, durability: Durability, *, etcd_lost: bool) -> Prediction:
    """The primary reaches clients, but no replica, and either no majority of etcd (`etcd_lost`) or all of it."""
    if not etcd_lost:
        return replicas_silent(timing, durability, "etcd is elsewhere and sees no fault", left=0, waited_for=True)
    # Patroni asks etcd for retry_timeout, then the other members twice, then stops PostgreSQL, which waits for its replicas.
    asked = timing.retry_timeout + 2 * ASK_MEMBERS_SECONDS
    demoted = (timing.retry_timeout * 1.0, timing.loop_wait + asked + WAL_SENDER_SECONDS + ROUND_SECONDS)
    return _failover(
        timing,
        durability,
        key_gone=timing.key_gone(etcd_leader_lost=False),
        asks=SILENT,
        old_out=add_spans(demoted, timing.taken_out(0)),
        why=f"the primary's host is with a minority of etcd: the leader key goes after ttl ({timing.ttl} s), and by then the old"
        " primary has stepped down by itself",
        loses=True,
    )


def window_left(timing: Timing, durability: Durability, *, noticed: float, returns: bool) -> Prediction:
    """The replica that has everything leaves, and when it is taken off the list of voters, `noticed` seconds after it left at
    the latest, the primary's host is lost. The other one lags. Writes stop when the first one leaves.

    `returns`: it comes back by itself, and then leads; a laggard that takes the key first has to give it back.
    """
    if not returns:
        return Prediction(
            Effect.STOPS,
            within=resumed(timing),
            hold=timing.ttl + 4 * timing.loop_wait,
            why="the replica that is left lacks acknowledged writes, so nobody may lead until the other or the primary is back",
        )
    lost = host_lost(timing, durability, etcd_leader_lost=False)
    phases = lost.phases or {}
    return replace(
        lost,
        within=lost.within + noticed + timing.loop_wait,
        why=f"{lost.why}; who leads is the replica that has everything, which is back by then",
        phases={key: phases[key] for key in ("old_out", "key_gone")},
    )


def switched_over(timing: Timing, *, held: bool = False, more: float = 0.0) -> Prediction:
    """A planned change of the primary. `held`: clients wait meanwhile; `more`: what transactions may take to end before,
    beyond what is usual."""
    within = STOP_SECONDS + timing.loop_wait + PROMOTE_SECONDS + timing.routed_seconds() + more
    why = (
        f"the old primary stops (its checkpoint is done before), the new one takes over in Patroni's next round ({within:.1f} s)"
    )
    return Prediction(Effect.FAILS_OVER, within=within, why=why, unnoticed=held)
