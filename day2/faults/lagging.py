"""A replica that gets its WAL slowly, as over a bad link: on its own host, packets of its stream beyond a rate are dropped.

TCP sends them again, so the stream goes on at about that rate, and what is not through waits on the primary's host. Patroni,
etcd and SSH are not touched.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.topology import Host
from day2.predictions import primary_stays
from day2.predictions.prediction import Prediction

from .base import BaseFault, no_successor
from .fault import FaultContext
from .network import no_nft
from .script import HostScript, heal, inject

# Well below what the writers write (600 kB/s, on a busy machine 60), and enough that the largest message of the stream (128 kB,
# MAX_SEND_SIZE in PostgreSQL's walsender.c) is through well within wal_sender_timeout: slow, and not taken for dead.
KBYTES_PER_SECOND = 24
MESSAGE_KBYTES = 128
# A packet can have 64 kB here, before the network card splits it, and one larger than the allowance would never get through.
BURST_KBYTES = 64
TABLE = "pgquorum_lag"
# Left to itself for as long as any fault of this kind may last, and beside another fault on the same host.
TIMER = "pgquorum-heal-lag"
LIFT = f"! nft list table inet {TABLE} >/dev/null 2>&1 || nft delete table inet {TABLE} || exit 1\n"


def throttle(primary: Host, port: int) -> HostScript:
    """For the host of a replica: what comes from PostgreSQL on `primary` passes slowly."""
    family = "ip6" if ":" in primary.address else "ip"
    over = f"limit rate over {KBYTES_PER_SECOND} kbytes/second burst {BURST_KBYTES} kbytes"
    rules = (
        f"table inet {TABLE} {{ }}",
        f"delete table inet {TABLE}",
        f"table inet {TABLE} {{",
        "chain arriving {",
        "type filter hook input priority -300;",
        f"{family} saddr {primary.address} tcp sport {port} {over} drop",
        "}",
        "}",
    )
    return HostScript("nft -f - <<END_OF_RULES\n" + "\n".join(rules) + "\nEND_OF_RULES\n", LIFT, timer=TIMER)


class LaggingReplica(BaseFault):
    name = "lagging-replica"
    summary = "a replica gets its write-ahead log slowly, and lags further and further behind"
    never_while_lagging = True

    def __init__(self, context: FaultContext, apart_from: Sequence[Host] = ()) -> None:
        """Rather none of `apart_from`, to which something else is done."""
        self._apart_from = apart_from
        super().__init__(context)

    def targets(self) -> tuple[Host, ...]:
        """A replica that no write waits for, where there is one."""

        def last(host: Host) -> tuple[bool, bool, str]:
            return host in self._apart_from, _waited_for(self.context, host), host.name

        return tuple(sorted(replicas(self.context), key=last)[:1])

    def describe(self) -> str:
        return f"lets {self.target_names} have {KBYTES_PER_SECOND} kB/s of write-ahead log, and later lets it catch up"

    def blockers(self) -> list[str]:
        return no_successor(self.context) or no_nft(self.context, self.host)

    @property
    def host_script(self) -> HostScript:
        return throttle(self.context.primary, self.context.cluster.postgres.port)

    def inject(self) -> None:
        inject(self.context.fleet, self.hosts, self.host_script)

    def heal(self) -> None:
        heal(self.context.fleet, self.hosts, self.host_script)

    def prediction(self) -> Prediction:
        waited_for = _waited_for(self.context, self.host) or len(replicas(self.context)) == 1
        message = MESSAGE_KBYTES / KBYTES_PER_SECOND
        return primary_stays.replica_lags(self.context.timing, self.durability, waited_for=waited_for, message=message)


def replicas(context: FaultContext) -> list[Host]:
    """The database hosts but for the primary's."""
    return [host for host in context.cluster.postgres_hosts if host != context.primary]


def _waited_for(context: FaultContext, host: Host) -> bool:
    """Whether every write waits for this replica."""
    sender = context.view.sender(host.name)
    return sender is not None and sender.sync_state == "sync"
