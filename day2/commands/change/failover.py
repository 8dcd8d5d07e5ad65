"""`invoke failover`: for a cluster that nobody leads. Says whom to bring back, or accepts the loss of what only they have."""

from __future__ import annotations

import json
import shlex
import time
from contextlib import nullcontext, suppress

from rich.console import Console
from rich.markup import escape

from cluster import paths
from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.hosts.changing import changing
from day2.hosts.observe import observe
from day2.hosts.patroni_api import PatroniApi
from day2.hosts.ssh import Fleet
from day2.ui.console import EXIT_OK, EXIT_PROBLEM, confirm, console
from health.rules import candidates
from health.rules.holders import lacking, positions
from health.rules.takeover import loss, way_out
from health.view import ClusterView

# Beyond the time in which Patroni leaves a member out of the race that was not let through (ttl).
PROMOTED_SECONDS = 60
# Beyond ttl, in which the leader key of a lost primary ends: the promotion gate's time, and what Patroni needs around it.
DECISION_SECONDS = 15
# Patroni answers when the failover is done, or not at all.
LOOK_SECONDS = 5


def failover(cluster: Cluster, *, accept_loss: str | None, yes: bool) -> int:
    """1 while nobody may lead, saying why. With `accept_loss`, a host: 0 when that one leads, whatever it lacks.

    Raises ClusterError when somebody leads or could, or that host can't.
    """
    out = console()
    with changing(cluster, "failover") as (fleet, patroni, view):
        view = await_decision(out, fleet, cluster, view)
        refuse_unless_leaderless(view, cluster)
        show_candidates(out, view, cluster)
        if accept_loss is None:
            return EXIT_PROBLEM
        refuse_bad_choice(view, cluster, accept_loss)
        out.print(
            f"This makes [bold]{accept_loss}[/] the primary [bold]without what only others have[/]:"
            f" {loss(view, accept_loss)} may be lost.",
            soft_wrap=True,
        )
        confirm(out, yes=yes)
        return lead(out, fleet, cluster, patroni, view, accept_loss)


def undecided(view: ClusterView) -> bool:
    """Whether somebody holds the leader key and does not lead: a candidate before the promotion gate, or a lost primary."""
    return view.dcs is not None and not view.dcs.paused and view.leader is not None and view.leader not in view.writable


def await_decision(out: Console, fleet: Fleet, cluster: Cluster, view: ClusterView) -> ClusterView:
    """The cluster as it is when that has come to an end, or has not within `ttl` and some seconds.

    Whom the gate refuses takes the leader key for seconds, again and again: who asks in one of them should not have to ask twice.
    """
    deadline = time.monotonic() + cluster.timing.ttl + DECISION_SECONDS
    with out.status(f"{view.leader}: waiting for what comes of its leader key") if undecided(view) else nullcontext():
        while undecided(view) and time.monotonic() < deadline:
            time.sleep(1)
            view = observe(fleet, cluster)
    return view


def refuse_unless_leaderless(view: ClusterView, cluster: Cluster) -> None:
    """Raises ClusterError unless nobody leads and nobody may."""
    if view.dcs is None:
        raise ClusterError("no etcd member answers, so nobody can lead: bring back a majority of etcd first (`invoke status`)")
    if view.dcs.paused:
        raise ClusterError("the cluster is paused, so nobody takes over: `invoke resume` first")
    if view.leader in view.writable:
        raise ClusterError(f"{view.leader} leads: `invoke switchover` hands its role to another")
    if view.leader is not None:
        raise ClusterError(f"{view.leader} holds the leader key and may be about to lead: ask again in some seconds")
    able = [name for name in positions(view) if not lacking(view, cluster, name)]
    if able:
        raise ClusterError(f"{' or '.join(able)} may lead, and will by itself within some seconds (`invoke status`)")
    if not positions(view):
        raise ClusterError("no replica answers that has read all of its log (`invoke status`)")


def show_candidates(out: Console, view: ClusterView, cluster: Cluster) -> None:
    """Why nobody may lead, and the way out."""
    for one in candidates(view, cluster):
        out.print(f"[bold]{one.name}[/] {escape('; '.join(one.reasons) or 'may lead')}", soft_wrap=True)
    for text in way_out(view, cluster):
        out.print(escape(text), soft_wrap=True)


def refuse_bad_choice(view: ClusterView, cluster: Cluster, name: str) -> None:
    """Raises ClusterError unless the host called `name` is a replica that answers."""
    if cluster.host(name, "--accept-loss") not in cluster.postgres_hosts:
        raise ClusterError(f"--accept-loss {name}: should be a PostgreSQL host")
    if name not in positions(view):
        raise ClusterError(f"--accept-loss {name}: its PostgreSQL does not answer: should be one of {', '.join(positions(view))}")


def lead(out: Console, fleet: Fleet, cluster: Cluster, patroni: PatroniApi, view: ClusterView, name: str) -> int:
    """Lets `name` through the promotion gate as /sync stands now, and waits until it leads. What it does not use is undone."""
    assert view.dcs and view.dcs.configurations.current
    # Whoever answers now is passed over; not who comes back with more before it is done.
    answered = sorted(positions(view))
    noted = json.dumps({"name": name, "revision": view.dcs.configurations.current.revision, "answered": answered})
    etcd(fleet, cluster, view, f"put {accepted_loss(cluster)} {shlex.quote(noted)}")
    deadline = time.monotonic() + cluster.timing.ttl + PROMOTED_SECONDS
    try:
        with out.status(f"{name}: waiting for its promotion"):
            while time.monotonic() < deadline:
                now = observe(fleet, cluster)
                if now.leader == name and now.writable == (name,):
                    out.print(f"[bold green]{name} leads[/]: whoever has more will be rewound to it")
                    return EXIT_OK
                if now.leader is None:
                    with suppress(ClusterError):  # it may still be left out of the race, or have been told before
                        patroni.send(name, "POST", "/failover", {"candidate": name}, seconds=LOOK_SECONDS)
                time.sleep(1)
    finally:
        now = observe(fleet, cluster)
        etcd(fleet, cluster, now, f"del {accepted_loss(cluster)}")
        if now.leader is None:  # while Patroni's own note of the candidate stands, nobody else may lead
            etcd(fleet, cluster, now, f"del /service/{cluster.name}/failover")
    out.print(f"[red]problem[/]  {name} does not lead; the loss is not accepted any more (`invoke status`, `invoke logs`)")
    return EXIT_PROBLEM


def accepted_loss(cluster: Cluster) -> str:
    """The key by which agents/promotion_gate.py knows."""
    return f"/pgquorum/{cluster.name}/accepted_loss"


def etcd(fleet: Fleet, cluster: Cluster, view: ClusterView, command: str) -> None:
    """An etcdctl command at a member with a quorum. Raises ClusterError."""
    for host in cluster.etcd_hosts:
        if (state := view.hosts[host.name].etcd) and state.quorum:
            answer = fleet.run(host.name, f"{paths.etcdctl(f'https://{host.url_address}:{cluster.etcd.client_port}')} {command}")
            if answer.ok:
                return
            raise ClusterError(f"{host.name}: etcd refuses: {answer.problem or answer.code}")
    raise ClusterError("etcd has no quorum: bring back a majority of its members first (`invoke status`)")
