"""`invoke reboot`: reboots hosts one at a time, for a new kernel or new libraries, while applications write and read."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

from rich.markup import escape

from agents.sent import shipped
from cluster.topology import Cluster
from day2.hosts import operator_lock
from day2.hosts.dsn import open_vault
from day2.hosts.observe import observe
from day2.hosts.ssh import Fleet
from day2.procedures.costs import costs, reboots, the_only
from day2.procedures.hold import hold_for, patience_of
from day2.procedures.reboot import steps
from day2.procedures.steps import SwitchOver
from day2.ui.console import EXIT_OK, confirm, console
from health.reboots import read, why
from health.rules import blocking, findings
from health.rules.slots import lost_with
from health.upgrades import busy
from health.view import UNITS

from . import measuring
from .measuring import carry_out, report
from .plans import print_plan, refuse, show_plan

FORMAT = "pgquorum reboot 1"


@dataclass
class Outcome(measuring.Outcome):
    """Of a rolling reboot. `proxies`: all proxy hosts there are."""

    proxies: tuple[str, ...] = ()

    @property
    def cuts_clients(self) -> bool:
        """Whether clients lose the proxy host that they have come by."""
        return reboots(self.planned, set(self.proxies))

    @property
    def unnoticed(self) -> bool:
        return super().unnoticed and not self.cuts_clients

    @property
    def always_served(self) -> bool:
        return super().always_served and (not self.cuts_clients or len(self.proxies) > 1)


def reboot(cluster: Cluster, *, hosts: list[str], patience: int, dry: bool, yes: bool, hop: str | None, as_json: bool) -> int:
    """Reboots `hosts`, or if none is named all that need it, one at a time. 0 when all are back and well and nothing acknowledged
    is lost; else 1, saying what is left. `dry` prints the steps.

    Raises ClusterError when the cluster is not healthy, or somebody else is changing it.
    """
    hold = hold_for(cluster, patience_of(patience))
    named = [cluster.host(name, "--host").name for name in hosts]
    out = console(as_json=as_json)
    vault = open_vault(cluster)
    with Fleet(cluster.hosts) as fleet, nullcontext() if dry else operator_lock.held(fleet, cluster, "reboot"):
        view = observe(fleet, cluster)
        refuse("reboot", map(str, blocking(findings(view, cluster), cluster)))
        reasons = needed(fleet, cluster)
        for name, reason in reasons.items():
            if name in named or not named:
                out.print(f"{name}: {escape(reason or ('needs none' if name not in named else 'is named'))}", soft_wrap=True)
        planned = steps(view, cluster, named or [name for name, reason in reasons.items() if reason], hold)
        refuse("reboot", (text for step in planned if isinstance(step, SwitchOver) for text in lost_with(view, step.to)))
        if reboots(planned, {host.name for host in cluster.pgbackrest_hosts}):
            refuse("reboot", busy(view))
        proxies = tuple(host.name for host in cluster.haproxy_hosts)
        pooled, only = bool(cluster.pooler_hosts), the_only(cluster)
        outcome = Outcome(cluster.name, planned, pooled=pooled, only=only, proxies=proxies)
        show_plan(out, planned, costs(view, cluster, planned))
        if dry or not planned:
            if not planned:
                out.print("no host needs a reboot")
            if as_json:
                print_plan(cluster, planned)
            return EXIT_OK
        confirm(out, yes=yes)
        interrupted = carry_out(out, fleet, cluster, vault, outcome, hop)
    return report(out, outcome, FORMAT, interrupted=interrupted, as_json=as_json)


def needed(fleet: Fleet, cluster: Cluster) -> dict[str, str]:
    """By host, why it needs a reboot; empty where it needs none. Raises ClusterError with the hosts that could not say it."""
    command, source = shipped("kernel", {"units": list(UNITS)})
    answers = fleet.run_all({host.name: command for host in cluster.hosts}, source)
    found, failed = {}, []
    for name, answer in sorted(answers.items()):
        try:
            if not answer.ok:
                raise ValueError(answer.problem or f"exit code {answer.code}")
            found[name] = why(read(answer.output))
        except ValueError as error:
            failed.append(f"{name}: {error}")
    refuse("reboot", failed)
    return found
