"""Processes that are killed (SIGKILL), or stopped so that they are there and do nothing (SIGSTOP).

They are found by their unit and by PostgreSQL's pid file, and nothing else is touched.
"""

from __future__ import annotations

from cluster.topology import Host
from day2.predictions import failover, primary_stays
from day2.predictions.prediction import Prediction

from .base import BaseFault, no_successor
from .script import HostScript, heal, inject

PATRONI = """patroni=$(systemctl show --property MainPID --value patroni.service)
if [ "$patroni" = 0 ]; then echo "Patroni does not run" >&2; exit 1; fi
"""
# The pid file is written by PostgreSQL's user, this is root's: only a process of that user's that runs on the data is meant.
POSTMASTER = """postmaster=$([ -f "$data/postmaster.pid" ] && head -n 1 "$data/postmaster.pid" || true)
if [ "$(readlink "/proc/$postmaster/cwd")" != "$(readlink -f "$data")" ] || [ "$(stat -c %U "/proc/$postmaster")" != postgres ]
then echo "$data/postmaster.pid names no PostgreSQL that runs on it" >&2; exit 1; fi
"""
# A drop-in in /run keeps Patroni from starting, whoever asks for it. (A mask in /run would not: the unit lies in /etc.)
KEEP_DOWN = """mkdir -p "${dropin%/*}"
printf '[Unit]\\nConditionPathExists=/nonexistent\\n[Service]\\nRestart=no\\n' > "$dropin"
systemctl daemon-reload
"""
LET_UP = """rm -f "$dropin"
systemctl daemon-reload
systemctl reset-failed patroni.service 2>/dev/null
systemctl start patroni.service || exit 1
"""
# PostgreSQL runs in Patroni's cgroup. Whoever does not stand still, or is another by now, does not mind.
GO_ON = "systemctl kill --signal=CONT patroni.service 2>/dev/null\n"
# The postmaster first, so that it starts no more children; one that ends meanwhile is none to stop.
STOP_POSTGRES = """kill -STOP "$postmaster"
for child in $(pgrep --parent "$postmaster"); do kill -STOP "$child" 2>/dev/null || true; done
"""


class PrimaryScript(BaseFault):
    """A fault made by a `script` on the primary's host, and healed there by `undo`."""

    script: str
    undo = ""

    @property
    def host_script(self) -> HostScript:
        values = {
            "data": self.context.cluster.postgres.data_directory,
            "dropin": "/run/systemd/system/patroni.service.d/zz-pgquorum-fault.conf",
        }
        return HostScript(self.script, self.undo, values)

    def inject(self) -> None:
        inject(self.context.fleet, self.hosts, self.host_script)

    def heal(self) -> None:
        heal(self.context.fleet, self.hosts, self.host_script)


class PrimaryLost(PrimaryScript):
    """One after which another host has to become the primary."""

    def blockers(self) -> list[str]:
        return no_successor(self.context)


class PostgresKill(PrimaryLost):
    name = "postgres-kill"
    summary = "the postmaster is killed (SIGKILL); Patroni sees it"
    needs_healing = False
    script = POSTMASTER + 'kill -KILL "$postmaster"\n'

    def describe(self) -> str:
        return f"kills the postmaster on {self.target_names} (SIGKILL)"

    def prediction(self) -> Prediction:
        return failover.postgres_crashed(self.context.timing, self.durability)


class PostgresStop(PrimaryLost):
    name = "postgres-stop"
    summary = "PostgreSQL hangs: the postmaster and all its children are stopped (SIGSTOP)"
    script = POSTMASTER + STOP_POSTGRES
    undo = GO_ON

    def describe(self) -> str:
        return f"stops PostgreSQL on {self.target_names} (SIGSTOP: it hangs), and lets it go on"

    def prediction(self) -> Prediction:
        return failover.postgres_hangs(self.context.timing, self.durability)


class PatroniKill(PrimaryScript):
    name = "patroni-kill"
    summary = "Patroni is killed (SIGKILL); systemd starts it again"
    needs_healing = False
    script = PATRONI + 'kill -KILL "$patroni"\n'

    def describe(self) -> str:
        return f"kills Patroni on {self.target_names} (SIGKILL); systemd starts it again"

    def prediction(self) -> Prediction:
        return primary_stays.patroni_restarts(self.context.timing)


class PatroniKillMasked(PrimaryLost):
    name = "patroni-kill-masked"
    summary = "Patroni is killed and kept from starting; PostgreSQL runs on unattended"
    script = PATRONI + KEEP_DOWN + 'kill -KILL "$patroni"\n'
    undo = LET_UP

    def describe(self) -> str:
        return f"kills Patroni on {self.target_names} (SIGKILL), keeps it from starting, and later starts it"

    def prediction(self) -> Prediction:
        return failover.patroni_gone(self.context.timing, self.durability, answers=False)


class PatroniStop(PrimaryLost):
    name = "patroni-stop"
    summary = "Patroni hangs (SIGSTOP); PostgreSQL runs on unattended"
    script = PATRONI + 'kill -STOP "$patroni"\n'
    undo = GO_ON

    def describe(self) -> str:
        return f"stops Patroni on {self.target_names} (SIGSTOP: it hangs), and lets it go on"

    def prediction(self) -> Prediction:
        return failover.patroni_gone(self.context.timing, self.durability, answers=True)


class DatabaseKill(PrimaryLost):
    name = "kill"
    summary = "PostgreSQL and Patroni are killed and kept down; etcd stays (for hosts without power commands)"
    script = PATRONI + POSTMASTER + KEEP_DOWN + 'kill -KILL "$patroni" "$postmaster"\n'
    undo = LET_UP

    def describe(self) -> str:
        return f"kills PostgreSQL and Patroni on {self.target_names} (SIGKILL), and later starts them again"

    def prediction(self) -> Prediction:
        return failover.processes_killed(self.context.timing, self.durability)


class HaproxyKill(BaseFault):
    name = "haproxy-kill"
    summary = "HAProxy is killed (SIGKILL); systemd starts it again"
    needs_healing = False

    def targets(self) -> tuple[Host, ...]:
        return (self.context.entrance,)

    def describe(self) -> str:
        return f"kills HAProxy on {self.target_names} (SIGKILL); systemd starts it again"

    def inject(self) -> None:
        inject(self.context.fleet, self.hosts, HostScript("systemctl kill --signal=KILL haproxy.service\n"))

    def prediction(self) -> Prediction:
        others = 0 if self.context.by_address else len(self.context.cluster.haproxy_hosts) - 1
        return primary_stays.haproxy_restarts(self.context.timing, others=others)
