"""Runs the steps of plans."""

from __future__ import annotations

from contextlib import nullcontext
from typing import assert_never

from cluster.errors import ClusterError
from health.view import ClusterView

from .actions import Actions
from .rolling import waits
from .steps import (
    AwaitSpared,
    Checkpoint,
    FetchPackages,
    ForgetHost,
    HandOver,
    InstallPackages,
    MoveAddress,
    MoveEtcdLeader,
    RebootHost,
    Reinitialize,
    ReloadUnit,
    RemoveEtcdMember,
    RestartPatroni,
    RestartPostgres,
    RestartTogether,
    RestartUnit,
    Step,
    StopUnits,
    SwitchOver,
)


def execute(step: Step, actions: Actions) -> None:
    """Does a step. What restarts or moves something returns when the cluster is healthy again.

    Raises ClusterError and KeyboardInterrupt, with the step's own settings undone. What was interrupted begins no step.
    """
    actions.check_interrupted()
    match step:
        case AwaitSpared(host):
            actions.await_spared(host)
            actions.refuse_last_copy(host)
        case Checkpoint(host):
            actions.checkpoint(host)
        case HandOver(leader, to, hold, drained):
            with actions.drained(to, until_noticed=True) if drained else nullcontext():
                actions.hand_over(leader, to, hold)
        case Reinitialize(host, _, drained, repository):
            with actions.drained(host, until_noticed=True) if drained else nullcontext():
                if drained:
                    actions.await_spared(host)
                    actions.refuse_last_copy(host)
                actions.reinitialize(host, repository=repository)
        case RestartPostgres() | RestartPatroni():
            _restart_member(step, actions)
        case SwitchOver():
            _switch_over(step, actions)
        case MoveEtcdLeader(to):
            _move_etcd_leader(to, actions)
        case MoveAddress(host, address):
            actions.move_address(host, address)
        case RestartUnit(host, unit):
            actions.systemctl(host, "restart", unit)
            actions.await_healthy(lambda view: view.hosts[host].runs(unit.removesuffix(".service")), host)
        case ReloadUnit(host, unit):
            actions.systemctl(host, "reload", unit)
            actions.await_healthy()
        case StopUnits(host, units, drained):
            with actions.drained(host) if drained else nullcontext():
                actions.systemctl(host, "disable --now --quiet", " ".join(units))
        case RemoveEtcdMember(host):
            actions.remove_etcd_member(host)
        case ForgetHost(host, reachable):
            actions.forget(host, reachable=reachable)
        case RebootHost():
            _reboot(step, actions)
        case FetchPackages(changes, run, insist):
            actions.fetch_packages(changes, run, insist=insist)
        case InstallPackages(changes):
            actions.install_packages(changes)
        case RestartTogether(hosts, unit):
            actions.restart_together(hosts, unit)
            actions.await_healthy(lambda view: all(view.hosts[host].runs(unit.removesuffix(".service")) for host in hosts))
        case _:
            assert_never(step)


def _refuse_leader(step: RestartPostgres | RestartPatroni | RebootHost, view: ClusterView) -> None:
    """Raises ClusterError where a member that clients were to be spared of has become the primary since the plan was made."""
    if step.drained and view.leader == step.host:
        raise ClusterError(f"{step.host} leads now, and did not when this was planned: the same command plans anew")


def _restart_member(step: RestartPostgres | RestartPatroni, actions: Actions) -> None:
    _refuse_leader(step, actions.view())
    actions.refuse_unstartable(step.host)
    with actions.drained(step.host) if step.drained else nullcontext():
        actions.await_spared(step.host)  # at last: draining takes its time, in which another may fall behind
        if isinstance(step, RestartPatroni):
            actions.systemctl(step.host, "restart", "patroni.service")
        else:
            actions.restart_postgres(step.host)
    actions.await_healthy(lambda view: not waits(view, step.host), step.host)


def _reboot(step: RebootHost, actions: Actions) -> None:
    """Its leadership of etcd may have come to it since the plan was made: by an election, or to be off the primary's host."""
    view = actions.view()
    _refuse_leader(step, view)
    actions.refuse_busy(step.host, view)
    if view.etcd_leader == step.host:
        others = [name for name, host in view.hosts.items() if name != step.host and host.etcd and host.etcd.quorum]
        if others:
            actions.move_etcd_leader(step.host, min(others, key=lambda name: (name == view.leader, name)))
    with actions.drained(step.host, rebooted=True) if step.drained else nullcontext():
        if step.drained:
            actions.await_spared(step.host)
        actions.reboot(step.host)
    actions.await_healthy()


def _switch_over(step: SwitchOver, actions: Actions) -> None:
    """Does nothing where `to` leads by now; another leader than the one that was planned with is an error."""
    leader, to, now = step.leader, step.to, actions.view().leader
    if now not in (leader, to):
        raise ClusterError(f"{now or 'nobody'} leads now, and {leader} did when this was planned")
    if now == leader:
        actions.await_spared(leader)
        actions.checkpoint(leader)
        actions.switch_over(leader, to, step.hold)
    actions.await_healthy()


def _move_etcd_leader(to: str, actions: Actions) -> None:
    leader = actions.view().etcd_leader
    if leader and leader != to:
        actions.move_etcd_leader(leader, to)
    actions.await_healthy()
