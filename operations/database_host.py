"""What a database host itself has to leave to PostgreSQL and Patroni: shared memory, and the watchdog."""

from __future__ import annotations

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import FactBase, StringCommand, operation

from cluster import paths

from .managed import Managed, directory, file_text
from .services import Unit, UnitFact

LOGIND = "/etc/systemd/logind.conf.d/60-pgquorum.conf"
UDEV = "/etc/udev/rules.d/60-pgquorum.rules"
LOGIND_UNIT = "systemd-logind.service"


def files() -> list[Managed]:
    """What systemd-logind reads when it starts or reloads, and udev when a watchdog appears."""
    return [
        directory("/etc/systemd/logind.conf.d"),
        directory("/etc/udev/rules.d"),
        Managed(LOGIND, file_text("systemd/logind.conf")),
        Managed(UDEV, file_text("udev/60-pgquorum.rules")),
    ]


class WatchdogOwner(FactBase[str]):
    """Whose the watchdog device is; empty where there is none."""

    def command(self) -> str:
        return f"stat --format %U {paths.WATCHDOG} 2>/dev/null || true"

    def process(self, output: list[str]) -> str:
        return "".join(output).strip()


@operation()
def apply() -> Generator[StringCommand]:
    """Lets logind read its file, where it has not yet, and gives a watchdog that is there already to Patroni's user."""
    if (host.get_fact(UnitFact, unit=LOGIND_UNIT, files=(LOGIND,)) or Unit()).reload_due:
        yield StringCommand(f"systemctl reload-or-restart {LOGIND_UNIT}")
    if host.get_fact(WatchdogOwner) not in ("", None, "postgres"):
        yield StringCommand(f"chown postgres {paths.WATCHDOG}")
