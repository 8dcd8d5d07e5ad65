"""`invoke restore`: the cluster goes back, in place, to a moment in its archive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from rich.console import Console
from rich.markup import escape

from cluster import paths
from cluster.errors import ClusterError
from cluster.recovery import (
    FORMS,
    Mark,
    Target,
    base_for,
    lsn,
    mark_called,
    moment,
    parse_as_of,
    parse_target,
    parse_timeline,
    position,
    timeline_of,
)  # fmt: skip
from cluster.topology import Cluster
from day2.commands.change.plans import show_plan
from day2.commands.look.verify import verify
from day2.hosts.changing import changing
from day2.hosts.interrupts import Interrupts
from day2.hosts.ssh import Fleet
from day2.recovery.actions import RestoreActions
from day2.recovery.executor import carry_out
from day2.recovery.notes import NOTE, lost, notes
from day2.recovery.plan import (
    Arrival,
    Restore,
    Surveyed,
    instead,
    left,
    marks,
    may_lead,
    objections,
    place,
    planned,
    reachable,
    read,
    surveyed,
)  # fmt: skip
from day2.report.wording import many
from day2.ui.console import FINE, confirm, console, size
from health.view import ClusterView

from .keeper import keeper


@dataclass(frozen=True)
class Asked:
    """The command's options: what to go back to, the backup's label and the timeline where they are named; the repository, and
    the moment as of which it is read, empty where they are not."""

    target: Target
    label: str | None
    timeline: int | None
    discard: bool
    repository: str = ""
    as_of: str = ""


def restore(
    cluster: Cluster, *, to: str | None, label: str | None, timeline: str | None, discard: bool, dry: bool, yes: bool,
    repository: str | None = None, as_of: str | None = None,
) -> int:  # fmt: skip
    """0 when the cluster is there, healthy, and a full backup is begun; 1 where `verify` finds a problem then.

    Raises ClusterError with what stands in the way, when nothing was touched; or with the step that failed: the same command goes
    on with it.
    """
    keeper(cluster)
    if to is None:
        raise ClusterError(f"--to is missing: it {FORMS}")
    moment_of_it = parse_as_of(as_of, repository)
    if repository is not None:
        cluster.repository(repository, "--repository")
    asked = Asked(parse_target(to), label, parse_timeline(timeline), discard, repository or "", moment_of_it)
    out = console()
    with changing(cluster, f"restore --to {to}", dry=dry) as (fleet, _, view):
        refuse(list(reachable(view, cluster)))
        interrupts = Interrupts(lambda text: out.print("interrupted: the same command goes on with it"))
        actions = RestoreActions(fleet, cluster, interrupts, partial(tell, out))
        noted = notes(fleet, cluster)
        unfinished = read(noted[NOTE]) if NOTE in noted else None
        going = resumed(asked, unfinished) or prepared(cluster, view, actions, asked, noted, unfinished)
        if unfinished:
            say_unfinished(out, unfinished, going)
        else:
            say_lost(out, fleet, cluster, view, going, asked.target, noted)
        say_kept(out, cluster, going)
        show_plan(out, left(going))
        if dry:
            return FINE
        confirm(out, yes=yes)
        with interrupts:
            arrival = carry_out(going, asked.target, actions, lambda step: out.print(f"{escape(str(step))} ..."))
        if arrival:
            out.print(escape(where(arrival)), soft_wrap=True)
    code = verify(cluster, strict=False, through=None, as_json=False)
    say_what_is_left(out, cluster, going)
    return code


def tell(out: Console, text: str) -> None:
    """What goes on within a step."""
    out.print(f"  [dim]{escape(text)}[/]", soft_wrap=True)


def where(arrival: Arrival) -> str:
    """Where the recovery has arrived, in words."""
    last = f"; the last transaction that is there was committed at {moment(arrival.last)}" if arrival.last else ""
    return f"timeline {arrival.timeline} was begun at {lsn(arrival.fork)} ({arrival.reason}){last}"


def refuse(against: list[str]) -> None:
    """Raises ClusterError where something stands in the way."""
    if against:
        raise ClusterError("\n".join(["no restore now, nothing was touched:", *(f"  - {one}" for one in against)]))


def resumed(asked: Asked, unfinished: Restore | None) -> Restore | None:
    """The restore that was not finished, where it is the same that is asked for."""
    if unfinished is None or unfinished.to != asked.target.text or asked.label not in (None, unfinished.label):
        return None
    if asked.repository not in ("", unfinished.repository) or asked.as_of not in ("", unfinished.as_of):
        return None
    return unfinished if asked.timeline in (None, unfinished.timeline) else None


def prepared(
    cluster: Cluster,
    view: ClusterView,
    actions: RestoreActions,
    asked: Asked,
    noted: Mapping[str, str],
    unfinished: Restore | None,
) -> Restore:
    """The restore that is asked for, in place of one that was not finished. Raises ClusterError where it can't be."""
    now = datetime.now(UTC)
    target = asked.target
    if target.time and target.time > now:
        raise ClusterError(
            f"--to {target.text!r} lies in the future: it is {moment(now.timestamp())} now. `--to latest` is all there is"
        )
    archive = actions.archive(asked.repository, asked.as_of)
    known = archive.timelines
    mark = mark_called(target.text, marks(noted)) if target.kind == "name" else None
    along = timeline_of(known, target, mark, asked.timeline)
    base = base_for(archive.bases, along, target, mark, asked.label, archive.files)
    host = place(view, cluster)
    ours = view.primary is not None and actions.identify(host)["system"] == archive.system
    live = ours and (unfinished is None or may_lead(unfinished))
    if live and view.primary and target.lsn is not None and target.lsn > (view.primary.lsn or 0):
        raise ClusterError(f"--to {target.text} is after the last of the write-ahead log, {lsn(view.primary.lsn or 0)}")
    # What is written now gets to an archive that is read as it was before as little as where nobody can write.
    if target.time and (not live or asked.as_of) and unfinished is None and along.number == max(known):
        refuse_too_late(target, archive.last)
    promoted = view.dcs.configurations.promoted if view.dcs else None
    made = planned(
        cluster, target, base, along, known, promoted.timeline if promoted else 0, host,
        id=f"{now:%Y%m%dT%H%M%SZ}", began=now.isoformat(timespec="seconds"),
        before=view.primary.timeline if live and view.primary else max(known), live=live, keep=not asked.discard,
        as_of=asked.as_of,
    )  # fmt: skip
    if unfinished and not may_lead(unfinished):
        return instead(unfinished, made)
    surveys: dict[str, Surveyed] = {name: surveyed(said) for name, said in actions.survey().items()}
    refuse(list(objections(view, cluster, surveys, base, host, keep=made.keep)))
    return made


