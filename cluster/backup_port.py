"""Whether another `backup_port` would break off a backup or a drill: pgBackRest's server takes it by a restart alone. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .components import BACKUP_TYPES, DRILL_UNIT

RESTARTS = "restarts"


def command(port: int) -> str:
    """The command whose answer on each host that carries pgBackRest `problems` takes: whether its server listens elsewhere, and
    what is being made there."""
    running = {f"pgquorum-backup@{kind}.service": f"a backup is being made ({kind})" for kind in BACKUP_TYPES}
    asked = "; ".join(
        f'[ "$(systemctl is-active {unit} 2>/dev/null)" != activating ] || echo "{what}"'
        for unit, what in (running | {DRILL_UNIT: "a drill goes on"}).items()
    )
    server = 'tr "\\000" " " 2>/dev/null </proc/$(systemctl show -P MainPID pgbackrest.service)/cmdline'
    # One that listens there already is not restarted, and neither is one that does not run.
    return f'case "$({server})" in *" --tls-server-port={port} "*) ;; *" --tls-server-port="*) echo {RESTARTS} ;; esac; {asked}'


def problems(port: int, answers: Mapping[str, list[str]]) -> Iterator[str]:
    """What speaks against the port now. `answers` by the hosts' names."""
    if any(RESTARTS in lines for lines in answers.values()):
        for name, lines in sorted(answers.items()):
            for what in lines:
                if what != RESTARTS:
                    yield f"backup_port = {port}: pgBackRest's servers restart for it, and {name}: {what}: wait until it is done"
