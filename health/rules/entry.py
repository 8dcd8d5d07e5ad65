"""Rules about the virtual address by which clients come to whichever proxy host has it."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.topology import Cluster

from ..finding import Finding, finding, ok
from ..view import ClusterView


def entry(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """One proxy host has it. Of those that can't be asked, nobody knows."""
    if not cluster.entry_hosts:
        return
    address, names = cluster.haproxy.proxy_address, [host.name for host in cluster.entry_hosts]
    for name in names:
        if why := view.hosts[name].problems.get("keepalived"):
            yield finding("entry.unseen", name, f"whether it has {address} could not be seen: {why}")
    holders = holders_of(view, cluster)
    if len(holders) == 1:
        yield ok("entry", holders[0], f"has {address}")
    elif holders:
        text = f"{' and '.join(holders)} both have {address}: sessions that come by it break (docs/runbook.md, The address)"
        yield finding("entry.two-holders", "entry", text)
    elif not any(name in view.left_out for name in names) and any(view.hosts[name].entry is not None for name in names):
        others = " that answers" if any(view.hosts[name].entry is None for name in names) else ""
        text = f"no proxy host{others} has {address}: clients that come by it reach nobody (docs/runbook.md, The address)"
        yield finding("entry.no-holder", "entry", text)


def holders_of(view: ClusterView, cluster: Cluster) -> tuple[str, ...]:
    """The proxy hosts that have the address."""
    return tuple(host.name for host in cluster.entry_hosts if (state := view.hosts[host.name].entry) and state.holds)
