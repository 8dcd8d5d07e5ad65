"""Hosts that lose their power, by the commands in their settings `power_off` and `power_on`."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cluster.components import APART_TIMER
from cluster.errors import ClusterError
from cluster.topology import Host
from cluster.vault import ENVIRONMENT_PREFIX
from day2.hosts.observe import observe
from day2.predictions import failover, primary_stays
from day2.predictions.prediction import Prediction

from .base import BaseFault, lead_etcd_from, no_quorum_without, no_successor, spare_etcd_hosts
from .fault import FaultContext

POWER_SECONDS = 120
# From when etcd's leadership is brought about until the power is cut, with the warm-up between.
QUIET_SECONDS = 120
# From power-on until sshd answers: firmware and all.
BOOT_SECONDS = 600
# Between two looks whether another leads, each of which costs the hosts a second of processor time in all.
SUCCESSOR_LOOK_SECONDS = 2


class PowerOff(BaseFault):
    """Cuts the power of its targets; healed when they have booted."""

    targets_unreachable = True

    def describe(self) -> str:
        return f"cuts the power of {self.target_names} ({self.host.settings.power_off}) and gives it back"

    def blockers(self) -> list[str]:
        return [text for host in self.hosts for text in no_power_switch(host)]

    def inject(self) -> None:
        cut_power(self.hosts)

    def heal(self) -> None:
        give_power(self.context, self.hosts)


class HostOff(PowerOff):
    name = "host-off"
    summary = "the primary's host loses its power; etcd is led from another"

    def blockers(self) -> list[str]:
        return [*super().blockers(), *no_successor(self.context), *no_quorum_without(self.context, self.hosts)]

    def prepare(self) -> None:
        lead_etcd_from(self.context, spare_etcd_hosts(self.context))

    def prediction(self) -> Prediction:
        return failover.host_lost(
            self.context.timing, self.durability, etcd_leader_lost=False, guards=self.context.cluster.all.fast_failover
        )


class HostOffEtcdLeader(HostOff):
    name = "host-off-etcd-leader"
    summary = "the primary's host loses its power while it leads etcd as well"

    def blockers(self) -> list[str]:
        here = self.host in self.context.cluster.etcd_hosts
        none = [] if here else [f"{self.host.name} has no etcd member, so it can't lead etcd: this can't happen to the cluster"]
        return [*super().blockers(), *none]

    def prepare(self) -> None:
        """The timer that moves the leadership away again is kept still; a boot starts it, and so does another timer."""
        again = f"systemd-run --quiet --collect --on-active {QUIET_SECONDS} systemctl start {APART_TIMER}"
        quiet = f"systemctl stop {APART_TIMER} && {again}"
        answer = self.context.fleet.run(self.host.name, quiet)
        if not answer.ok:
            raise ClusterError(f"{self.host.name}: {APART_TIMER} can't be stopped: {answer.problem}")
        lead_etcd_from(self.context, self.hosts)

    def inject(self) -> None:
        if (leader := observe(self.context.fleet, self.context.cluster).etcd_leader) != self.host.name:
            raise ClusterError(f"{leader or 'nobody'} leads etcd by now, not {self.host.name}: nothing was done")
        super().inject()

    def prediction(self) -> Prediction:
        return failover.host_lost(
            self.context.timing, self.durability, etcd_leader_lost=True, guards=self.context.cluster.all.fast_failover
        )


class ReplicasOff(PowerOff):
    name = "replicas-off"
    summary = "two replicas' hosts lose their power"
    count = 2

    def targets(self) -> tuple[Host, ...]:
        """The replicas that matter most: what writes wait for, then what leads etcd."""
        view = self.context.view
        replicas = [host for host in self.context.cluster.postgres_hosts if host != self.context.primary]

        def importance(host: Host) -> tuple[bool, bool, str]:
            sender = view.sender(host.name)
            return (sender is None or sender.sync_state != "sync"), host.name != view.etcd_leader, host.name

        return tuple(sorted(replicas, key=importance)[: self.count])

    def blockers(self) -> list[str]:
        there = len(self.context.cluster.postgres_hosts) - 1
        few = [f"needs {self.count} replicas, and there {'is' if there == 1 else 'are'} {there}"] if there < self.count else []
        return [*few, *super().blockers()]

    def prediction(self) -> Prediction:
        context = self.context
        waited_for = any((s := context.view.sender(host.name)) and s.sync_state == "sync" for host in self.hosts)
        return primary_stays.replicas_lost(
            context.timing,
            self.durability,
            etcd_quorum=not no_quorum_without(context, self.hosts),
            left=len(context.cluster.postgres_hosts) - 1 - len(self.hosts),
            waited_for=waited_for,
        )


class ReplicaOff(ReplicasOff):
    name = "replica-off"
    summary = "a replica's host loses its power"
    count = 1


def cut_power(hosts: Sequence[Host]) -> None:
    """Cuts the power of all hosts at once. Raises ClusterError with all that failed."""
    _switch("power_off", hosts, lambda host: host.settings.power_off)


def give_power(context: FaultContext, hosts: Sequence[Host]) -> None:
    """Gives all hosts their power back at once, and waits until they have booted. Raises ClusterError with all that failed."""
    _switch("power_on", hosts, lambda host: host.settings.power_on)
    deadline = time.monotonic() + BOOT_SECONDS
    for host in hosts:
        while not (answer := context.fleet.run(host.name, "true", seconds=5)).ok:
            if time.monotonic() > deadline:
                raise ClusterError(f"{host.name} has power, and has not booted in {BOOT_SECONDS} s: {answer.problem}")
            time.sleep(0.5)


def await_successor(context: FaultContext, lost: Host) -> None:
    """Waits until another than the lost primary takes writes, but not for ever."""
    timing = context.timing
    deadline = time.monotonic() + timing.key_gone(etcd_leader_lost=True)[1] + 4 * timing.loop_wait
    while time.monotonic() < deadline:
        if any(name != lost.name for name in observe(context.fleet, context.cluster).writable):
            return
        time.sleep(SUCCESSOR_LOOK_SECONDS)


def _switch(setting: str, hosts: Sequence[Host], command: Callable[[Host], str | None]) -> None:
    def one(host: Host) -> str:
        try:
            run_locally(setting, host, command(host) or "")
        except ClusterError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(len(hosts)) as pool:
        failed = [text for text in pool.map(one, hosts) if text]
    if failed:
        raise ClusterError("; ".join(failed))


def no_power_switch(host: Host) -> list[str]:
    """Why a host's power can't be cut and given back."""
    missing = [name for name in ("power_off", "power_on") if not getattr(host.settings, name)]
    if not missing:
        return []
    return [
        f"{host.name}: no {' and no '.join(missing)} in the inventory: set both power_off and power_on to commands that cut"
        " and give back its power (through IPMI or the hypervisor), or use `--fault kill`, which ends PostgreSQL and Patroni"
        " by SSH"
    ]


def run_locally(setting: str, host: Host, command: str) -> None:
    """Runs a command on the operator's machine, without a shell. Raises ClusterError, naming the setting, if it fails.

    In a session of its own: the Ctrl-C that ends a test must not end what gives the power back.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(ENVIRONMENT_PREFIX)}  # no business of its
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    where = f"{setting} of {host.name} (`{command}`)"
    try:
        done = subprocess.run(
            shlex.split(command),
            env={**inherited, "PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=POWER_SECONDS,
            start_new_session=True,
            check=False,
        )
    except (OSError, ValueError) as error:
        raise ClusterError(f"{where} can't be run: {error}") from None
    except subprocess.TimeoutExpired:
        raise ClusterError(f"{where} was not done after {POWER_SECONDS} s") from None
    if done.returncode:
        output = (done.stderr or done.stdout).strip()
        raise ClusterError(f"{where} failed with exit code {done.returncode}{output and ': '}{output}")
