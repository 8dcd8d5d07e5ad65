"""Replicas that leave while all hosts and etcd stay."""

from __future__ import annotations

from cluster.topology import Host
from day2.predictions import primary_stays
from day2.predictions.prediction import Prediction

from .base import Base, no_successor
from .on_host import Harm, heal, inject

STOP = Harm("systemctl stop patroni.service\n", "systemctl start patroni.service\n")


class ReplicasStop(Base):
    name = "replicas-stop"
    summary = "Patroni and PostgreSQL are stopped on all replicas; hosts and etcd stay"

    def strikes(self) -> tuple[Host, ...]:
        return tuple(host for host in self.site.cluster.postgres_hosts if host != self.site.primary)

    def describe(self) -> str:
        return f"stops Patroni and PostgreSQL on {self.struck}, and later starts them again"

    def obstacles(self) -> list[str]:
        return no_successor(self.site)

    def inject(self) -> None:
        inject(self.site.fleet, self.hosts, STOP)

    def heal(self) -> None:
        heal(self.site.fleet, self.hosts, STOP)

    def prediction(self) -> Prediction:
        return primary_stays.replicas_stopped(self.site.timing, self.durability)
