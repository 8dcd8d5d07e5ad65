"""What a restore tells a person: what becomes of what, before it begins; where it has arrived, and what is left to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape

from cluster import paths
from cluster.recovery import Target, moment
from cluster.timelines import lsn, position
from cluster.topology import Cluster
from day2.recovery.arrival import Arrival
from day2.recovery.logs import Logs, furthest
from day2.recovery.plan import Restore
from day2.recovery.way_back import WayBack
from day2.report.wording import many
from day2.ui.console import size
from health.view import ClusterView


def tell(out: Console, text: str) -> None:
    """What goes on within a step."""
    out.print(f"  [dim]{escape(text)}[/]", soft_wrap=True)


def where(arrival: Arrival) -> str:
    """Where the recovery has arrived, in words."""
    last = f"; the last transaction that is there was committed at {moment(arrival.last)}" if arrival.last else ""
    return f"timeline {arrival.timeline} was begun at {lsn(arrival.fork)} ({arrival.reason}){last}"


def say_unfinished(out: Console, unfinished: Restore, going: Restore) -> None:
    """That one was begun, and what becomes of it."""
    out.print(
        f"[yellow]A restore to {escape(unfinished.to)} was begun at {unfinished.began} and not finished.[/]", soft_wrap=True
    )
    same = going.to == unfinished.to and going.label == unfinished.label
    out.print("This goes on with it." if same else f"This goes to {escape(going.to)} in its place.", soft_wrap=True)


def say_anew(out: Console, unfinished: Restore) -> None:
    """That one was begun and had not stopped the cluster."""
    out.print(
        f"[yellow]A restore to {escape(unfinished.to)} was begun at {unfinished.began} and had not stopped everything:[/] it is"
        " planned anew, as the cluster is now.",
        soft_wrap=True,
    )


def say_lost(
    out: Console, cluster: Cluster, view: ClusterView, going: Restore, target: Target, lost: Mapping[str, Any] | None, logs: Logs
) -> None:
    """What there is now and will not be there any more. `logs` are the cluster's, as hosts have them."""
    out.print(f"This takes cluster [bold]{cluster.name}[/] back to [bold]{escape(target.text)}[/], with all its databases.")
    primary = view.primary
    if primary and not going.live:
        out.print("[yellow]The cluster that runs is another one than the archive is of[/]: its data makes way.", soft_wrap=True)
        return
    if primary is None:
        out.print(f"[yellow]warning[/]  nobody takes writes{escape(handed_in(logs))}", soft_wrap=True)
        return
    if target.kind != "latest":
        out.print(f"[bold]What was written since is lost:[/] {in_words(lost)}.", soft_wrap=True)
    logical = sorted(slot.name for slot in primary.slots if slot.type == "logical")
    if logical:
        out.print(f"Logical slots are lost: {', '.join(logical)}. Their consumers have to begin anew.", soft_wrap=True)


def handed_in(logs: Logs) -> str:
    """What becomes of what was not archived, where nobody leads; to be put after that."""
    best = furthest(logs)
    if best is None:
        return ", and no host has this cluster's write-ahead log: what was not archived is lost"
    where = f"{lsn(logs[best].end)} on timeline {logs[best].timeline}"
    return (
        f": what hosts have and the archive lacks is archived first, up to {where}, which {best} has; what came after it is lost"
    )


def counted(found: Mapping[str, Any] | None, target: Target, now: int, where: str | None) -> dict[str, Any] | None:
    """What is lost: `seconds` in which it was written, how many `transactions`, how many `bytes` of log, and whether that is the
    `whole` of it or the least; None where it can't be seen. `now` is up to where the log is written, `where` the target in it."""
    seconds = (datetime.now(UTC) - target.time).total_seconds() if target.time else None
    if found is None:
        return None if seconds is None else {"seconds": seconds, "transactions": None, "bytes": None, "whole": False}
    first = where or found["lsn"]
    count = now - position(first) if first and now > position(first) else 0
    return {"seconds": seconds, "transactions": found["transactions"], "bytes": count, "whole": bool(found["whole"])}


