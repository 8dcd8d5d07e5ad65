"""Rules about the service itself: the primary, its replicas, the way to them, and what a write survives."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cluster.dynamic_config import promise_of, wanted_config
from cluster.topology import Cluster

from ..finding import Finding, finding, ok
from ..view import ClusterView, HostView
from .holds import holder
from .weaker_commits import keeps_promise

# What PostgreSQL calls a replica that confirms writes (sync_state); with asynchronous none does.
CONFIRMING = {"quorum": "quorum", "all": "quorum", "synchronous": "sync", "asynchronous": ""}

FULL_SHARE = 0.9
# What says how many sessions there are for applications.
SESSIONS = {"max_connections", "superuser_reserved_connections", "reserved_connections"}
# Patroni's states of a PostgreSQL that does what it should.
RUNNING = ("running", "streaming")


def one_primary(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """The holder of the leader key is the only one not in recovery."""
    if len(view.writable) > 1:
        yield finding("primary.split-brain", "primary", f"SPLIT BRAIN: {' and '.join(view.writable)} both take writes")
    elif view.without_etcd or (view.leader in view.left_out and not view.writable):
        return
    elif view.dcs is None:
        yield finding("primary.unknown", "primary", "no etcd member answers, so nobody can say who leads")
    elif view.leader is None:
        yield finding("primary.no-leader", "primary", "nobody holds the leader key")
    elif not view.writable and view.leader in view.hosts and not view.hosts[view.leader].reachable:
        text = f"{view.leader} holds the leader key, and what its PostgreSQL does could not be seen (why: see {view.leader})"
        yield finding("primary.unseen", "primary", text)
    elif view.writable != (view.leader,):
        other = view.writable[0] if view.writable else "no PostgreSQL that answers"
        text = f"{view.leader} holds the leader key, but {other} is out of recovery"
        yield finding("primary.other-than-leader", "primary", text)
    else:
        yield ok("primary", "primary", f"{view.leader} holds the leader key and is the only one not in recovery")


def routing(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """Every HAProxy sends writes to the leader alone, and reads to replicas."""
    write, read = cluster.haproxy.write_port, cluster.haproxy.read_port
    for host in (view.hosts[h.name] for h in cluster.haproxy_hosts):
        if host.proxy is None:
            if host.runs("haproxy"):
                yield finding("routing.silent", host.name, f"HAProxy does not answer: {host.problems.get('haproxy')}")
            continue
        writers, readers = view.servers_up(host.name, "write"), view.servers_up(host.name, "read")
        if view.leader and writers == (view.leader,):
            yield ok("routing", host.name, f"port {write} leads to {view.leader} alone")
        elif view.leader or not view.without_etcd:
            text = f"port {write} leads to {_and(writers)}; the leader is {view.leader or 'nobody'}"
            yield finding("routing.writes-astray", host.name, text)
        if "writes" in host.proxy.held:
            text = f"port {write} takes no new connections, and they wait{holder(host)}: `invoke traffic.resume` lets them in"
            yield finding("routing.writes-held", host.name, text)
        if not readers:
            yield finding("routing.reads-nowhere", host.name, f"port {read} leads to nobody")
        elif view.leader in readers and len(cluster.postgres_hosts) > 1:
            text = f"port {read} leads to the primary: no replica is fit for reads"
            yield finding("routing.reads-from-primary", host.name, text)


def replicas(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """Every replica streams on the primary's timeline, within the lag limit, and is offered for reads."""
    for host in (view.hosts[h.name] for h in cluster.postgres_hosts):
        if not host.reachable or host.blank or host.name in (view.leader, *view.writable):
            continue
        wrong = [*_replica(view, cluster, host)]
        yield from wrong
        if not wrong and host.postgres:
            sender = view.sender(host.name)
            behind = f", {sender.replayed_lag} bytes behind" if sender else ""
            yield ok("replication", host.name, f"streams on timeline {host.postgres.timeline}{behind}")


