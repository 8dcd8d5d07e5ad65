"""A network that is cut in two: the primary's host on one side, all or some of the others on the other side.

The packets are dropped on the primary's host, both ways, those of open connections too; nobody is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cluster.topology import Host
from day2.predictions import failover, primary_stays
from day2.predictions.prediction import Prediction

from .base import BaseFault, lead_etcd_from, no_quorum_without, no_successor, spare_etcd_hosts
from .fault import FaultContext
from .script import HostScript, heal, inject

# Through sudo, SSH_CONNECTION is to be had from the processes above only: their address and port, our address and port.
FIND_OPERATOR = """pid=$$ ssh=
while [ "$pid" -gt 1 ] && [ -z "$ssh" ]; do
    ssh=$(tr '\\0' '\\n' < "/proc/$pid/environ" | sed -n 's/^SSH_CONNECTION=//p')
    pid=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status")
done
set -- $ssh
if [ $# != 4 ]; then echo "the operator's own SSH connection is not to be found, and would be cut" >&2; exit 1; fi
operator=${1%%%*} port=$4
case $operator in *:*) family=ip6 ;; *) family=ip ;; esac
"""
MEND = "! nft list table inet pgquorum_fault >/dev/null 2>&1 || nft delete table inet pgquorum_fault || exit 1\n"
# A kernel that hangs answers nobody, and this one does: so its network goes, too. First all stands still, so that what clients
# have asked for by then waits to be done. Patroni's unit is PostgreSQL's, too; where etcd is elsewhere, it is not to be stopped.
BESIDE = "etcd.service 'pgquorum-*.service'"
STAND_STILL = f"systemctl kill --signal=STOP patroni.service\nsystemctl kill --signal=STOP {BESIDE} 2>/dev/null || true\n"
GO_ON = f"systemctl kill --signal=CONT patroni.service {BESIDE} 2>/dev/null\n"
# IPv6 finds the operator's hardware address by these, as IPv4 does by ARP, which is never touched.
NEIGHBOURS = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, nd-router-advert } accept"


def rules(addresses: Sequence[str] | None) -> str:
    """sh that cuts this host off from the addresses, or from everybody (None), but for itself and the operator's SSH.

    One transaction; before connection tracking, so that no rule of the host's own lets anything through.
    """
    arriving = leaving = [NEIGHBOURS, "drop"]
    if addresses is not None:
        arriving = [f"{'ip6' if ':' in a else 'ip'} saddr {a} drop" for a in addresses]
        leaving = [f"{'ip6' if ':' in a else 'ip'} daddr {a} drop" for a in addresses]
    lines = [
        "table inet pgquorum_fault { }",
        "delete table inet pgquorum_fault",
        "table inet pgquorum_fault {",
        "chain arriving {",
        "type filter hook input priority -300;",
        'iifname "lo" accept',
        "$family saddr $operator tcp dport $port accept",
        *arriving,
        "}",
        "chain leaving {",
        "type filter hook output priority -300;",
        'oifname "lo" accept',
        "$family daddr $operator tcp sport $port accept",
        *leaving,
        "}",
        "}",
    ]
    return "nft -f - <<END_OF_RULES\n" + "\n".join(lines) + "\nEND_OF_RULES\n"


def no_nft(context: FaultContext, host: Host) -> list[str]:
    """Why no packets can be dropped on a host."""
    answer = context.fleet.run(host.name, "command -v nft")
    if answer.ok:
        return []
    if answer.code is None:
        return [f"{host.name}: {answer.problem}"]
    return [f"{host.name} has no nft, which would drop the packets: install the package nftables"]


class NetworkCut(BaseFault):
    """Cuts the primary's host off from some others, or from everybody."""

    targets_unreachable = True

    def cut_off_from(self) -> list[Host] | None:
        """The hosts that the primary's is cut off from; None for everybody."""
        return None

    def blockers(self) -> list[str]:
        return no_nft(self.context, self.host)

    @property
    def host_script(self) -> HostScript:
        others = self.cut_off_from()
        addresses = None if others is None else [host.address for host in others]
        return HostScript(FIND_OPERATOR + rules(addresses), MEND)

    def inject(self) -> None:
        inject(self.context.fleet, self.hosts, self.host_script)

    def heal(self) -> None:
        heal(self.context.fleet, self.hosts, self.host_script)

    def _others(self, hosts: Iterable[Host]) -> list[Host]:
        return [host for host in hosts if host != self.host]


class Partition(NetworkCut):
    name = "partition"
    summary = "the primary's host is cut off from everybody: hosts and clients"

    def describe(self) -> str:
        return f"cuts {self.target_names} off from everybody but this SSH connection, and later mends it"

    def blockers(self) -> list[str]:
        return [*super().blockers(), *no_successor(self.context), *no_quorum_without(self.context, self.hosts)]

    def prepare(self) -> None:
        lead_etcd_from(self.context, spare_etcd_hosts(self.context))

    def prediction(self) -> Prediction:
        return failover.host_lost(
            self.context.timing, self.durability, etcd_leader_lost=False, off=False, guards=self.context.cluster.all.fast_failover
        )


class HostHang(Partition):
    name = "host-hang"
    summary = "the primary's host hangs: PostgreSQL, Patroni and etcd stand still, its network is dead, and later all goes on"

    def describe(self) -> str:
        return (
            f"stops PostgreSQL, Patroni and etcd on {self.target_names} (SIGSTOP) and cuts it off from everybody but this SSH"
            " connection, and later lets all go on as if nothing had been"
        )

    @property
    def host_script(self) -> HostScript:
        cut = super().host_script
        return HostScript(STAND_STILL + cut.inject, GO_ON + cut.heal)


class PartitionDatabases(NetworkCut):
    name = "partition-databases"
    summary = "the primary's host is cut off from the other database hosts, not from HAProxy and clients"

    def describe(self) -> str:
        return f"cuts {self.target_names} off from the other database hosts, and later mends it"

    def cut_off_from(self) -> list[Host]:
        return self._others(self.context.cluster.postgres_hosts)

    def blockers(self) -> list[str]:
        return [*super().blockers(), *no_successor(self.context)]

    def prepare(self) -> None:
        # Whoever stays with the majority of etcd: nobody needs an election first.
        majority = spare_etcd_hosts(self.context) if self._loses_etcd else self.context.cluster.etcd_hosts
        lead_etcd_from(self.context, majority)

    @property
    def _loses_etcd(self) -> bool:
        return bool(no_quorum_without(self.context, self.cut_off_from()))

    def prediction(self) -> Prediction:
        return failover.cut_from_replicas(self.context.timing, self.durability, etcd_lost=self._loses_etcd)


class PartitionHaproxy(NetworkCut):
    name = "partition-haproxy"
    summary = "the primary's host is cut off from the HAProxy hosts only"
    targets_unreachable = False  # etcd and the other databases are where they were

    def describe(self) -> str:
        return f"cuts {self.target_names} off from the HAProxy hosts, and later mends it"

    def cut_off_from(self) -> list[Host]:
        return self._others(self.context.cluster.haproxy_hosts)

    def blockers(self) -> list[str]:
        shared = self.host in self.context.cluster.haproxy_hosts
        here = [f"HAProxy runs on {self.host.name} itself, which can't be cut off from itself"] if shared else []
        return [*here, *super().blockers()]

    def prediction(self) -> Prediction:
        return primary_stays.cut_from_haproxy(self.context.timing)
