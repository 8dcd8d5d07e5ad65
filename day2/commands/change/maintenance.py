"""`invoke pause`, `resume`, `reinit` and `etcd.move-leader`: single changes to a running cluster."""

from __future__ import annotations

import shlex
import time

from rich.console import Console
from rich.markup import escape

from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.hosts.changing import changing
from day2.hosts.interrupts import Interrupts
from day2.hosts.observe import observe
from day2.hosts.patroni_api import PatroniApi
from day2.hosts.ssh import Fleet
from day2.procedures.actions import Actions
from day2.procedures.executor import execute
from day2.procedures.steps import AwaitSpared, MoveEtcdLeader, Plan, Reinitialize
from day2.ui.console import EXIT_OK, EXIT_PROBLEM, confirm, console, size
from day2.ui.findings import show_findings
from health.finding import Finding
from health.rules import blocking, candidates, findings
from health.view import ClusterView

from .plans import print_plan, show_plan

AGREE_SECONDS = 30
REINIT_SECONDS = 6 * 3600


def pause(cluster: Cluster, *, paused: bool) -> int:
    """Turns automatic failover off or on, and returns when every member that answers knows. Raises ClusterError."""
    out = console()
    with changing(cluster, "pause" if paused else "resume") as (fleet, patroni, view):
        host = next((name for name, h in view.hosts.items() if h.patroni), None)
        if host is None or view.dcs is None:
            raise ClusterError("no Patroni or no etcd member answers, so nothing can be changed (`invoke status`)")
        if paused and view.primary:
            await_voters(out, fleet, cluster, patroni, view.leader or "")
        patroni.send(host, "PATCH", "/config", {"pause": True if paused else None})
        deadline = time.monotonic() + AGREE_SECONDS
        while unaware := [n for n, h in observe(fleet, cluster).hosts.items() if h.patroni and h.patroni.paused != paused]:
            if time.monotonic() > deadline:
                out.print(f"[red]problem[/]  {' and '.join(unaware)} did not take notice within {AGREE_SECONDS} s")
                return EXIT_PROBLEM
            time.sleep(0.5)
    if paused:
        out.print("[bold yellow]paused[/]: nothing fails over by itself until `invoke resume`; every status says so")
    else:
        out.print("[bold green]resumed[/]: automatic failover is on")
    return EXIT_OK


def await_voters(out: Console, fleet: Fleet, cluster: Cluster, patroni: PatroniApi, leader: str) -> None:
    """Gives replicas the time to have all that the primary has. When they don't, that is said: a pause must be possible."""
    try:
        with Interrupts(out.print) as interrupts:
            Actions(fleet, cluster, patroni, interrupts).await_spared(leader)
    except ClusterError as error:
        out.print(f"[yellow]warning[/]  {escape(str(error))}", soft_wrap=True)


def move_etcd_leader(cluster: Cluster, *, to: str | None, dry: bool, as_json: bool) -> int:
    """Makes another etcd member the leader: the one on host `to`, or one off the primary's host. `dry` prints the steps. Raises
    ClusterError."""
    out = console(as_json=as_json)
    with changing(cluster, "etcd.move-leader", dry=dry) as (fleet, patroni, view):
        leader, target = view.etcd_leader, etcd_target(view, cluster, to)
        plan: Plan = (MoveEtcdLeader(target),) if target != leader else ()
        show_plan(out, plan)
        if not plan:
            out.print(f"{leader} leads etcd already")
        elif not dry:
            known = blocking(findings(view, cluster), cluster)  # it may be what the move is to help with
            with Interrupts(out.print) as interrupts:
                for step in plan:
                    execute(step, Actions(fleet, cluster, patroni, interrupts, known))
            leader = observe(fleet, cluster).etcd_leader
            out.print(f"{leader or 'nobody'} leads etcd now")
    if as_json:
        print_plan(cluster, plan)
    return EXIT_OK if dry or leader == target else EXIT_PROBLEM


def etcd_target(view: ClusterView, cluster: Cluster, to: str | None) -> str:
    """The host whose member should lead etcd: `to`, or without that whoever leads it now if that is not the primary's host, else
    another one. Raises ClusterError."""
    leader = view.etcd_leader
    if leader is None:
        raise ClusterError("etcd has no leader: it has no quorum (`invoke status`)")
    healthy = [h.name for h in cluster.etcd_hosts if (etcd := view.hosts[h.name].etcd) and etcd.quorum]
    if to and cluster.host(to).name not in healthy:
        raise ClusterError(f"--to {to}: should be one of the healthy etcd members, {', '.join(healthy)}")
    others = [name for name in healthy if name not in (leader, view.leader)]
    return to or (leader if leader != view.leader else next(iter(others), leader))