def _replica(view: ClusterView, cluster: Cluster, host: HostView) -> Iterator[Finding]:
    state, sender, limit = host.postgres, view.sender(host.name), cluster.haproxy.read_max_lag
    if state is None:
        yield finding("replication.silent", host.name, f"PostgreSQL does not answer: {host.problems.get('postgres')}")
        return
    if state.receiver != "streaming" or (view.primary and (sender is None or sender.state != "streaming")):
        text = f"is not streaming from the primary{_what_it_lacks(view, host)}"
        yield finding("replication.not-streaming", host.name, text)
    if view.primary and state.timeline != view.primary.timeline:
        text = f"is on timeline {state.timeline}, the primary on {view.primary.timeline}"
        yield finding("replication.other-timeline", host.name, text)
    if host.patroni and host.patroni.blind:
        text = "Patroni can't look at its own PostgreSQL by a replication connection, and won't let it take over: `invoke logs`"
        yield finding("replication.blind", host.name, text)
    if state.replay_paused:
        yield finding("replication.paused", host.name, "has its replay paused (pg_wal_replay_resume() ends that)")
    if sender and sender.replayed_lag > limit:
        text = f"is {sender.replayed_lag} bytes behind; haproxy_read_max_lag is {limit}"
        yield finding("replication.lagging", host.name, text)
    for proxy in (view.hosts[h.name] for h in cluster.haproxy_hosts):
        if proxy.proxy is not None and host.name not in view.servers_up(proxy.name, "read"):
            yield finding("routing.replica-unread", host.name, f"gets no reads from {proxy.name}")


def _what_it_lacks(view: ClusterView, host: HostView) -> str:
    """To be put after that, where it never will: of a slot that has lost what its replica needs, Patroni soon makes a new one."""
    state, primary = host.postgres, view.primary
    if state is None or primary is None or primary.log_begins is None:
        return ""
    has = max(state.received or 0, state.replayed or 0)
    gone = f", which has no more of the log what it needs next: `invoke reinit {host.name}`"
    return gone if has < primary.log_begins else ""