def in_words(lost: Mapping[str, Any] | None) -> str:
    """The same for a person."""
    told = []
    if lost and lost["seconds"] is not None:
        seconds = lost["seconds"]
        told.append(f"{seconds / 3600:.1f} hours" if seconds > 7200 else f"{seconds / 60:.1f} minutes")
    if lost and lost["transactions"] is not None:
        least = "" if lost["whole"] else "at least "
        told.append(f"{least}{many(lost['transactions'], 'transaction')}")
        if lost["bytes"]:
            told.append(f"{least}{size(lost['bytes'])} of write-ahead log")
    return ", ".join(told) or "how much can't be seen"


def say_away(out: Console, going: Restore, away: Mapping[str, str]) -> None:
    """Which repositories can't be read, and what comes of it."""
    for name, why in away.items():
        out.print(
            f"[yellow]warning[/]  repository {name} can't be read ({escape(why)}): this goes on with {going.repository}. Backups"
            f" that {name} alone has are not seen, and what was written and is not there by now will never be.",
            soft_wrap=True,
        )


def say_unproven(out: Console, going: Restore, proven: bool | None) -> None:
    """That nobody knows whether the backup is any good, while there is something to be done about it."""
    if proven:
        return
    what = "was never proven" if proven is None else "was not proven by the last drill of it"
    out.print(
        f"[yellow]warning[/]  backup {going.label} {what}: `invoke backup.drill --set {going.label}` does it, beside the cluster",
        soft_wrap=True,
    )


def old_data(cluster: Cluster, going: Restore) -> list[str]:
    """The directories that it leaves on each host."""
    postgres = cluster.postgres
    return [f"{one}{going.suffix}" for one in paths.of_data(postgres.data_directory, postgres.wal_directory)]


def say_kept(out: Console, cluster: Cluster, going: Restore) -> None:
    """What becomes of the old data."""
    if going.keep:
        out.print(f"The old data is kept on each host, in {' and '.join(old_data(cluster, going))}.", soft_wrap=True)
    else:
        others = [name for name in going.hosts if name != going.host]
        until = f", on {' and '.join(others)} once the backup has come to where it should be" if others else ""
        out.print(f"[bold red]The old data is deleted[/] on every host{until}; then the archive alone has it.", soft_wrap=True)


def say_how_back(out: Console, cluster: Cluster, going: Restore, ways: Sequence[WayBack]) -> None:
    """How this can be undone, and until when."""
    back = f"`invoke restore --to latest --timeline {going.before}`"
    if not ways and not going.as_of:
        out.print(f"[yellow]warning[/]  no backup is known that leads back to where it was: {back} may find none", soft_wrap=True)
        return
    out.print(f"{back} goes back to where it was before; docs/runbook.md has what comes after a restore.", soft_wrap=True)
    for way in ways:
        where = f" of {way.repository}" if len(cluster.repositories) > 1 else ""
        out.print(f"For that backup {way.backup}{where} is needed, which expires {until(way)}.", soft_wrap=True)


def until(way: WayBack) -> str:
    """When the backup expires by which a restore can be undone."""
    if way.until is not None:
        return f"at {moment(way.until)} at the earliest"
    if not way.fulls:
        return "with the next scheduled backup, of any kind, unless more of them are kept (backup_keep_full, and a deploy)"
    return (
        "with the next scheduled full backup" if way.fulls == 1 else f"with the last of the next {way.fulls} scheduled full ones"
    )


def say_what_is_left(out: Console, cluster: Cluster, going: Restore, ways: Sequence[WayBack]) -> None:
    """What is for the owner to do."""
    out.print(f"[bold green]The cluster is back at {escape(going.to)}[/], and a full backup is being made.", soft_wrap=True)
    if going.keep:
        remove = f"rm -r {' '.join(old_data(cluster, going))}"
        out.print(f"The old data takes room until you delete it, on {', '.join(going.hosts)}: {remove}", soft_wrap=True)
    if going.live:
        say_how_back(out, cluster, going, ways)
    deploy = f"pyinfra {cluster.inventory} deploy.py"
    out.print(f"Roles have the passwords that they had then; a deploy sets those of the settings: `{deploy}`", soft_wrap=True)
