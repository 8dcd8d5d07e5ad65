"""`invoke status`: the whole cluster on one screen, with a verdict. Shows a view and its findings, decides nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cluster import pooling
from cluster.topology import Cluster
from cluster.version import Version, own, told
from day2.hosts import operator_lock
from day2.hosts.observe import CONNECT_SECONDS, observe
from day2.hosts.ssh import Fleet
from day2.ui.console import EXIT_OK, EXIT_PROBLEM, console, print_json, size
from day2.ui.findings import show_findings
from day2.ui.watch import refuse_both
from day2.ui.watch import watch as watch_screens
from health.rules import Candidate, Finding, candidates, findings, healthy, obstacles
from health.states import Salvage
from health.view import ClusterView, HostView

FORMAT = "pgquorum status 1"
# The inventory that is meant where none is named.
NOT_CHOSEN = "inventory.py"


def status(cluster: Cluster, *, watch: bool, as_json: bool) -> int:
    """Prints the state of the cluster; 0 when it is healthy, 1 with the reasons when not. `watch`: until Ctrl-C."""
    refuse_both(watch=watch, as_json=as_json)
    with Fleet(cluster.hosts, CONNECT_SECONDS) as fleet:
        if watch:
            watch_screens(screens(fleet, cluster))
        view = observe(fleet, cluster)
    found = findings(view, cluster)
    able = candidates(view, cluster)
    if as_json:
        print_json(FORMAT, document(cluster, view, found, able))
    else:
        show(console(), cluster, view, found, able)
    return EXIT_OK if healthy(found) else EXIT_PROBLEM


def screens(fleet: Fleet, cluster: Cluster) -> Iterator[Text]:
    """What is shown of the cluster, again and again."""
    out = console()
    while True:
        yield screen(out, cluster, observe(fleet, cluster))


def screen(out: Console, cluster: Cluster, view: ClusterView) -> Text:
    """What `show` would print on `out`."""
    with out.capture() as captured:
        show(out, cluster, view, findings(view, cluster), candidates(view, cluster))
    return Text.from_ansi(captured.get())


def document(cluster: Cluster, view: ClusterView, found: tuple[Finding, ...], able: tuple[Candidate, ...]) -> dict[str, Any]:
    """What `--json` prints. All that was observed is in `hosts`; sizes in bytes, durations in seconds."""
    return {
        "cluster": cluster.name,
        "healthy": healthy(found),
        "leader": view.leader,
        "durability": view.dcs.durability if view.dcs else None,
        "without_replica": view.dcs.without_replica if view.dcs else None,
        "paused": view.dcs.paused if view.dcs else None,
        "findings": [f for f in found if f.level != "ok"],
        "candidates": able,
        "dcs": view.dcs,
        "hosts": view.hosts,
        "version": str(own()),
        "seconds": round(view.seconds, 3),
    }


def show(out: Console, cluster: Cluster, view: ClusterView, found: tuple[Finding, ...], able: tuple[Candidate, ...]) -> None:
    """One screen for a person."""
    if cluster.inventory == NOT_CHOSEN:
        out.print(f"[dim]the lab's cluster ({NOT_CHOSEN}), as no other is chosen: INVOKE_INVENTORY=NAME means yours[/]\n")
    if view.dcs or any(not host.blank for host in view.hosts.values() if host.reachable):
        out.print(f"[bold]{cluster.name}[/]  {headline(view)}\n")
        pooled = [pools(cluster, view)] if cluster.pooler_hosts else []
        for table in (members(cluster, view, able), etcd(cluster, view), proxies(cluster, view), *pooled):
            out.print(table)
            out.print()
    for line in dict.fromkeys(host.operator for host in view.hosts.values() if host.operator):
        out.print(f"[cyan]note[/]     {escape(operator_lock.in_words(line))}", soft_wrap=True)
    for name, host in view.hosts.items():
        if host.salvage:
            out.print(f"[cyan]note[/]     [bold]{name}[/]: {escape(kept(host.salvage))}", soft_wrap=True)
        if host.old_data:
            text = f"the data of before a restore takes room in {' '.join(host.old_data)} (docs/runbook.md, After a restore)"
            out.print(f"[cyan]note[/]     [bold]{name}[/]: {escape(text)}", soft_wrap=True)
    if line := other_versions(view, own()):
        out.print(f"[cyan]note[/]     {escape(line)}", soft_wrap=True)
    show_findings(out, (f for f in found if f.level != "ok"))
    out.print("[bold green]healthy[/]" if healthy(found) else "[bold red]not healthy[/]", f"({view.seconds:.1f} s)")


def other_versions(view: ClusterView, checkout: Version) -> str:
    """Which hosts were deployed by another version of the tool than this checkout's, in words; empty when none were."""
    noted = {name: host.deployed_by for name, host in view.hosts.items() if host.cluster_name}
    others = {name: note for name, note in noted.items() if note != str(checkout)}
    if not others:
        return ""
    return f"hosts were deployed by {told(others)}, this is {checkout}: the newer CHANGELOG.md says what that changes"


def kept(salvage: tuple[Salvage, ...]) -> str:
    """What a host has kept of logs that were rewound, in words."""
    count, last = sum(one.commits for one in salvage), salvage[-1]
    more = f" and {len(salvage) - 1} beside it" if len(salvage) > 1 else ""
    return f"{count} transactions that a rewind took back are kept in {last.path}{more} (docs/runbook.md says what for)"