def patroni(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """Every Patroni answers and has seen etcd lately; the cluster is not paused."""
    if view.dcs and view.dcs.paused:
        text = "the cluster is paused: nothing fails over by itself until `invoke resume`"
        yield finding("patroni.paused", "pause", text)
    for host in (view.hosts[h.name] for h in cluster.postgres_hosts):
        if "patroni" in host.problems and host.runs("patroni"):
            yield finding("patroni.silent", host.name, f"Patroni does not answer: {host.problems['patroni']}")
        elif host.patroni and host.patroni.dcs_age > cluster.timing.ttl:
            text = f"Patroni has not reached etcd for {host.patroni.dcs_age:.0f} s"
            yield finding("patroni.cut-off", host.name, text)
        if host.patroni and host.patroni.state not in RUNNING:
            yield finding("patroni.not-running", host.name, f"PostgreSQL is {host.patroni.state}, its Patroni says")


def strangers(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """Patroni and every HAProxy know the PostgreSQL hosts of the inventory and nobody else. (etcd's members: machines.etcd.)"""
    names = {host.name for host in cluster.postgres_hosts}
    members = view.dcs.members if view.dcs else {}
    for name in sorted(members.keys() - names):
        text = f"is a {members[name].get('role', 'member')} of this cluster, and no PostgreSQL host of the inventory"
        yield finding("patroni.stranger", name, f"{text}: put it back, and `invoke host.remove {name}` if it is to leave")
    for host in (view.hosts[h.name] for h in cluster.haproxy_hosts):
        servers = {server.name for backend in (host.proxy.backends if host.proxy else {}).values() for server in backend}
        for name in sorted(servers - names):
            yield finding("routing.stranger", host.name, f"HAProxy knows {name}, which is not in the inventory: deploy")


def connections(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """Applications find a free connection. The tool's own roles have some of their own (`reserved_connections`)."""
    for host in view.hosts.values():
        now = host.postgres.connections if host.postgres else None
        if now and now.used >= FULL_SHARE * now.limit:
            who = ", ".join(f"{h.connections} of {h.role} from {h.address}" for h in now.holders)
            advice = "connection_limit in postgres_roles keeps one role from taking all"
            yield finding(
                "connections.nearly-full", host.name, f"{now.used} of {now.limit} connections are open: {who} ({advice})"
            )


def pending_restart(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """No setting waits for a restart. If one does, nothing is wrong yet: the owner chooses when."""
    waiting = [host for host in view.hosts.values() if host.patroni and host.patroni.pending_restart]
    for host in waiting:
        names = ", ".join(host.waiting_for_restart)
        fewer = host.postgres and host.postgres.connections.limit < cluster.for_applications
        again = (
            ", and limits that are made of it for a deploy after that" if fewer and SESSIONS & {*host.waiting_for_restart} else ""
        )
        yield finding("restart.pending", host.name, f"{names or 'a setting'} waits for `invoke rolling-restart`{again}")
    if not waiting and any(host.patroni for host in view.hosts.values()):
        yield ok("restart", "restart", "no setting waits for one")


def durability(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """What an acknowledged write survives is what the settings promise."""
    if view.dcs is None or not view.dcs.config:
        return
    promised, live = promise_of(wanted_config(cluster)), view.dcs.promise
    if live != promised:
        text = f"is {live}, the settings say {promised}: deploy to apply them"
        yield finding("durability.differs", "durability", text)
    elif view.dcs.durability == "asynchronous":
        text = "asynchronous: losing the primary can lose the last acknowledged writes"
        yield finding("durability.asynchronous", "durability", text)
        yield from _arrangement(view, cluster)
    elif all(host.name in view.left_out for host in cluster.postgres_hosts if host.name != view.leader):
        return
    elif view.primary and not view.primary.synchronous_standby_names:
        text = "no replica is synchronous: losing the primary now loses acknowledged writes"
        yield finding("durability.nobody-synchronous", "durability", text)
    elif view.primary and not confirming(view, cluster):
        others = " or ".join(host.name for host in cluster.postgres_hosts if host.name != view.leader)
        text = f"no replica is there to confirm writes: they wait until {others} streams"
        yield finding("durability.nobody-confirms", "durability", text)
    elif view.primary and (wrong := [*_arrangement(view, cluster)]):
        yield from wrong
    elif view.primary and keeps_promise(view, cluster):
        yield ok("durability", "durability", f"{live}, {view.primary.synchronous_standby_names}")


def _arrangement(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """Replicas confirm writes in the way that the durability means. Patroni arranges that some rounds after it was told to."""
    wanted, mode = cluster.all.durability, CONFIRMING[cluster.all.durability]
    asked = view.hosts.keys() - view.left_out
    for sender in view.primary.senders if view.primary else ():
        if sender.name in asked and sender.sync_state in CONFIRMING.values() and sender.sync_state != mode:
            text = f"still confirms writes as {sender.sync_state}, and durability is {wanted}"
            yield finding("durability.other-mode", sender.name, text)
    needed = {"quorum": 1, "all": len(view.dcs.voters) if view.dcs else 0}.get(wanted)
    found = re.match(r"ANY (\d+) \(", view.primary.synchronous_standby_names) if view.primary else None
    if needed and found and int(found[1]) != needed:
        text = f"writes still wait for {found[1]} of the replicas, should be {needed}, as durability is {wanted}"
        yield finding("durability.other-count", "durability", text)


def confirming(view: ClusterView, cluster: Cluster) -> tuple[str, ...]:
    """The replicas that confirm writes now. Neither their names in synchronous_standby_names nor a `*` there says that any is
    there; and with a `*` PostgreSQL counts whoever receives the write-ahead log, such as a base backup."""
    senders = view.primary.senders if view.primary else ()
    hosts = {host.name for host in cluster.postgres_hosts}
    return tuple(s.name for s in senders if s.name in hosts and s.state == "streaming" and s.sync_state in ("sync", "quorum"))


def leaders_apart(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """etcd is not led from the primary's host: losing a host that leads both costs more than ttl."""
    if view.leader and view.leader == view.etcd_leader and len(cluster.etcd_hosts) > 1:
        advice = "losing it stops writes for longer (`invoke etcd.move-leader`)"
        text = f"{view.leader} is PostgreSQL's and etcd's leader at once: {advice}"
        yield finding("etcd.leads-with-primary", "etcd", text)


def _and(names: tuple[str, ...]) -> str:
    return " and ".join(names) or "nobody"
