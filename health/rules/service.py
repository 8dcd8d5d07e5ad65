"""Rules about the service itself: the primary, its replicas, the way to them, and what a write survives."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.dynamic_config import promise_of, wanted_config
from cluster.topology import Cluster

from ..finding import Finding, ok, problem, warning
from ..view import ClusterView, HostView


def one_primary(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """The holder of the leader key is the only one not in recovery."""
    if len(view.writable) > 1:
        yield problem("primary", f"SPLIT BRAIN: {' and '.join(view.writable)} both take writes")
    elif view.dcs is None:
        yield problem("primary", "no etcd member answers, so nobody can say who leads")
    elif view.leader is None:
        yield problem("primary", "nobody holds the leader key")
    elif view.writable != (view.leader,):
        other = view.writable[0] if view.writable else "no PostgreSQL that answers"
        yield problem("primary", f"{view.leader} holds the leader key, but {other} is out of recovery")
    else:
        yield ok("primary", f"{view.leader} holds the leader key and is the only one not in recovery")


def routing(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """Every HAProxy sends writes to the leader alone, and reads to replicas."""
    write, read = cluster.haproxy.write_port, cluster.haproxy.read_port
    for host in (view.hosts[h.name] for h in cluster.haproxy_hosts):
        if host.proxy is None:
            if host.runs("haproxy"):
                yield problem(host.name, f"HAProxy does not answer: {host.problems.get('haproxy')}")
            continue
        writers, readers = view.servers_up(host.name, "write"), view.servers_up(host.name, "read")
        if view.leader and writers == (view.leader,):
            yield ok(host.name, f"port {write} leads to {view.leader} alone")
        else:
            yield problem(host.name, f"port {write} leads to {_and(writers)}; the leader is {view.leader or 'nobody'}")
        if not readers:
            yield problem(host.name, f"port {read} leads to nobody")
        elif view.leader in readers and len(cluster.postgres_hosts) > 1:
            yield warning(host.name, f"port {read} leads to the primary: no replica is fit for reads")


def replicas(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """Every replica streams on the primary's timeline, within the lag limit, and is offered for reads."""
    for host in (view.hosts[h.name] for h in cluster.postgres_hosts):
        if not host.reachable or host.blank or host.name in (view.leader, *view.writable):
            continue
        wrong = [*_replica(view, cluster, host)]
        yield from (problem(host.name, text) for text in wrong)
        if not wrong and host.postgres:
            sender = view.sender(host.name)
            behind = f", {sender.replayed_lag} bytes behind" if sender else ""
            yield ok(host.name, f"streams on timeline {host.postgres.timeline}{behind}")


def _replica(view: ClusterView, cluster: Cluster, host: HostView) -> Iterator[str]:
    state, sender, limit = host.postgres, view.sender(host.name), cluster.haproxy.read_max_lag
    if state is None:
        yield f"PostgreSQL does not answer: {host.problems.get('postgres')}"
        return
    if state.receiver != "streaming" or (view.primary and (sender is None or sender.state != "streaming")):
        yield "is not streaming from the primary"
    if view.primary and state.timeline != view.primary.timeline:
        yield f"is on timeline {state.timeline}, the primary on {view.primary.timeline}"
    if state.replay_paused:
        yield "has its replay paused (pg_wal_replay_resume() ends that)"
    if sender and sender.replayed_lag > limit:
        yield f"is {sender.replayed_lag} bytes behind; haproxy_read_max_lag is {limit}"
    for proxy in (view.hosts[h.name] for h in cluster.haproxy_hosts):
        if proxy.proxy is not None and host.name not in view.servers_up(proxy.name, "read"):
            yield f"gets no reads from {proxy.name}"


def patroni(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """Every Patroni answers and has seen etcd lately; the cluster is not paused."""
    if view.dcs and view.dcs.paused:
        yield problem("pause", "the cluster is paused: nothing fails over by itself until `invoke resume`")
    for host in (view.hosts[h.name] for h in cluster.postgres_hosts):
        if "patroni" in host.problems and host.runs("patroni"):
            yield problem(host.name, f"Patroni does not answer: {host.problems['patroni']}")
        elif host.patroni and host.patroni.dcs_age > cluster.timing.ttl:
            yield problem(host.name, f"Patroni has not reached etcd for {host.patroni.dcs_age:.0f} s")


def pending_restart(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """No setting waits for a restart. If one does, nothing is wrong yet: the owner chooses when."""
    waiting = [host for host in view.hosts.values() if host.patroni and host.patroni.pending_restart]
    for host in waiting:
        names = ", ".join(host.postgres.pending_restart) if host.postgres else ""
        yield warning(host.name, f"{names or 'a setting'} waits for `invoke rolling-restart`")
    if not waiting:
        yield ok("restart", "no setting waits for one")


def durability(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """What an acknowledged write survives is what the settings promise."""
    if view.dcs is None or not view.dcs.config:
        return
    promised, live = promise_of(wanted_config(cluster)), view.dcs.promise
    if live != promised:
        yield problem("durability", f"is {live}, the settings say {promised}: deploy to apply them")
    elif view.dcs.durability == "asynchronous":
        yield warning("durability", "asynchronous: losing the primary can lose the last acknowledged writes")
    elif view.primary and not view.primary.synchronous_standby_names:
        yield problem("durability", "no replica is synchronous: losing the primary now loses acknowledged writes")
    elif view.primary and not confirming(view, cluster):
        others = " or ".join(host.name for host in cluster.postgres_hosts if host.name != view.leader)
        yield problem("durability", f"no replica is there to confirm writes: they wait until {others} streams")
    elif view.primary:
        yield ok("durability", f"{live}, {view.primary.synchronous_standby_names}")


def confirming(view: ClusterView, cluster: Cluster) -> tuple[str, ...]:
    """The replicas that confirm writes now. Neither their names in synchronous_standby_names nor a `*` there says that any is
    there; and with a `*` PostgreSQL counts whoever receives the write-ahead log, such as a base backup."""
    senders = view.primary.senders if view.primary else ()
    hosts = {host.name for host in cluster.postgres_hosts}
    return tuple(s.name for s in senders if s.name in hosts and s.state == "streaming" and s.sync_state in ("sync", "quorum"))


def slots(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """The primary's slots are in use and have lost nothing. Those on replicas are Patroni's reserve, idle by nature."""
    for slot in view.primary.slots if view.primary else ():
        if slot.wal_status in ("lost", "unreserved"):
            yield problem("slots", f"slot {slot.name} is {slot.wal_status}: its replica needs `invoke reinit`")
        elif not slot.active:
            yield warning("slots", f"slot {slot.name} is not in use and holds back {slot.retained} bytes of WAL")


def leaders_apart(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """etcd is not led from the primary's host: losing a host that leads both costs more than ttl."""
    if view.leader and view.leader == view.etcd_leader and len(cluster.etcd_hosts) > 1:
        advice = "losing it stops writes for longer (`invoke etcd.move-leader`)"
        yield warning("etcd", f"{view.leader} is PostgreSQL's and etcd's leader at once: {advice}")


def _and(names: tuple[str, ...]) -> str:
    return " and ".join(names) or "nobody"
