"""Every fault there is, by name."""

from __future__ import annotations

from cluster.errors import ClusterError, did_you_mean

from .base import Base
from .consensus import EtcdAllStop, EtcdLeaderKill, EtcdMemberKill
from .departures import LaggingThenCrash, LaggingThenOff, LaggingThenRestart, LaggingThenStop
from .disk import WalDiskFull
from .fault import Fault, Site
from .lagging import LaggingReplica
from .network import Partition, PartitionDatabases, PartitionHaproxy
from .planned import Switchover
from .power import HostOff, HostOffEtcdLeader, ReplicaOff, ReplicasOff
from .processes import HaproxyKill, Kill, PatroniKill, PatroniKillMasked, PatroniStop, PostgresKill, PostgresStop
from .replicas import ReplicasStop

_ALL: tuple[type[Base], ...] = (
    HostOff, HostOffEtcdLeader, PostgresKill, PostgresStop, PatroniKill, PatroniKillMasked, PatroniStop,
    Partition, PartitionDatabases, PartitionHaproxy, EtcdMemberKill, EtcdLeaderKill, EtcdAllStop,
    ReplicaOff, ReplicasOff, ReplicasStop, HaproxyKill, WalDiskFull, Switchover, Kill,
    LaggingReplica, LaggingThenStop, LaggingThenCrash, LaggingThenRestart, LaggingThenOff,
)  # fmt: skip
FAULTS: dict[str, type[Base]] = {fault.name: fault for fault in _ALL}


def check(name: str) -> None:
    """Raises ClusterError unless there is a fault of that name."""
    if name not in FAULTS:
        raise ClusterError(f"no fault is called {name!r}{did_you_mean(name, FAULTS)}: there are {', '.join(FAULTS)}")


def laggard(site: Site, beside: Fault) -> Fault:
    """A replica that lags while something else strikes, if possible another host."""
    return LaggingReplica(site, beside.hosts)


def choose(name: str, site: Site) -> Fault:
    """The fault of that name, for the site as it is. Raises ClusterError."""
    check(name)
    return FAULTS[name](site)
