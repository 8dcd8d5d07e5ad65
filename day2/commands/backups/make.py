"""`invoke backup`: a backup now, by the unit that the timers use: so it goes on when the operator's connection ends."""

from __future__ import annotations

from rich.markup import escape

from cluster.components import BACKUP_TYPES
from cluster.errors import ClusterError, did_you_mean
from cluster.topology import Cluster
from day2.hosts.observe import observe
from day2.hosts.ssh import CommandResult, Fleet
from day2.ui.console import EXIT_OK, EXIT_PROBLEM, console
from health.backup_states import BackupState

from .keeper import keeper
from .listing import in_words

# A backup of much data takes hours.
PATIENCE = 7 * 24 * 3600.0


def make(cluster: Cluster, *, kind: str) -> int:
    """0 when the backup is there, 1 when it has failed. Raises ClusterError for a type that is none."""
    if kind not in BACKUP_TYPES:
        raise ClusterError(f"--type {kind}{did_you_mean(kind, BACKUP_TYPES)}: should be {', '.join(BACKUP_TYPES)}")
    host, out = keeper(cluster), console()
    unit = f"pgquorum-backup@{kind}.service"
    with Fleet([host]) as fleet:
        known = _labels(_seen(fleet, cluster))
        out.print(f"a backup ({kind}) is being made on {host.name}: `invoke logs --component pgbackrest --follow` shows it")
        answer = fleet.run(host.name, f"systemctl start --wait {unit}", seconds=PATIENCE)
        state = _seen(fleet, cluster)
    if answer.ok:
        made = [one for one in state.backups if one.label not in known] if state else []
        out.print(in_words(made[-1]) if made else "it is there", soft_wrap=True)
        return EXIT_OK
    out.print(f"[red]problem[/]  {escape(_why(answer, unit))}", soft_wrap=True)
    return EXIT_PROBLEM


def _seen(fleet: Fleet, cluster: Cluster) -> BackupState | None:
    return observe(fleet, cluster, [keeper(cluster)]).hosts[keeper(cluster).name].backups


def _labels(state: BackupState | None) -> set[str]:
    return {one.label for one in state.backups} if state else set()


def _why(answer: CommandResult, unit: str) -> str:
    if answer.code is None:
        return f"{answer.host}: {answer.problem}; if it had begun, it goes on there ({unit})"
    return f"{answer.host}: {unit} has failed: `invoke logs --component pgbackrest`"
