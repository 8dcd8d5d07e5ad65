"""What a plan costs applications, where its steps alone don't tell. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from cluster.topology import Cluster
from health.rules.entry import holders_of
from health.view import ClusterView

from .rolling import lowered
from .steps import BaseStep, HandOver, MoveAddress, RebootHost, RestartPatroni, RestartPostgres, RestartUnit, SwitchOver

KEEPALIVED, PATRONI, POOL = "keepalived.service", "patroni.service", "pgquorum-pool@"


def costs(view: ClusterView, cluster: Cluster, plan: Sequence[BaseStep]) -> Iterator[str]:
    """What applications will notice of a plan for this cluster, as it is now: a sentence for each; none where nobody notices."""
    if stops_primary(plan, the_only(cluster)):
        served = "write" if len(cluster.postgres_hosts) > 1 else "query"
        text = f"no {served} is answered while PostgreSQL is restarted where it leads"
        if served == "write" and view.leader and (names := lowered(view, view.leader)):
            verb = "is" if len(names) == 1 else "are"
            text += (
                f": {', '.join(names)} {verb} lowered, and no replica runs with less of that than its primary, so the primary"
                " goes first, and nobody could take over from it"
            )
        yield text
    if len(cluster.postgres_hosts) == 2 and any(isinstance(step, SwitchOver | HandOver) for step in plan):
        yield "reads are cut once in the switchover: with two PostgreSQL hosts there is no third to serve them meanwhile"
    if restarts_pools(plan):
        others = "; others find another proxy host meanwhile" if len(cluster.pooler_hosts) > 1 else ""
        yield f"a process of PgBouncer that is restarted sends its clients away, each after its transaction{others}"
    if reboots(plan, {host.name for host in cluster.haproxy_hosts}):
        others = "find another one" if len(cluster.haproxy_hosts) > 1 else "reach nothing until it is back"
        yield f"clients of a proxy host that is rebooted are cut, and {others}"
    holders = holders_of(view, cluster)
    if moved := sorted({str(step) for step in plan if moves_address(step, holders)}):
        yield f"the sessions that come by {cluster.haproxy.proxy_address} are cut, in mid-transaction, too: {'; '.join(moved)}"


def the_only(cluster: Cluster) -> str:
    """The PostgreSQL host from which nobody takes over; empty where there are several."""
    first, *others = (host.name for host in cluster.postgres_hosts)
    return "" if others else first


def stops_primary(plan: Sequence[BaseStep], only: str) -> bool:
    """Whether PostgreSQL is restarted where it leads: there it is not drained. `only`: the one that there is."""
    return any(
        (isinstance(step, RestartPostgres | RestartPatroni) and not step.drained)
        or (isinstance(step, RebootHost) and step.host == only)
        or (isinstance(step, RestartUnit) and (step.host, step.unit) == (only, PATRONI))
        for step in plan
    )


def restarts_pools(plan: Sequence[BaseStep]) -> bool:
    """Whether clients of the pools are sent away once."""
    return any(isinstance(step, RestartUnit) and step.unit.startswith(POOL) for step in plan)


def reboots(plan: Sequence[BaseStep], hosts: set[str]) -> bool:
    """Whether one of these hosts is rebooted."""
    return any(isinstance(step, RebootHost) and step.host in hosts for step in plan)


def moves_address(step: BaseStep, holders: Sequence[str]) -> bool:
    """Whether a step moves the virtual address away from the host that has it."""
    restarted = isinstance(step, RestartUnit) and step.unit == KEEPALIVED and step.host in holders
    return restarted or isinstance(step, MoveAddress)
