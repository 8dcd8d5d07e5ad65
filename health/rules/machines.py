"""Rules about the hosts, their units and certificates, and etcd."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from statistics import median

from cluster import last_deploy
from cluster.certificates import RENEW_DAYS
from cluster.components import COMPONENTS, GUARD_UNIT, ONE_PRIMARY_UNIT, OPTIONAL_GROUPS
from cluster.paths import WATCHDOG
from cluster.topology import Cluster

from ..finding import Finding, finding, ok
from ..states import EtcdState
from ..view import RUNNING, ClusterView, HostView

CERTIFICATE_DAYS = 14  # fewer than this is a problem, fewer than RENEW_DAYS a warning
# A new authority has to be trusted by all clients before it signs, which takes its time.
AUTHORITY_DAYS = 365
AUTHORITY_FILE = "ca.crt"  # each one's name ends so
CLOCK_SECONDS = 1.0
QUOTA_SHARE = 0.8
# Of a disk, what is free.
FULL_DISK, NEARLY_FULL_DISK = 0.05, 0.15
WAKE, CONFIRM = "pgquorum-wake-patroni", "pgquorum-confirm-quorum"


def hosts(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """Every host answers and belongs to this cluster."""
    wrong = [*unreachable(view)]
    for name, host in view.hosts.items():
        if host.blank:
            text = f"nothing is deployed on it: run `pyinfra {cluster.inventory} deploy.py`"
            wrong.append(finding("host.not-deployed", name, text))
        elif host.cluster_name not in (None, cluster.name):
            text = f"belongs to cluster {host.cluster_name!r}, not to {cluster.name!r}"
            wrong.append(finding("host.other-cluster", name, text))
    yield from wrong or [ok("host", "hosts", f"all {len(view.hosts) - len(view.left_out)} answer")]


def unfinished(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """No host was left by a deploy that never came to its end there: which lists what it has written among the last things."""
    if names := [name for name, host in view.hosts.items() if host.deployed_by is not None and "edited" in host.problems]:
        text = f"has never come to its end on {', '.join(names)}: `pyinfra {cluster.inventory} deploy.py` goes on from there"
        yield finding("deploy.unfinished", "deploy", text)


def missed(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """No host was off, or left out, when settings were deployed to others. Of one that a deploy has left half done, a rule of its
    own tells; where none notes anything, an older version has deployed all of them."""
    known = {
        name: host.last_deploy
        for name, host in view.hosts.items()
        if host.cluster_name == cluster.name
        and host.deployed_by is not None
        and not {"edited", "last_deploy"} & host.problems.keys()
    }
    if found := last_deploy.missed(known):
        last, names = found
        when = datetime.fromtimestamp(last.at, UTC).strftime("%Y-%m-%d %H:%M")
        bring = f"`pyinfra {cluster.inventory} deploy.py` brings what is missing there"
        text = f"that of {when} (UTC) has left out {', '.join(names)}: {bring}"
        yield finding("deploy.missed", "deploy", text)


# What a host is asked for that has a rule of its own which says that there was no answer.
TOLD_ELSEWHERE = {"host", "edited", "marker", "etcd", "patroni", "postgres", "haproxy", "pgbouncer", "keepalived", "pgbackrest"}


def unseen(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """Everything a host was asked for it has answered. What is not seen must not pass for well."""
    for name, host in view.hosts.items():
        for part in sorted(host.problems.keys() - TOLD_ELSEWHERE) if host.deployed_by is not None else ():
            yield finding("host.unseen", name, f"{part} could not be seen: {host.problems[part]}")


def unreachable(view: ClusterView) -> tuple[Finding, ...]:
    """Those that were asked and do not answer."""
    silent = {name: host.problems["host"] for name, host in view.hosts.items() if not host.reachable}
    return tuple(finding("host.unreachable", name, why) for name, why in silent.items() if name not in view.left_out)


def clocks(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """The hosts' clocks agree with each other (not necessarily with the operator's)."""
    found = {name: host.clock for name, host in view.hosts.items() if host.clock is not None}
    middle = median(found.values())
    wrong = [
        finding("clocks.apart", name, f"its clock is {abs(clock - middle):.1f} s {'ahead' if clock > middle else 'behind'}")
        for name, clock in found.items()
        if abs(clock - middle) > CLOCK_SECONDS
    ]
    yield from wrong or [ok("clocks", "clocks", f"within {CLOCK_SECONDS:g} s of each other")]


def services(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """The cluster's units run. The packaged PostgreSQL service, which would start a server of its own, does not."""
    serving = [one for one in COMPONENTS if one.group not in OPTIONAL_GROUPS]  # rules/backups.py sees to the other
    wanted = [(unit, view.hosts[h.name]) for one in serving for unit in one.units for h in cluster.carriers(one)]
    wrong = [
        finding("services.not-active", host.name, f"{unit} is {state}")
        for unit, host in wanted
        if host.reachable and not host.blank and (state := host.units.get(unit, "unknown")) not in RUNNING
    ]
    yield from wrong or [ok("services", "services", "the cluster's units are active on every host that answers")]
    for name, host in view.hosts.items():
        if host.runs("postgresql"):
            text = "postgresql.service is active: Patroni is who starts PostgreSQL, so mask it"
            yield finding("services.packaged-postgresql", name, text)
        if host.runs("patroni"):
            yield from _beside_patroni(host, cluster)


