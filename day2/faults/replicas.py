"""Replicas that leave while all hosts and etcd stay."""

from __future__ import annotations

from cluster.topology import Host
from day2.predictions import primary_stays
from day2.predictions.prediction import Prediction

from .base import BaseFault, no_successor
from .script import HostScript, heal, inject

STOP = HostScript("systemctl stop patroni.service\n", "systemctl start patroni.service\n")


class ReplicasStop(BaseFault):
    name = "replicas-stop"
    summary = "Patroni and PostgreSQL are stopped on all replicas; hosts and etcd stay"

    def targets(self) -> tuple[Host, ...]:
        return tuple(host for host in self.context.cluster.postgres_hosts if host != self.context.primary)

    def describe(self) -> str:
        return f"stops Patroni and PostgreSQL on {self.target_names}, and later starts them again"

    def blockers(self) -> list[str]:
        return no_successor(self.context)

    def inject(self) -> None:
        inject(self.context.fleet, self.hosts, STOP)

    def heal(self) -> None:
        heal(self.context.fleet, self.hosts, STOP)

    def prediction(self) -> Prediction:
        return primary_stays.replicas_stopped(self.context.timing, self.durability)
