"""Which hosts hold what was acknowledged: who could lead with all of it, who alone has it, and who can be spared.

Judged by the rule of the promotion gate itself (cluster/quorum.py), over one view. The hosts of a view are not asked at the very
same moment: while the primary writes, some of what they differ by is only that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from cluster.quorum import Configuration, Position, Shortfall, shortfalls, unknown
from cluster.topology import Cluster

from ..finding import Finding, finding, ok
from ..view import ClusterView

# What a busy primary writes between two looks. Whoever is behind by less catches up at once when no more is written.
SAMPLE_BYTES = 1024**2


def positions(view: ClusterView) -> dict[str, Position]:
    """How far each replica's log goes; those that have not read all of their own are left out."""
    states = {name: host.postgres for name, host in view.hosts.items() if host.patroni and host.postgres}
    return {
        name: Position(state.timeline, max(state.received or 0, state.replayed or 0))
        for name, state in states.items()
        if state and state.in_recovery and state.at_log_end
    }


def lacking(view: ClusterView, cluster: Cluster, name: str) -> tuple[Shortfall, ...]:
    """Where the gate would find that `name` may lack acknowledged writes, if the leader's host died now."""
    known, state = configurations(view, cluster), view.hosts[name].postgres
    if not known or state is None or view.dcs is None or view.dcs.durability == "asynchronous":
        return ()
    answers = {other: where for other, where in positions(view).items() if other not in (name, view.leader)}
    slack = SAMPLE_BYTES if view.leader else 0
    mine = Position(state.timeline, max(state.received or 0, state.replayed or 0) + slack)
    return shortfalls(name, mine, known, answers, view.dcs.configurations.promoted)


def configurations(view: ClusterView, cluster: Cluster) -> tuple[Configuration, ...]:
    """The configuration in force and those before it that still count."""
    noted = view.dcs.configurations if view.dcs else None
    if noted is None or noted.current is None:
        return ()
    rest = () if noted.complete else (unknown(noted.current.leader, [host.name for host in cluster.postgres_hosts]),)
    return (*noted.known, *rest)


def in_words(view: ClusterView, name: str, shorts: tuple[Shortfall, ...]) -> Iterator[str]:
    """Why `name` could not lead, once for each host that matters."""
    ahead = {other: where for short in shorts for other, where in short.ahead.items()}
    state = view.hosts[name].postgres
    for other, where in sorted(ahead.items()):
        more = where.lsn - max(state.received or 0, state.replayed or 0) if state else 0
        yield f"has not all that {other} has, which may have been acknowledged: {more} bytes"
    for short in shorts:
        if not short.ahead:
            others = ", ".join(sorted(short.configuration.members - {name, view.leader})) or "but there is none"
            votes = f"another replica ({others})" if short.needed == 1 else f"{short.needed} other replicas ({others})"
            able = f"only {' and '.join(short.votes)}" if short.votes else "none"
            yield f"can't prove that it has every acknowledged write: {votes} must confirm that, and {able} can"
            return


@dataclass(frozen=True)
class Alone:
    """Hosts that have acknowledged bytes which no other replica has."""

    names: tuple[str, ...]
    size: int


def alone(lags: Mapping[str, int], configuration: Configuration) -> Alone | None:
    """Who alone has the latest of what was acknowledged, by how far each voter lags behind the primary (bytes).

    As many voters as acknowledge a write have had each of them; the others are behind those.
    """
    needed = len(configuration.voters) - configuration.quorum
    behind = sorted((lags[name], name) for name in configuration.voters if name in lags)
    if needed < 1 or len(behind) <= needed:
        return None
    holders, others = behind[:needed], behind[needed:]
    return Alone(tuple(name for _, name in holders), others[0][0] - holders[-1][0])


def holders(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """No replica alone has what was acknowledged, and the configuration in force is confirmed."""
    noted = view.dcs.configurations if view.dcs else None
    if noted is None or noted.current is None or view.primary is None:
        return
    lags = {sender.name: sender.received_lag for sender in view.primary.senders}
    held = alone(lags, noted.current)
    if held and held.size > SAMPLE_BYTES:
        names = " and ".join(held.names)
        text = f"{names} alone beside the primary has the last {held.size} bytes: do not stop it"
        yield finding("acknowledged.held-alone", "acknowledged", text)
    if noted.settled:
        voters = ", ".join(sorted(noted.current.voters)) or "the primary alone"
        yield ok("quorum", "quorum", f"what was acknowledged is held by {voters}")
        return
    before = set().union(*(one.voters for one in noted.known[1:])) - noted.current.voters - {noted.current.leader}
    behind = ", ".join(f"{name} by {lags[name]} bytes" for name in sorted(noted.current.voters) if lags.get(name))
    who = f", and {' and '.join(sorted(before))} may have what nobody else has: do not lose it" if before else ""
    text = f"replicas have not caught up since the last change of voters ({behind or 'yet'}){who}"
    yield finding("quorum.unconfirmed", "quorum", text)


def not_spared(view: ClusterView, host: str, since: int) -> tuple[str, ...]:
    """Why `host` should not be stopped now: what the primary had written at `since` (bytes) is not on all other voters."""
    noted = view.dcs.configurations if view.dcs else None
    if noted is None or noted.current is None or view.primary is None:
        return ()
    lsn = view.primary.lsn or 0
    on_disk = {s.name: lsn - s.received_lag for s in view.primary.senders if s.state == "streaming"}
    found = [
        f"{name} is {since - on_disk[name]} bytes behind" if name in on_disk else f"{name} does not stream"
        for name in sorted(noted.current.voters - {host})
        if on_disk.get(name, -1) < since
    ]
    return (*found, *(() if noted.settled else ("the change of voters is not confirmed yet",)))


def last_copy(view: ClusterView, cluster: Cluster, host: str) -> str:
    """Why the data on `host` must not go: it alone has what was acknowledged, besides the primary, though there are others that
    could have it. Empty where it may."""
    noted = view.dcs.configurations if view.dcs else None
    if noted is None or noted.current is None or noted.current.voters != {host}:
        return ""
    others = [one.name for one in cluster.postgres_hosts if one.name not in (host, noted.current.leader)]
    if not others:
        return ""
    return f"{host} alone has what was acknowledged, besides the primary: {' or '.join(others)} must confirm writes first"
