"""`invoke logs`: what the cluster's components wrote on all hosts, as one stream in order of time."""

from __future__ import annotations

import queue
import shlex
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from rich.markup import escape

from cluster.components import COMPONENTS, NAMES, Name
from cluster.errors import ClusterError, did_you_mean
from cluster.topology import Cluster
from day2.hosts.ssh import CommandResult, Fleet, UnreachableError
from day2.ui.console import EXIT_OK, EXIT_PROBLEM, console

from .log_lines import WARNING, Line, in_order, once, parse, selection

# The last are the small services that the deploy puts beside Patroni.
UNITS = (*(unit for component in COMPONENTS for unit in component.units), "pgquorum-*.service")
COLOURS = ("cyan", "green", "magenta", "yellow", "blue")
READ_SECONDS = 60
# Lines of different hosts arrive a little out of order; for so long one waits for those before it.
REORDER_SECONDS = 0.5


def logs(cluster: Cluster, *, host: str, component: str, errors: bool, since: str, lines: int, follow: bool) -> int:
    """Prints the last `lines` (all for 0) of one host and component (all when empty) since a time that journalctl understands.
    `errors`: only what is a warning or worse. `follow` goes on until Ctrl-C.

    Raises ClusterError for an unknown host or component, a number or a time that means nothing.
    """
    hosts = [cluster.host(host, "--host")] if host else list(cluster.hosts)
    wanted, first = selection(component_of(component), errors=errors), once()
    if lines < 0:
        raise ClusterError(f"--lines {lines}: should be how many to print at most, or 0 for all there are")
    out = console()
    colour = {h.name: COLOURS[n % len(COLOURS)] for n, h in enumerate(cluster.hosts)}
    unread: list[CommandResult] = []
    with Fleet(hosts) as fleet:
        found = followed(fleet, command(since, lines)) if follow else merged(fleet, command(since), unread)
        chosen: Iterator[Line] = (line for line in found if wanted(line) and first(line))
        for line in chosen if follow else latest(chosen, lines, lambda text: out.print(f"[cyan]note[/]     {text}")):
            clock = datetime.fromtimestamp(line.at, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
            shown = f"[dim]{clock}[/] [{colour[line.host]}]{line.host}[/] [bold]{line.unit}[/] {escape(line.text)}"
            out.print(shown, soft_wrap=True)
    for answer in unread:
        out.print(f"[red]problem[/]  {answer.host}: {escape(answer.problem)}", soft_wrap=True)
    return EXIT_PROBLEM if unread else EXIT_OK


def component_of(name: str) -> Name | None:
    """The component that is called so; None for all. Raises ClusterError."""
    if name and name not in NAMES:
        raise ClusterError(f"--component {name!r}{did_you_mean(name, NAMES)}: should be {', '.join(NAMES)}")
    return next((one for one in NAMES if one == name), None)


def command(since: str, lines: int = 0) -> str:
    """What is run on a host. `lines`: no more than its last ones to begin with, all for 0."""
    units = " ".join(f"--unit={shlex.quote(unit)}" for unit in UNITS)
    bound = f" --lines={lines}" if lines else ""
    fields = "--output-fields=MESSAGE,PRIORITY,_SYSTEMD_UNIT,UNIT"
    return f"journalctl --no-pager --quiet --output=json {fields} {units} --since={shlex.quote(since)}{bound}"


def latest(lines: Iterator[Line], most: int, say: Callable[[str], object]) -> list[Line]:
    """The last of the lines, `most` of them (all for 0); says so when those before are left out."""
    found = list(lines)
    if not most or len(found) <= most:
        return found
    say(
        f"the last {most:,} of {len(found):,} lines: `--lines 0` for all; `--errors`, `--component`, `--host`, `--since` for less"
    )
    return found[-most:]


def merged(fleet: Fleet, command: str, unread: list[CommandResult]) -> Iterator[Line]:
    """Everything there is, in order. Hosts that could not be read go to `unread`. Raises ClusterError."""
    answers = fleet.run_all(dict.fromkeys(fleet.hosts, command), seconds=READ_SECONDS)
    unread += [answer for answer in answers.values() if not answer.ok]
    for answer in unread:
        if "Failed to parse timestamp" in answer.problem:
            raise ClusterError(f"--since: {answer.problem} (like '10 min ago', '12:30', '2031-05-17 08:00')")
    yield from in_order(line for a in answers.values() for text in a.output.splitlines() for line in parse(a.host, text))


def followed(fleet: Fleet, command: str) -> Iterator[Line]:
    """Lines as they come, those that arrive together in order. Ends only by Ctrl-C."""
    arrived: queue.SimpleQueue[Line] = queue.SimpleQueue()

    def read(host: str) -> None:
        try:
            for text in fleet.start(host, f"{command} --follow").makefile("r"):
                for line in parse(host, text):
                    arrived.put(line)
            why = "the connection broke"
        except (UnreachableError, OSError) as error:
            why = str(error)
        arrived.put(Line(time.time(), host, "logs", f"nothing more from this host: {why}", WARNING))

    for host in fleet.hosts:
        threading.Thread(target=read, args=(host,), daemon=True).start()
    while True:
        time.sleep(REORDER_SECONDS)
        yield from in_order(arrived.get() for _ in range(arrived.qsize()))
