"""keepalived: which of the proxy hosts has the virtual address that clients come by, where the settings have one."""

from __future__ import annotations

import shlex
from collections.abc import Generator

from pyinfra import host
from pyinfra.api import FactBase, StringCommand, operation

from cluster import entry, paths, timing

from .context import Run
from .managed import Managed, directory, render
from .services import Unit, UnitFact, first_start, or_journal

UNIT = "keepalived.service"
USER = paths.KEEPALIVED_USER
DROP_IN = f"/etc/systemd/system/{UNIT}.d/pgquorum.conf"


def files(run: Run) -> list[Managed]:
    """Everything keepalived reads, and the check that it runs."""
    part = entry.part(run.cluster, run.host, run.surveys[run.host.name])
    text = render("keepalived/keepalived.conf.j2", cluster=run.cluster, host=run.host, part=part, timing=timing)
    return [
        directory("/usr/local/lib/pgquorum"),
        Managed(
            paths.CHECK_HAPROXY,
            render("keepalived/check-haproxy.sh.j2", seconds=int(timing.ENTRY_ANSWER_SECONDS)),
            mode="755",
        ),
        directory("/etc/keepalived"),
        Managed(paths.KEEPALIVED_CONFIG, text, check="keepalived --config-test --use-file={} >/dev/null"),
        directory(f"/etc/systemd/system/{UNIT}.d"),
        Managed(DROP_IN, render("keepalived/keepalived.service.conf.j2", part=part)),
    ]


@operation()
def start_or_reload() -> Generator[StringCommand]:
    """Starts keepalived where it does not run, and has it read a configuration that is newer than what it runs with: an address
    that is still the one of the settings stays where it is."""
    unit = host.get_fact(UnitFact, unit=UNIT, files=(paths.KEEPALIVED_CONFIG,)) or Unit()
    if unit.stale:
        yield StringCommand("systemctl daemon-reload")
    if not (unit.active and unit.enabled):
        yield or_journal(first_start(UNIT), UNIT)
    if unit.active and paths.KEEPALIVED_CONFIG not in unit.command_line:
        # The package's own, started before it was configured.
        yield or_journal(f"systemctl restart {UNIT}", UNIT)
    elif unit.reload_due:
        yield or_journal(f"systemctl reload {UNIT}", UNIT)


class Written(FactBase[bool]):
    """Whether the host has a configuration of keepalived that the deploy has written."""

    def command(self) -> str:
        return f"ls {DROP_IN} 2>/dev/null || true"

    def process(self, output: list[str]) -> bool:
        return bool(output)


@operation()
def leave() -> Generator[StringCommand]:
    """Ends it on a host of a cluster without such an address, which goes with it, and takes away what it has read."""
    if host.get_fact(Written):
        yield StringCommand(f"systemctl disable --now --quiet {UNIT}")
        files = (paths.KEEPALIVED_CONFIG, paths.CHECK_HAPROXY, DROP_IN)
        yield StringCommand(f"rm -f {' '.join(map(shlex.quote, files))}")
        yield StringCommand("systemctl daemon-reload")