def refuse_too_late(target: Target, last: float | None) -> None:
    """Raises ClusterError for a time after all that is in the archive. A cluster that lives writes a marker there first."""
    if target.time and last is not None and target.time.timestamp() > last + 1:
        what = f"the last of the write-ahead log got to the archive at {moment(last)}"
        raise ClusterError(f"--to {target.text!r}: {what}, so nothing there is later: `--to latest` is all there is")


def say_unfinished(out: Console, unfinished: Restore, going: Restore) -> None:
    """That one was begun, and what becomes of it."""
    out.print(
        f"[yellow]A restore to {escape(unfinished.to)} was begun at {unfinished.began} and not finished.[/]", soft_wrap=True
    )
    same = going.to == unfinished.to and going.label == unfinished.label
    out.print("This goes on with it." if same else f"This goes to {escape(going.to)} in its place.", soft_wrap=True)


def say_lost(
    out: Console,
    fleet: Fleet,
    cluster: Cluster,
    view: ClusterView,
    going: Restore,
    target: Target,
    noted: Mapping[str, str],
) -> None:
    """What there is now and will not be there any more."""
    out.print(f"This takes cluster [bold]{cluster.name}[/] back to [bold]{escape(target.text)}[/], with all its databases.")
    primary = view.primary
    if primary and not going.live:
        out.print("[yellow]The cluster that runs is another one than the archive is of[/]: its data makes way.", soft_wrap=True)
        return
    if primary is None:
        out.print("[yellow]warning[/]  nobody takes writes: what was not archived, and is on no host, is lost", soft_wrap=True)
        return
    if target.kind != "latest":
        mark: Mark | None = marks(noted).get(target.text)
        where = lsn(mark.lsn) if mark else target.text if target.kind == "lsn" else None
        found = lost(fleet, cluster, view.writable[0], primary.timeline, target.time, where)
        out.print(f"[bold]What was written since is lost:[/] {in_words(found, target, primary.lsn or 0, where)}.", soft_wrap=True)
    logical = sorted(slot.name for slot in primary.slots if slot.type == "logical")
    if logical:
        out.print(f"Logical slots are lost: {', '.join(logical)}. Their consumers have to begin anew.", soft_wrap=True)


def in_words(found: Mapping[str, Any] | None, target: Target, now: int, where: str | None) -> str:
    """What is lost: for how long it was written, how many transactions, how many bytes of log."""
    told = []
    if target.time:
        seconds = (datetime.now(UTC) - target.time).total_seconds()
        told.append(f"{seconds / 3600:.1f} hours" if seconds > 7200 else f"{seconds / 60:.1f} minutes")
    if found:
        least = "" if found["whole"] else "at least "
        told.append(f"{least}{many(found['transactions'], 'transaction')}")
        first = where or found["lsn"]
        if first and now > position(first):
            told.append(f"{least}{size(now - position(first))} of write-ahead log")
    return ", ".join(told) or "how much can't be seen"


def old_data(cluster: Cluster, going: Restore) -> list[str]:
    """The directories that it leaves on each host."""
    postgres = cluster.postgres
    return [f"{one}{going.suffix}" for one in paths.of_data(postgres.data_directory, postgres.wal_directory)]


def say_kept(out: Console, cluster: Cluster, going: Restore) -> None:
    """What becomes of the old data."""
    if going.keep:
        out.print(f"The old data is kept on each host, in {' and '.join(old_data(cluster, going))}.", soft_wrap=True)
    else:
        out.print("[bold red]The old data is deleted[/] on every host; the archive alone still has it.", soft_wrap=True)


def say_what_is_left(out: Console, cluster: Cluster, going: Restore) -> None:
    """What is for the owner to do."""
    out.print(f"[bold green]The cluster is back at {escape(going.to)}[/], and a full backup is being made.", soft_wrap=True)
    if going.keep:
        remove = f"rm -r {' '.join(old_data(cluster, going))}"
        out.print(f"The old data takes room until you delete it, on {', '.join(going.hosts)}: {remove}", soft_wrap=True)
    if going.live:
        back = f"invoke restore --to latest --timeline {going.before}"
        out.print(f"`{back}` goes back to where it was before; docs/runbook.md has what comes after a restore.", soft_wrap=True)
    deploy = f"pyinfra {cluster.inventory} deploy.py"
    out.print(f"Roles have the passwords that they had then; a deploy sets those of the settings: `{deploy}`", soft_wrap=True)
