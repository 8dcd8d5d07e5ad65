"""`invoke backup.drill`: proves a backup. It is restored beside the living cluster, PostgreSQL runs on it, and all is checked."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import Any

from rich.console import Console
from rich.markup import escape

from cluster.drill import needed
from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.hosts.observe import observe
from day2.hosts.ssh import Fleet
from day2.recovery.drill import Drilling, Moment
from day2.recovery.drill_choice import Choice, choose, refuse_without_room
from day2.report import drill as report_of
from day2.ui.console import EXIT_OK, EXIT_PROBLEM, console, print_json, size
from health.view import ClusterView

from .keeper import keeper

Seconds = float | None


def drill(
    cluster: Cluster, *, backup: str | None, host: str | None, report: str | None, as_json: bool, repository: str | None = None
) -> int:
    """0 when the backup is proven, 1 when it is not. Raises ClusterError for what can't be drilled, and before there is anything
    to lose where the report could not be written."""
    out, kept_by = console(as_json=as_json), keeper(cluster)
    directory = None if report is None else writable(report)
    with Fleet(cluster.hosts) as fleet:
        view = observe(fleet, cluster)
        choice = choose(view, cluster, kept_by, backup, host, repository)
        drilling = Drilling(fleet, cluster, choice, lambda text: out.print(escape(text), soft_wrap=True))
        drilling.refuse_second()
        refuse_without_room(choice, drilling.directory, drilling.room())
        announce(out, choice)
        result = made(out, drilling, view)
    for path in report_of.write(directory, result) if directory else ():
        out.print(f"written: {path}", soft_wrap=True)
    if as_json:
        print_json(result["format"], {key: value for key, value in result.items() if key != "format"})
    else:
        show(out, result)
    return EXIT_OK if result["passed"] else EXIT_PROBLEM


def announce(out: Console, choice: Choice) -> None:
    """What is about to be done."""
    one = choice.backup
    room = f"{size(needed(choice.data))} are needed there while it goes on"
    out.print(
        f"{one.label} ({one.kind}, in {one.repository}, {size(one.size)} of data) is restored on {choice.where.name}: {room}",
        soft_wrap=True,
    )
    if choice.replica is None:
        out.print(f"[yellow]warning[/]  nothing is compared with a replica: {escape(choice.uncompared)}", soft_wrap=True)


def made(out: Console, drilling: Drilling, view: ClusterView) -> dict[str, Any]:
    """The drill's result, noted on the host that keeps the backups."""
    replica, rpo, moment = drilling.choice.replica, None, None
    if replica is not None:
        primary, marker, timeout = view.writable[0], str(uuid.uuid4()), archive_timeout(view)
        out.print(f"reading every table of {replica.name}, whose replay is paused meanwhile")
        try:
            moment, segment = drilling.moment(primary, replica, marker)
            out.print(f"it was paused for {moment.paused_seconds:.1f} s at {moment.lsn}; waiting until that is archived")
            at_risk, acknowledged = drilling.first_of_a_file(primary, marker)
            drilling.await_archived(segment, timeout)
            with beside(lambda stop: drilling.exposed(at_risk, acknowledged, timeout, stop)) as (exposed, stop):
                result = restored(out, drilling, moment)
                if not result["passed"]:  # that is the news, and soon
                    stop.set()
                elif not exposed.done():
                    out.print("waiting until the row is archived by which the RPO is measured")
                with suppress(ClusterError):  # the backup is proven or not, whatever becomes of that
                    rpo = exposed.result()
        finally:
            drilling.forget(primary, marker)
    else:
        result = restored(out, drilling, None)
    result |= {"rpo": rpo, "paused_seconds": moment.paused_seconds if moment else None}
    drilling.note(result)
    return result


@contextmanager
def beside(work: Callable[[Event], Seconds]) -> Iterator[tuple[Future[Seconds], Event]]:
    """Has something done while the block goes on; gives what will come of it, and the event by which it is told to stop, which an
    exception sets that leaves the block."""
    stop = Event()
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(work, stop), stop
        except BaseException:
            stop.set()
            raise


def restored(out: Console, drilling: Drilling, moment: Moment | None) -> dict[str, Any]:
    where = drilling.choice.where.name
    out.print(f"restoring and checking on {where}: `invoke logs --component pgbackrest --host {where} --follow` shows it")
    return drilling.run(moment)


def archive_timeout(view: ClusterView) -> float:
    """After how many seconds PostgreSQL ends a file of its log by itself; 0 for never."""
    assert view.primary
    said = view.primary.parameters.get("archive_timeout", "0")
    with suppress(ValueError):
        return float(said)
    return 0.0


def show(out: Console, result: dict[str, Any]) -> None:
    """The result for a person."""
    for name, figure, note in report_of.rows(result):
        out.print(f"[dim]{name:14}[/] {escape(figure)}  [dim]{escape(note)}[/]", soft_wrap=True)
    for text in result["failures"]:
        out.print(f"[red]problem[/]  {escape(text)}", soft_wrap=True)
    colour = "green" if result["passed"] else "red"
    out.print(f"[bold {colour}]{escape(report_of.headline(result))}[/]", soft_wrap=True)


def writable(report: str) -> Path:
    """The directory of a report. Raises ClusterError where nothing can be written to it."""
    directory = Path(report)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ClusterError(f"--report {report}: can't be made: {error.strerror}") from None
    if not os.access(directory, os.W_OK):
        raise ClusterError(f"--report {report}: can't be written to: should be a directory of yours")
    return directory
