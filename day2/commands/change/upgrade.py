"""`invoke upgrade`: new minor versions of the cluster's programs, host by host, while applications write and read; and the way
back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cluster.components import NAMES, Name
from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.hosts import operator_lock
from day2.hosts.dsn import open_vault
from day2.hosts.observe import observe
from day2.hosts.ssh import Fleet
from day2.procedures.costs import costs, restarts_pools, the_only
from day2.procedures.hold import Hold, hold_for, patience_of
from day2.procedures.packages import look
from day2.procedures.rolling import component_of
from day2.procedures.steps import FetchPackages, Plan, SwitchOver
from day2.procedures.upgrade import Work, steps
from day2.ui.console import EXIT_OK, confirm, console
from health.finding import Finding
from health.rules import blocking, findings
from health.rules.packages import running
from health.rules.slots import lost_with
from health.upgrades import Change, HostPackages, busy, forward, no_way_back, refused, run_of
from health.upgrades import back as back_of
from health.view import ClusterView

from . import measuring
from .measuring import carry_out, report
from .plans import print_plan, refuse, show_plan

FORMAT = "pgquorum upgrade 1"
GO_BACK = "`invoke upgrade --back{}` takes back what it has installed"


@dataclass
class Outcome(measuring.Outcome):
    """Of an upgrade, or of the way back."""

    changes: tuple[Change, ...] = ()
    back: bool = False

    @property
    def cuts_pools(self) -> bool:
        """Whether clients of the pools are sent away once."""
        return restarts_pools(self.planned)

    @property
    def unnoticed(self) -> bool:
        return super().unnoticed and not self.cuts_pools

    @property
    def always_served(self) -> bool:
        return super().always_served and not self.cuts_pools


def upgrade(
    cluster: Cluster,
    *,
    component: str,
    back: bool,
    without_way_back: bool,
    patience: int,
    dry: bool,
    yes: bool,
    hop: str | None,
    as_json: bool,
) -> int:
    """Installs what apt offers for the components that are named (`a,b`; empty: all), or takes it `back`. 0 when every host is as
    it should be and nothing acknowledged is lost, else 1, saying what is left and how to go back. `dry` prints the steps.

    Raises ClusterError with everything that stands in the way, when nothing was touched.
    """
    hold = hold_for(cluster, patience_of(patience))
    named = components(cluster, component)
    out = console(as_json=as_json)
    vault = open_vault(cluster)
    doing = "upgrade --back" if back else "upgrade"
    with Fleet(cluster.hosts) as fleet, nullcontext() if dry else operator_lock.held(fleet, cluster, doing):
        view = observe(fleet, cluster)
        seen = findings(view, cluster)
        problems = blocking(seen, cluster)
        if problems and not back:
            refuse("upgrade", [*map(str, problems), f"after an upgrade that went wrong, {GO_BACK.format('')}"])
        found = ask(out, fleet, cluster, named, back=back)
        work = to_do(view, cluster, found, named, problems, back=back, insist=without_way_back)
        planned = plan(view, cluster, seen, work, hold, back=back)
        pooled, only = bool(cluster.pooler_hosts), the_only(cluster)
        outcome = Outcome(cluster.name, planned, pooled=pooled, only=only, changes=work.changes, back=back)
        show_changes(out, cluster, named, work, found)
        show_plan(out, planned, costs(view, cluster, planned))
        if dry or not planned:
            if not planned:
                out.print("nothing is to be taken back" if back else "nothing is to be upgraded")
            if as_json:
                print_plan(cluster, planned)
            return EXIT_OK
        confirm(out, yes=yes)
        interrupted = carry_out(out, fleet, cluster, vault, outcome, hop, problems)
        if not outcome.stopped_by:
            outcome.stopped_by = still_old(observe(fleet, cluster), cluster, named)
    code = report(out, outcome, FORMAT, interrupted=interrupted, as_json=as_json)
    if outcome.stopped_by and not has_installed(outcome):
        out.print("the same command goes on")
    elif outcome.stopped_by:
        of = sorted({change.component for change in work.changes})
        took_back = GO_BACK.format(f" --component {','.join(of)}" if of else "")
        out.print("the same command goes on" if back else f"the same command goes on; {took_back}", soft_wrap=True)
    return code


def components(cluster: Cluster, words: str) -> tuple[Name, ...]:
    """Those that are named, with commas between them, in the order of a deploy; all for no word. Raises ClusterError."""
    used = [component.name for component in cluster.used_components]
    named = {component_of(word.strip()) for word in words.split(",") if word.strip()} or set(used)
    for name in NAMES:
        if name in named and name not in used:
            raise ClusterError(f"--component {name}: no host of this cluster has it: should be some of {', '.join(used)}")
    return tuple(name for name in NAMES if name in named)


def ask(out: Console, fleet: Fleet, cluster: Cluster, named: tuple[Name, ...], *, back: bool) -> dict[str, HostPackages]:
    """By host, what apt offers, or on the way back what was replaced there. Hosts that do not answer then are told and left out;
    else ClusterError is raised."""
    with out.status("asking every host what apt offers" if not back else "asking every host what was replaced"):
        found = look(fleet, cluster, named, refresh=not back)
    for name in sorted({host.name for host in cluster.hosts} - found.keys()) if back else ():
        out.print(f"[yellow]warning[/]  {name} does not answer: what was replaced there stays as it is", soft_wrap=True)
    return found


def to_do(
    view: ClusterView,
    cluster: Cluster,
    found: Mapping[str, HostPackages],
    named: tuple[Name, ...],
    problems: tuple[Finding, ...],
    *,
    back: bool,
    insist: bool,
) -> Work:
    """What is to be done. Raises ClusterError with everything that stands in its way."""
    changes = back_of(found, named) if back else forward(found)
    against = no_way_back(found, changes) if back else refused(found, cluster, insist=insist)
    paused = ["the cluster is paused: `invoke resume` first"] if view.dcs and view.dcs.paused else []
    archiving = busy(view) if any(change.component == "pgbackrest" for change in changes) else ()
    refuse("upgrade", (*paused, *against, *archiving))
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Work(
        changes=changes,
        due={name: host.due for name, host in found.items()},
        run=None if back else run_of(found, changes, now),
        unwell=frozenset(f.about for f in problems) & view.hosts.keys() if back else frozenset(),
        insist=insist,
        unfinished=tuple(one for host in found.values() for one in host.unfinished),
    )


def plan(view: ClusterView, cluster: Cluster, seen: tuple[Finding, ...], work: Work, hold: Hold | None, *, back: bool) -> Plan:
    """The steps. Raises ClusterError where a file was edited by which something would be restarted, or where its switchover would
    lose a logical slot; `seen`: what the rules have found."""
    # What is restarted would begin with it: a package may have put its own file in place of the deploy's.
    touched = {change.host for change in work.changes} if back else {host.name for host in cluster.hosts}
    refuse("upgrade", [str(f) for f in seen if f.rule == "files.edited" and f.about in touched])
    planned = steps(view, cluster, work, hold)
    refuse("upgrade", (text for step in planned if isinstance(step, SwitchOver) for text in lost_with(view, step.to)))
    return planned


def has_installed(outcome: Outcome) -> bool:
    """Whether what has stopped came further than to fetch its packages. Where it did not, the way back would be that of an
    earlier upgrade."""
    return bool(outcome.done) or not isinstance(outcome.planned[0], FetchPackages)


def still_old(view: ClusterView, cluster: Cluster, named: tuple[Name, ...]) -> str:
    """What runs in another version than is installed, although all steps are done; empty where nothing does."""
    left = (f for f in running(view, cluster) if any(f.text.startswith(f"{name} ") for name in named))
    return "; ".join(map(str, left))


def show_changes(
    out: Console,
    cluster: Cluster,
    named: tuple[Name, ...],
    work: Work,
    found: Mapping[str, HostPackages],
) -> None:
    """From which version to which, by host, and what else is done there."""
    for one in found.values():
        if one.unread:
            why = f"{one.name}: not all of its package lists could be read anew: {one.unread}"
            out.print(f"[yellow]warning[/]  {escape(why)}", soft_wrap=True)
    if cluster.etcd.source == "files" and work.run and "etcd" in named:
        out.print("etcd comes from etcd_files, so apt offers no other version of it (docs/runbook.md)", soft_wrap=True)
    if work.changes:
        table = Table("host", "package", "from", "to", box=None, header_style="dim", padding=(0, 2, 0, 0))
        for change in dict.fromkeys((one.host, one.package, one.old or "(new)", one.new) for one in work.changes):
            table.add_row(*change)
        out.print(table)
    for half in work.unfinished:
        text = f"{half.host}: the installation of {half.package} {half.new} has come to no end: it is ended"
        out.print(text, soft_wrap=True)
    for host, due in work.due.items():
        changed = {change.component for change in work.changes if change.host == host}
        for component in sorted(due - changed):
            out.print(f"{host}: {component} runs since before its packages were installed: it is restarted", soft_wrap=True)
    if any(change.component == "pgbackrest" for change in work.changes):
        out.print("write-ahead log is archived again when pgBackRest has the same version everywhere", soft_wrap=True)
