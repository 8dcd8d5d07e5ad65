"""What happens to the proxy host that clients come through, where there is another one that they can go to."""

from __future__ import annotations

from cluster.topology import Host
from day2.predictions import primary_stays
from day2.predictions.prediction import Prediction

from .base import BaseFault
from .fault import FaultContext
from .power import PowerOff
from .script import HostScript, heal, inject

HAPROXY = "haproxy.service"


def no_other_proxy(context: FaultContext) -> list[str]:
    """Why clients would have nowhere to go to."""
    if len(context.cluster.haproxy_hosts) > 1:
        return []
    return ["there is only one host in group haproxy, so clients could go nowhere else: have two"]


class ProxyHostOff(PowerOff):
    name = "proxy-host-off"
    summary = "the proxy host that clients come through loses its power"

    def targets(self) -> tuple[Host, ...]:
        return (self.context.entrance,)

    def blockers(self) -> list[str]:
        cluster = self.context.cluster
        carries = [
            name for name, hosts in (("PostgreSQL", cluster.postgres_hosts), ("etcd", cluster.etcd_hosts)) if self.host in hosts
        ]
        shared = [f"{self.host.name} has {' and '.join(carries)}, too: that is lost with it"] if carries else []
        return [*no_other_proxy(self.context), *shared, *super().blockers()]

    def prediction(self) -> Prediction:
        return primary_stays.proxy_lost(self.context.timing, by_address=self.context.by_address)


class ProxyHang(BaseFault):
    name = "proxy-hang"
    summary = "HAProxy on the proxy host that clients come through hangs (SIGSTOP)"
    # Whoever does not stand still does not mind.
    host_script = HostScript(f"systemctl kill --signal=STOP {HAPROXY}\n", f"systemctl kill --signal=CONT {HAPROXY} 2>/dev/null\n")

    def targets(self) -> tuple[Host, ...]:
        return (self.context.entrance,)

    def describe(self) -> str:
        return f"stops HAProxy on {self.target_names} (SIGSTOP: it hangs), and lets it go on"

    def blockers(self) -> list[str]:
        return no_other_proxy(self.context)

    def inject(self) -> None:
        inject(self.context.fleet, self.hosts, self.host_script)

    def heal(self) -> None:
        heal(self.context.fleet, self.hosts, self.host_script)

    def prediction(self) -> Prediction:
        return primary_stays.proxy_hangs(self.context.timing, by_address=self.context.by_address)
