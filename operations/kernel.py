"""The kernel's settings on every host: how soon it knows that another host is gone."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import FactBase, StringCommand, operation

from cluster.paths import KERNEL_SETTINGS
from cluster.timing import NEIGHBOUR_RETRANS_MS

from .context import Run
from .managed import Managed, directory, render


def files(run: Run) -> list[Managed]:
    """What systemd-sysctl reads at every boot, and udev for every network device that comes later."""
    keeps = run.host in run.cluster.backup_hosts
    text = render("kernel/60-pgquorum.conf.j2", retrans_ms=NEIGHBOUR_RETRANS_MS, keeps_backups=keeps)
    return [directory("/etc/sysctl.d"), Managed(KERNEL_SETTINGS, text)]


class Outdated(FactBase[list[str]]):
    """The settings that run otherwise; none where they can't be changed, as in some containers."""

    def command(self) -> str:
        # Each line of the file, its pattern as one of paths: `net.ipv4.neigh.*.x = 1` is /proc/sys/net/ipv4/neigh/*/x.
        return (
            f"[ ! -e {KERNEL_SETTINGS} ] || grep = {KERNEL_SETTINGS} | while read -r key _ value; do"
            " for s in /proc/sys/$(echo $key | tr . /);"
            ' do [ ! -w "$s" ] || [ "$(cat "$s")" = "$value" ] || echo "$s"; done; done'
        )

    def process(self, output: list[str]) -> list[str]:
        return output


@operation()
def apply() -> Generator[StringCommand]:
    """Lets the kernel read the file, where it runs otherwise."""
    if host.get_fact(Outdated):
        yield StringCommand(f"/usr/lib/systemd/systemd-sysctl {KERNEL_SETTINGS}")