def reinit(cluster: Cluster, *, host: str, from_primary: bool, dry: bool, yes: bool, force: bool, as_json: bool) -> int:
    """Makes a replica anew, from the repository where there is one, or `from_primary`: 0 when it streams. Raises ClusterError
    with what stands in the way; `force` overrides that no other replica could take over meanwhile, or that this one has what no
    other has; `dry` prints the steps."""
    out = console(as_json=as_json)
    cluster.host(host)
    with changing(cluster, f"reinit {host}", dry=dry) as (fleet, patroni, view):
        refuse_reinit(view, cluster, host, force=force)
        out.print(f"This [bold]deletes PostgreSQL's data on {host}[/] and copies it anew.")
        assert view.leader
        plan = reinit_steps(host, view.leader, patient=not force, repository=bool(cluster.backup_hosts) and not from_primary)
        show_plan(out, plan)
        code = EXIT_OK
        if not dry:
            confirm(out, yes=yes)
            before = identity(fleet, cluster, host)
            with Interrupts(lambda text: out.print("interrupted: a copy that has begun goes on by itself")) as interrupts:
                actions = Actions(fleet, cluster, patroni, interrupts)
                for step in plan:
                    execute(step, actions)
                code = await_copy(out, fleet, cluster, host, interrupts)
            if identity(fleet, cluster, host) == before:
                raise ClusterError(f"{host} runs with its old data: Patroni could not remove it (`invoke logs --host {host}`)")
    if as_json:
        print_plan(cluster, plan)
    return code


def reinit_steps(host: str, leader: str, *, patient: bool, repository: bool) -> Plan:
    """The plan; `patient` is not before all other voters have what `host` has, and readers have left it."""
    return (*((AwaitSpared(host),) if patient else ()), Reinitialize(host, leader, patient, repository))


def identity(fleet: Fleet, cluster: Cluster, host: str) -> str:
    """What changes when a data directory is made anew, also by what differs from a backup: which file pg_control is, and since
    when."""
    return fleet.run(host, f"stat -c '%i %W' {shlex.quote(cluster.postgres.data_directory)}/global/pg_control").output.strip()


def refuse_reinit(view: ClusterView, cluster: Cluster, host: str, *, force: bool) -> None:
    """Raises ClusterError unless `host` is a replica that can be spared."""
    if cluster.host(host) not in cluster.postgres_hosts:
        raise ClusterError(f"{host} is not a PostgreSQL host")
    if host == view.leader or host in view.writable:
        raise ClusterError(f"{host} is the primary: `invoke switchover` first")
    if view.leader is None or view.primary is None:
        raise ClusterError("there is no primary to copy from (`invoke status`)")
    if view.dcs and view.dcs.paused:
        raise ClusterError("the cluster is paused: `invoke resume` first")
    if view.hosts[host].patroni is None:
        raise ClusterError(f"Patroni on {host} does not answer, and it is what makes the copy (`invoke logs --host {host}`)")
    spare = [c.name for c in candidates(view, cluster) if c.name != host and view.sender(c.name)]
    if not spare and not force:
        raise ClusterError(f"while {host} is copied nobody could take over from {view.leader} (--force overrides this)")


def await_copy(out: Console, fleet: Fleet, cluster: Cluster, host: str, interrupts: Interrupts) -> int:
    """Shows how the copy goes, until the replica is as every rule wants it."""
    deadline, began = time.monotonic() + REINIT_SECONDS, time.monotonic()
    with out.status(f"{host}: copying") as shown:
        interrupts.sleep(2)
        while True:
            view = observe(fleet, cluster)
            wrong: tuple[Finding, ...] = tuple(f for f in findings(view, cluster) if f.level == "problem" and f.about == host)
            if not wrong and view.sender(host):
                break
            if time.monotonic() > deadline:
                show_findings(out, wrong)
                return EXIT_PROBLEM
            copied = view.primary.backup_bytes if view.primary else None
            shown.update(f"{host}: {size(copied) + ' copied' if copied else escape(wrong[0].text) if wrong else 'waiting'}")
            interrupts.sleep(1)
    out.print(f"[bold green]{host} streams[/] ({time.monotonic() - began:.0f} s)")
    return EXIT_OK
