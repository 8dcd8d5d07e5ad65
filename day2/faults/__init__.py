"""Every fault there is, by name."""

from __future__ import annotations

from cluster.errors import ClusterError, did_you_mean

from .base import BaseFault
from .departures import LaggingThenCrash, LaggingThenOff, LaggingThenRestart, LaggingThenStop
from .disk import WalDiskFull
from .etcd import EtcdAllStop, EtcdLeaderKill, EtcdMemberKill
from .fault import Fault, FaultContext
from .lagging import LaggingReplica
from .network import HostHang, Partition, PartitionDatabases, PartitionHaproxy
from .power import HostOff, HostOffEtcdLeader, ReplicaOff, ReplicasOff
from .processes import DatabaseKill, HaproxyKill, PatroniKill, PatroniKillMasked, PatroniStop, PostgresKill, PostgresStop
from .proxies import ProxyHang, ProxyHostOff
from .replicas import ReplicasStop
from .repository import ArchiveHangs, HostLostForGood, RepositoryFull, RepositoryOff
from .switchover import Switchover

_ALL: tuple[type[BaseFault], ...] = (
    HostOff, HostOffEtcdLeader, PostgresKill, PostgresStop, PatroniKill, PatroniKillMasked, PatroniStop,
    Partition, PartitionDatabases, PartitionHaproxy, HostHang, EtcdMemberKill, EtcdLeaderKill, EtcdAllStop,
    ReplicaOff, ReplicasOff, ReplicasStop, HaproxyKill, ProxyHostOff, ProxyHang, WalDiskFull, Switchover, DatabaseKill,
    LaggingReplica, LaggingThenStop, LaggingThenCrash, LaggingThenRestart, LaggingThenOff,
    RepositoryOff, RepositoryFull, ArchiveHangs, HostLostForGood,
)  # fmt: skip
FAULTS: dict[str, type[BaseFault]] = {fault.name: fault for fault in _ALL}


def check(name: str) -> None:
    """Raises ClusterError unless there is a fault of that name."""
    if name not in FAULTS:
        raise ClusterError(f"--fault: no fault is called {name!r}{did_you_mean(name, FAULTS)}: there are {', '.join(FAULTS)}")


def laggard(context: FaultContext, beside: Fault) -> Fault:
    """A replica that lags while `beside` happens, on a host that this is not done to, where there is one."""
    return LaggingReplica(context, beside.hosts)


def choose(name: str, context: FaultContext) -> Fault:
    """The fault of that name, for the cluster as `context` has it. Raises ClusterError."""
    check(name)
    return FAULTS[name](context)
