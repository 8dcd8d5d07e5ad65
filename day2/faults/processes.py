"""Processes that are killed (SIGKILL), or stopped so that they are there and do nothing (SIGSTOP).

They are found by their unit and by PostgreSQL's pid file, and nothing else is touched.
"""

from __future__ import annotations

from cluster.topology import Host
from day2.predictions import failover, primary_stays
from day2.predictions.prediction import Prediction

from .base import Base, no_successor
from .on_host import Harm, heal, inject

PATRONI = """patroni=$(systemctl show --property MainPID --value patroni.service)
if [ "$patroni" = 0 ]; then echo "Patroni does not run" >&2; exit 1; fi
"""
POSTMASTER = """postmaster=$(head -n 1 "$data/postmaster.pid")
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


class OnPrimary(Base):
    """A script on the primary's host."""

    script: str
    undo = ""

    @property
    def harm(self) -> Harm:
        values = {
            "data": self.site.cluster.postgres.data_directory,
            "dropin": "/run/systemd/system/patroni.service.d/zz-pgquorum-fault.conf",
        }
        return Harm(self.script, self.undo, values)

    def inject(self) -> None:
        inject(self.site.fleet, self.hosts, self.harm)

    def heal(self) -> None:
        heal(self.site.fleet, self.hosts, self.harm)


class Failing(OnPrimary):
    """One that takes the primary's role away from its host."""

    def obstacles(self) -> list[str]:
        return no_successor(self.site)


class PostgresKill(Failing):
    name = "postgres-kill"
    summary = "the postmaster is killed (SIGKILL); Patroni sees it"
    lasting = False
    script = POSTMASTER + 'kill -KILL "$postmaster"\n'

    def describe(self) -> str:
        return f"kills the postmaster on {self.struck} (SIGKILL)"

    def prediction(self) -> Prediction:
        return failover.postgres_crashed(self.site.timing, self.durability)


class PostgresStop(Failing):
    name = "postgres-stop"
    summary = "PostgreSQL hangs: the postmaster and all its children are stopped (SIGSTOP)"
    script = POSTMASTER + STOP_POSTGRES
    undo = GO_ON

    def describe(self) -> str:
        return f"stops PostgreSQL on {self.struck} (SIGSTOP: it hangs), and lets it go on"

    def prediction(self) -> Prediction:
        return failover.postgres_hangs(self.site.timing, self.durability)


class PatroniKill(OnPrimary):
    name = "patroni-kill"
    summary = "Patroni is killed (SIGKILL); systemd starts it again"
    lasting = False
    script = PATRONI + 'kill -KILL "$patroni"\n'

    def describe(self) -> str:
        return f"kills Patroni on {self.struck} (SIGKILL); systemd starts it again"

    def prediction(self) -> Prediction:
        return primary_stays.patroni_restarts(self.site.timing)


class PatroniKillMasked(Failing):
    name = "patroni-kill-masked"
    summary = "Patroni is killed and kept from starting; PostgreSQL runs on unattended"
    script = PATRONI + KEEP_DOWN + 'kill -KILL "$patroni"\n'
    undo = LET_UP

    def describe(self) -> str:
        return f"kills Patroni on {self.struck} (SIGKILL), keeps it from starting, and later starts it"

    def prediction(self) -> Prediction:
        return failover.patroni_gone(self.site.timing, self.durability, answers=False)


class PatroniStop(Failing):
    name = "patroni-stop"
    summary = "Patroni hangs (SIGSTOP); PostgreSQL runs on unattended"
    script = PATRONI + 'kill -STOP "$patroni"\n'
    undo = GO_ON

    def describe(self) -> str:
        return f"stops Patroni on {self.struck} (SIGSTOP: it hangs), and lets it go on"

    def prediction(self) -> Prediction:
        return failover.patroni_gone(self.site.timing, self.durability, answers=True)


class Kill(Failing):
    name = "kill"
    summary = "PostgreSQL and Patroni are killed and kept down; etcd stays (for hosts without power commands)"
    script = PATRONI + POSTMASTER + KEEP_DOWN + 'kill -KILL "$patroni" "$postmaster"\n'
    undo = LET_UP

    def describe(self) -> str:
        return f"kills PostgreSQL and Patroni on {self.struck} (SIGKILL), and later starts them again"

    def prediction(self) -> Prediction:
        return failover.processes_killed(self.site.timing, self.durability)


class HaproxyKill(Base):
    name = "haproxy-kill"
    summary = "HAProxy is killed (SIGKILL); systemd starts it again"
    lasting = False

    def strikes(self) -> tuple[Host, ...]:
        return self.site.cluster.haproxy_hosts[:1]

    def describe(self) -> str:
        return f"kills HAProxy on {self.struck} (SIGKILL); systemd starts it again"

    def inject(self) -> None:
        inject(self.site.fleet, self.hosts, Harm("systemctl kill --signal=KILL haproxy.service\n"))

    def prediction(self) -> Prediction:
        return primary_stays.haproxy_restarts(self.site.timing, others=len(self.site.cluster.haproxy_hosts) - 1)