def headline(view: ClusterView) -> str:
    """Versions and the cluster-wide modes."""
    postgres = next((h.postgres.version.split()[0] for h in view.hosts.values() if h.postgres), "?")
    patroni = next((h.patroni.version for h in view.hosts.values() if h.patroni), "?")
    durability = view.dcs.promise if view.dcs and view.dcs.config else "?"
    paused = "  [bold red]PAUSED[/]" if view.dcs and view.dcs.paused else ""
    return f"PostgreSQL {postgres}, Patroni {patroni}, durability {durability}{paused}"


def members(cluster: Cluster, view: ClusterView, able: tuple[Candidate, ...]) -> Table:
    """A row for each PostgreSQL host. Lag is WAL not yet replayed, as the primary counts it."""
    table = _table("member", "role", "state", "timeline", "lag", "sync", "pending restart", "could take over")
    yes = "no: see below" if any(obstacles(view, cluster)) else "yes"
    takes = {c.name: yes if c.able else f"no: {c.reasons[0]}" for c in able}
    for host in (view.hosts[h.name] for h in cluster.postgres_hosts):
        table.add_row(host.name, *(escape(cell) for cell in _member(view, host)), escape(takes.get(host.name, "")))
    return table


def _member(view: ClusterView, host: HostView) -> tuple[str, ...]:
    if not host.reachable:
        return "", _silent(host), "", "", "", ""
    sender, state = view.sender(host.name), host.postgres
    leads = " (leader)" if host.name == view.leader else ""
    role = ("replica" if state.in_recovery else "primary") if state else "?"
    doing = host.patroni.state if host.patroni else host.units.get("patroni.service", "?")
    if state and state.in_recovery:
        doing = "replay paused" if state.replay_paused else state.receiver or "not streaming"
    return (
        role + leads,
        doing if state else f"{doing}, no PostgreSQL",
        str(state.timeline) if state else "",
        size(sender.replayed_lag) if sender else "",
        sender.sync_state if sender else "",
        ", ".join(state.pending_restart) if state else "",
    )


def etcd(cluster: Cluster, view: ClusterView) -> Table:
    """A row for each etcd member."""
    table = _table("etcd", "role", "state", "database", "alarms", "version")
    for host in (view.hosts[h.name] for h in cluster.etcd_hosts):
        if host.etcd is None:
            state = _silent(host) or host.units.get("etcd.service", "?")
            table.add_row(host.name, "", state, "", "", "")
            continue
        member = host.etcd
        table.add_row(
            host.name,
            "leader" if member.leads else "follower",
            "healthy" if member.quorum else "no quorum",
            size(member.database_size),
            escape(", ".join(member.alarms)) or "none",
            member.version,
        )
    return table


def proxies(cluster: Cluster, view: ClusterView) -> Table:
    """A row for each HAProxy: where each port leads now."""
    write, read = cluster.haproxy.write_port, cluster.haproxy.read_port
    address = [f"has {cluster.haproxy.proxy_address}"] if cluster.entry_hosts else []
    table = _table("HAProxy", f"writes ({write}) to", f"reads ({read}) to", "down", *address)
    for host in (view.hosts[h.name] for h in cluster.haproxy_hosts):
        has = ["?" if host.entry is None else "yes" if host.entry.holds else "no"] if address else []
        if host.proxy is None:
            table.add_row(host.name, _silent(host) or host.units.get("haproxy.service", "?"), "", "", *has)
            continue
        writers, readers = (", ".join(view.servers_up(host.name, port)) or "nobody" for port in ("write", "read"))
        # A replica is down on the write port by nature, and the primary on the read port: only one down on both is.
        up = {server.name for servers in host.proxy.backends.values() for server in servers if server.up}
        down = {server.name for servers in host.proxy.backends.values() for server in servers} - up
        table.add_row(host.name, writers, readers, ", ".join(sorted(down)) or "none", *has)
    return table


def pools(cluster: Cluster, view: ClusterView) -> Table:
    """A row for each process of PgBouncer: who is there, and what of PostgreSQL's they share."""
    table = _table("PgBouncer", "process", "clients", "waiting", "connections", "busy")
    for host in (view.hosts[h.name] for h in cluster.pooler_hosts):
        states = {one.name: one for one in host.pooler.processes} if host.pooler else {}
        for process in pooling.processes(cluster):
            one = states.get(process.name)
            if one is None or one.problem:
                table.add_row(host.name, process.name, _silent(host) or host.units.get(process.unit, "?"))
                continue
            waiting = f"{one.waiting} (for {one.longest_wait:.0f} s)" if one.waiting else "0"
            table.add_row(host.name, process.name, str(one.clients), waiting, str(one.servers), str(one.busy))
    return table


def _silent(host: HostView) -> str:
    """Of a host of which nothing is known: whether it is for its network's sake; empty for the others."""
    why = host.problems.get("host")
    return "" if why is None else "unreachable" if why.startswith("unreachable") else "not seen: see below"


def _table(*columns: str) -> Table:
    table = Table(*columns, box=None, header_style="dim", padding=(0, 2, 0, 0))
    for column in table.columns:
        column.overflow = "fold"
    return table