def _beside_patroni(host: HostView, cluster: Cluster) -> Iterator[Finding]:
    """What the cluster goes on without, at a price."""
    crash = f"Patroni sees a crash of PostgreSQL up to {cluster.timing.loop_wait} s later"
    voters = "after a change of voters, a failover needs those that have left, too"
    for rule, unit, costs in (("services.wake-not-active", WAKE, crash), ("services.confirm-not-active", CONFIRM, voters)):
        if not host.runs(unit):
            yield finding(rule, host.name, f"{unit}.service is {host.units.get(f'{unit}.service', 'unknown')}: {costs}")


def guards(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """What a failover needs that does not wait for a lease runs where the settings ask for it."""
    if not cluster.all.fast_failover:
        return
    lease = f"a primary whose host is gone is given up only when its lease has ended ({cluster.timing.ttl} s)"
    checks = "writes may go to a primary that is gone until its checks have failed"
    wrong = [
        finding(rule, host.name, f"{unit} is {host.units.get(unit, 'unknown')}: {costs}")
        for rule, unit, members, costs in (
            ("services.guard-not-active", GUARD_UNIT, cluster.postgres_hosts, lease),
            ("services.one-primary-not-active", ONE_PRIMARY_UNIT, cluster.haproxy_hosts, checks),
        )
        for host in (view.hosts[one.name] for one in members)
        if host.reachable and not host.blank and host.units.get(unit) not in RUNNING
    ]
    yield from wrong or [ok("services", "guards", "a primary whose host is gone is given up within seconds")]


def watchdog(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """A watchdog that the primary's host has is used: Patroni opens it when it comes to lead."""
    name = view.leader
    found = view.hosts[name].watchdog if name in view.hosts else None
    if name is None or found is None:
        return
    if found.used:
        yield ok("watchdog", name, "Patroni's: it resets the host if that hangs")
    elif found.owner != "postgres":
        yield finding("watchdog.not-used", name, f"{WATCHDOG} is {found.owner}'s, so Patroni can't open it: deploy")
    else:
        text = f"Patroni does not have {WATCHDOG}: something else does (RuntimeWatchdogSec in /etc/systemd/system.conf?), or it"
        yield finding("watchdog.not-used", name, f"{text} was not there when this host came to lead: `invoke switchover`")


def firewall(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """Every host has the packet filter that the settings ask for: a flush of the kernel's rules takes it away."""
    wrong = [
        finding("firewall.not-loaded", name, "its packet filter is gone, or is not as it was loaded: deploy to bring it back")
        for name, host in view.hosts.items()
        if host.filtered is False and not host.blank
    ]
    loaded = any(host.filtered for host in view.hosts.values())
    yield from wrong or ([ok("firewall", "firewall", "the packet filter is loaded on every host that answers")] if loaded else [])


def disks(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """The disks under the data and the journal have room. PostgreSQL stops when it can't write its log."""
    for name, host in view.hosts.items():
        for disk in host.disks:
            text = f"{disk.free / 1024**3:.1f} GiB are free of {disk.size / 1024**3:.1f} on the disk of {disk.path}"
            if disk.free < FULL_DISK * disk.size:
                yield finding("disks.full", name, f"{text} (docs/runbook.md, A disk fills up)")
            elif disk.free < NEARLY_FULL_DISK * disk.size:
                yield finding("disks.nearly-full", name, f"{text} (docs/runbook.md, A disk fills up)")


def failed_starts(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """Nothing is left of a first start that has failed."""
    for name, host in view.hosts.items():
        if host.failed_starts:
            left = " ".join(host.failed_starts)
            text = f"left of a first start that has failed, and used by nobody: when you have seen why, `rm -r {left}`"
            yield finding("disks.failed-start", name, text)


def etcd(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """All members answer, agree on who is a member, have a quorum, no alarm, and room below the quota."""
    names = {h.name for h in cluster.etcd_hosts}
    wrong: list[Finding] = []
    for host in (view.hosts[name] for name in sorted(names)):
        if host.etcd:
            wrong += _etcd_member(view, host.name, host.etcd, names, cluster.etcd.quota)
        elif "etcd" in host.problems and host.runs("etcd"):
            wrong.append(finding("etcd.silent", host.name, f"etcd does not answer: {host.problems['etcd']}"))
    yield from wrong
    if not wrong and all(view.hosts[name].etcd for name in names):
        yield ok("etcd", "etcd", f"all {len(names)} members healthy, no alarm, led by {view.etcd_leader}")


def _etcd_member(view: ClusterView, name: str, state: EtcdState, expected: set[str], quota: int) -> Iterator[Finding]:
    if not state.quorum:
        yield finding("etcd.no-quorum", name, "etcd has no quorum: it can neither elect nor confirm a leader")
    if not set(state.members.values()) ^ expected <= view.left_out:
        known, wanted = ", ".join(sorted(state.members.values())), ", ".join(sorted(expected))
        remedies = "; ".join(_members_put_right(state.members, expected))
        yield finding("etcd.other-members", name, f"etcd's members are {known}; the inventory has {wanted}: {remedies}")
    for alarm in state.alarms:
        yield finding("etcd.alarm", name, f"etcd alarm: {alarm}")
    if state.compaction in ("", "0", "0h"):
        text = "etcd keeps all of its history: deploy to have it compacted, or it grows until it refuses writes"
        yield finding("etcd.never-compacted", name, text)
    if state.outdated:
        text = "etcd goes on with what it was started with, its settings are newer: deploy when all of its members are healthy"
        yield finding("etcd.outdated", name, text)
    share = state.database_size / quota
    if share > QUOTA_SHARE:
        text = f"etcd's database has reached {share:.0%} of etcd_quota; when full, etcd refuses writes"
        yield finding("etcd.nearly-full", name, text)


def _members_put_right(members: dict[str, str], expected: set[str]) -> Iterator[str]:
    """What makes the members of etcd, names by id, those that the inventory has: a sentence for each that differs."""
    for number, member in sorted(members.items(), key=lambda one: one[1]):
        remove = f"if it is none of your hosts, `etcdctl member remove {int(number):x}` (docs/runbook.md, A stranger in etcd)"
        if member.startswith("https://"):
            yield f"{member} has never been up: a deploy starts it, and {remove}"
        elif member not in expected:
            yield f"put {member} back, and `invoke host.remove {member}` if it is to leave; {remove}"
    if missing := sorted(expected - set(members.values())):
        yield f"a deploy adds {', '.join(missing)}"


def certificates(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """No certificate is near its end."""
    ends = sorted((days, name, path) for name, host in view.hosts.items() for path, days in host.certificates.items())
    for days, name, path in ends:
        if path.endswith(AUTHORITY_FILE):
            if days < AUTHORITY_DAYS:
                text = f"{path} ends in {days} days, and all that it has signed (docs/runbook.md, A new certificate authority)"
                yield finding("certificates.authority-ends", name, text)
        elif days < RENEW_DAYS:
            rule = "certificates.expiring" if days < CERTIFICATE_DAYS else "certificates.to-renew"
            yield finding(rule, name, f"{path} ends in {days} days: deploy to renew it")
    if ends and ends[0][0] >= RENEW_DAYS:
        yield ok("certificates", "certificates", f"the first one to end has {ends[0][0]} days left")
