"""Is a failover possible this minute, and if not, why: for every member, by the rules Patroni itself will apply.

The rules are those of Patroni 4.1 (patroni/ha.py, is_healthiest_node and _is_healthiest_node), and that of the promotion gate
(cluster/quorum.py), which includes Patroni's about quorums.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cluster.topology import Cluster

from ..dcs import Dcs
from ..finding import Finding, finding, ok
from ..view import ClusterView, HostView
from .holders import in_words, lacking, positions

# Patroni's default where the DCS has none.
MAXIMUM_LAG_DEFAULT = 1024**2


@dataclass(frozen=True)
class Candidate:
    """A member that does not lead, and every reason why it could not take over now."""

    name: str
    reasons: tuple[str, ...]

    @property
    def able(self) -> bool:
        return not self.reasons


def candidates(view: ClusterView, cluster: Cluster) -> tuple[Candidate, ...]:
    """Every PostgreSQL host but the leader's, judged as if the leader's host died now."""
    names = [h.name for h in cluster.postgres_hosts if h.name != view.leader]
    return tuple(Candidate(name, tuple(_reasons(view, cluster, view.hosts[name]))) for name in names)


def blockers(view: ClusterView, cluster: Cluster) -> tuple[str, ...]:
    """Why nobody at all could take over, as sentences; empty when somebody could."""
    return tuple(text for _, text in _blockers(view, cluster))


def _blockers(view: ClusterView, cluster: Cluster) -> Iterator[tuple[str, str]]:
    """The same, each with its rule."""
    found = [*_obstacles(view, cluster)]
    yield from found
    if (not found or view.leader is None) and not any(candidate.able for candidate in candidates(view, cluster)):
        reasons = [f"{c.name} {reason}" for c in candidates(view, cluster) for reason in c.reasons]
        yield from (("failover.no-candidate", reason) for reason in reasons or ["there is no replica"])


def takeover(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """The rule: somebody could take over now. A single host has nobody, and that is the owner's choice."""
    reasons = [*_blockers(view, cluster)] if len(cluster.postgres_hosts) > 1 else []
    if reasons and view.left_out:  # who was not asked might
        return
    yield from (finding(rule, "failover", f"not possible now: {reason}") for rule, reason in reasons)
    if view.leader is None:
        yield from (finding("failover.loss-to-accept", "failover", text) for text in way_out(view, cluster))
    if not reasons:
        able = [c.name for c in candidates(view, cluster) if c.able]
        yield ok("failover", "failover", f"possible now, to {' or '.join(able)}")


def way_out(view: ClusterView, cluster: Cluster) -> Iterator[str]:
    """Where nobody leads and nobody may: whom to bring back, what would be lost without them, and how that is accepted."""
    short = {name: lacking(view, cluster, name) for name in positions(view)}
    if view.dcs is None or not short or not all(short.values()):
        return
    best = max(short, key=lambda name: (positions(view)[name], name))
    missing = sorted({name for one in short[best] for name in (*one.ahead, *one.silent)})
    yield (
        f"bring back {' or '.join(missing)}: it may have acknowledged writes that nobody else has, and leads by itself once it is"
        f" there. Without it {best} could lead, and {loss(view, best)} would be lost (`invoke failover --accept-loss {best}`)"
    )


def loss(view: ClusterView, name: str) -> str:
    """What would be lost at most if `name` led, in words.

    By the position that the primary noted at the beginning of its last round; a candidate that the gate did not let through has
    written its own over it, and noted the primary's elsewhere.
    """
    noted = max(view.dcs.position, view.dcs.configurations.written) if view.dcs else 0
    behind = noted - positions(view)[name].lsn
    if behind <= 0:
        return "nobody who answers knows how many bytes"
    return f"up to {behind} bytes, and what the primary wrote in its last round,"


def obstacles(view: ClusterView, cluster: Cluster) -> tuple[str, ...]:
    """What keeps everybody from taking over, whoever they are, as sentences."""
    return tuple(text for _, text in _obstacles(view, cluster))


def _obstacles(view: ClusterView, cluster: Cluster) -> Iterator[tuple[str, str]]:
    """The same, each with its rule."""
    if view.dcs is None:
        yield "failover.unknown", "no etcd member answers"
        return
    if view.leader is None:
        yield "failover.no-leader", "nobody holds the leader key"
    if view.dcs.paused:
        yield "failover.paused", "the cluster is paused (`invoke resume`)"
    needed = len(cluster.etcd_hosts) // 2 + 1
    left = [h.name for h in cluster.etcd_hosts if h.name != view.leader and _has_quorum(view.hosts[h.name])]
    if len(left) < needed:
        text = f"without the leader's host, etcd would have {len(left)} healthy members and needs {needed}"
        yield "failover.no-majority", text


def _has_quorum(host: HostView) -> bool:
    return host.etcd is not None and host.etcd.quorum


def _reasons(view: ClusterView, cluster: Cluster, host: HostView) -> Iterator[str]:
    if host.patroni is None:
        yield "does not answer" if host.reachable else "is unreachable"
        return
    tags = host.patroni.tags
    if tags.get("nofailover") or tags.get("failover_priority") == 0:
        yield "has the tag nofailover"
    if host.postgres is None or host.patroni.state not in ("running", "streaming"):
        yield f"has no running PostgreSQL (it is {host.patroni.state})"
        return
    if not host.postgres.in_recovery:
        yield "is not in recovery: it is a second primary"
    if view.leader and host.postgres.receiver != "streaming":
        yield "is not streaming from the primary"
    if view.primary and host.postgres.timeline < view.primary.timeline:
        yield f"is on timeline {host.postgres.timeline}, the primary on {view.primary.timeline}"
    if host.patroni.blind:
        yield "has a Patroni that can't look at its own PostgreSQL"
    if view.dcs:
        yield from _lag(view.dcs, host)
        yield from _votes(view, cluster, view.dcs, host.name)


def _lag(dcs: Dcs, host: HostView) -> Iterator[str]:
    assert host.postgres
    limit = int(dcs.config.get("maximum_lag_on_failover", MAXIMUM_LAG_DEFAULT))
    lag = dcs.position - max(host.postgres.received or 0, host.postgres.replayed or 0)
    if lag > limit:
        yield f"lags by {lag} bytes, and maximum_lag_on_failover is {limit}"


def _votes(view: ClusterView, cluster: Cluster, dcs: Dcs, name: str) -> Iterator[str]:
    if dcs.durability == "asynchronous" or dcs.sync_leader is None:
        return
    if dcs.durability == "synchronous" and name not in dcs.voters:
        yield f"is not the synchronous replica ({', '.join(dcs.voters) or 'there is none'})"
        return
    yield from in_words(view, name, lacking(view, cluster, name))
