"""etcd: a member that dies and comes back, and all of them stopped."""

from __future__ import annotations

from cluster.topology import Host
from day2.predictions import primary_stays
from day2.predictions.prediction import Prediction

from .base import BaseFault
from .script import HostScript, heal, inject

KILL = HostScript("systemctl kill --signal=KILL etcd.service\n")
# Starting does not wait: a member is ready only when a majority is.
STOP = HostScript("systemctl stop etcd.service\n", "systemctl start --no-block etcd.service\n")


class EtcdMemberKill(BaseFault):
    name = "etcd-member-kill"
    summary = "an etcd member that does not lead is killed (SIGKILL); systemd starts it again"
    needs_healing = False

    def targets(self) -> tuple[Host, ...]:
        """A member that does not lead, rather that of the primary's host: it is the nearest to Patroni there."""
        others = [host for host in self.context.cluster.etcd_hosts if host.name != self.context.view.etcd_leader]
        return tuple(sorted(others, key=lambda host: host != self.context.primary)[:1])

    def describe(self) -> str:
        return f"kills etcd on {self.target_names} (SIGKILL); systemd starts it again"

    def blockers(self) -> list[str]:
        return [] if self.hosts else ["there is only one etcd member, and it leads"]

    def inject(self) -> None:
        inject(self.context.fleet, self.hosts, KILL)

    def prediction(self) -> Prediction:
        return primary_stays.etcd_restarts(self.context.timing, leader=False)


class EtcdLeaderKill(EtcdMemberKill):
    name = "etcd-leader-kill"
    summary = "the etcd member that leads is killed (SIGKILL); systemd starts it again"

    def targets(self) -> tuple[Host, ...]:
        return tuple(host for host in self.context.cluster.etcd_hosts if host.name == self.context.view.etcd_leader)

    def blockers(self) -> list[str]:
        return [] if self.hosts else ["etcd has no leader now (`invoke status`)"]

    def prediction(self) -> Prediction:
        return primary_stays.etcd_restarts(self.context.timing, leader=True)


class EtcdAllStop(BaseFault):
    name = "etcd-all-stop"
    summary = "etcd is stopped on all hosts; failsafe_mode lets the primary go on"

    def targets(self) -> tuple[Host, ...]:
        return self.context.cluster.etcd_hosts

    def describe(self) -> str:
        return f"stops etcd on {self.target_names}, and later starts it again"

    def blockers(self) -> list[str]:
        dcs = self.context.view.dcs
        if dcs and not dcs.config.get("failsafe_mode"):
            return ["failsafe_mode is off, so the primary would step down (`invoke config` shows it; a deploy sets it)"]
        return []

    def inject(self) -> None:
        inject(self.context.fleet, self.hosts, STOP)

    def heal(self) -> None:
        heal(self.context.fleet, self.hosts, STOP)

    def prediction(self) -> Prediction:
        return primary_stays.etcd_gone(self.context.timing)
