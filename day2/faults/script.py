"""Faults that a script brings about on a host, over SSH. A timer on the host heals it should nobody else."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cluster.errors import ClusterError
from cluster.topology import Host
from day2.hosts.ssh import Fleet

# A host whose operator vanished in the middle of a test heals itself after this time.
SELF_HEAL_SECONDS = 900
# Starting Patroni or etcd, and having PostgreSQL write until its disk is full.
SCRIPT_SECONDS = 120

# The timer and the script it runs lie in /run: a reboot, which heals all of these faults but a full disk, takes them away.
ARM = f"""
systemctl stop $timer.timer 2>/dev/null || true
systemctl reset-failed $timer.service 2>/dev/null || true
systemd-run --quiet --collect --unit $timer --on-active {SELF_HEAL_SECONDS} sh /run/$timer
"""
DISARM = """
systemctl stop $timer.timer 2>/dev/null
rm -f /run/$timer
true
"""


@dataclass(frozen=True)
class HostScript:
    """What is run on a host to inject a fault and to heal it, in sh, with `values` as variables.

    `inject` stops at the first command that fails; `heal` goes on, must be right on a host that is healthy or was rebooted
    meanwhile, and is empty for what heals by itself. `timer` is the unit that heals: a script that may run on a host beside
    another needs one of its own.
    """

    inject: str
    heal: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    timer: str = "pgquorum-heal"

    @property
    def injection(self) -> str:
        """The whole script that injects it, timer and all."""
        if not self.heal:
            return f"set -e\n{self._assignments}{self.inject}"
        kept = f"cat > /run/$timer <<'END_OF_HEAL'\n{self._assignments}{self.heal}\nEND_OF_HEAL\n"
        return f"set -e\ntimer={self.timer}\n{kept}{ARM}{self._assignments}{self.inject}"

    @property
    def healing(self) -> str:
        """The whole script that heals it and stops the timer."""
        return f"{self._assignments}{self.heal}\ntimer={self.timer}\n{DISARM}"

    @property
    def _assignments(self) -> str:
        return "".join(f"{name}={shlex.quote(value)}\n" for name, value in self.values.items())


def inject(fleet: Fleet, hosts: Iterable[Host], script: HostScript) -> None:
    """Runs the script that injects on all hosts at once. Raises ClusterError with what failed."""
    _run(fleet, hosts, script.injection)


def heal(fleet: Fleet, hosts: Iterable[Host], script: HostScript) -> None:
    """Runs the script that heals, if there is one, on all hosts at once. Raises ClusterError with what failed."""
    if script.heal:
        _run(fleet, hosts, script.healing)


def _run(fleet: Fleet, hosts: Iterable[Host], script: str) -> None:
    answers = fleet.run_all({host.name: "sh -s" for host in hosts}, script, SCRIPT_SECONDS)
    failed = [f"{a.host}: {a.problem or a.output.strip() or f'exit code {a.code}'}" for a in answers.values() if not a.ok]
    if failed:
        raise ClusterError("; ".join(failed))
