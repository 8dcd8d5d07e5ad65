"""`invoke logs`: what the cluster's components wrote on all hosts, as one stream in order of time."""

from __future__ import annotations

import json
import queue
import re
import shlex
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.console import Console
from rich.markup import escape

from cluster.components import COMPONENTS, NAMES
from cluster.errors import ClusterError, did_you_mean
from cluster.topology import Cluster
from day2.hosts.ssh import Answer, Fleet, UnreachableError
from day2.ui.console import BAD_NEWS, FINE, console

# The last are the small services that the deploy puts beside Patroni.
UNITS = (*(unit for component in COMPONENTS for unit in component.units), "pgquorum-*.service")
COLOURS = ("cyan", "green", "magenta", "yellow", "blue")
READ_SECONDS = 60
# A line of PostgreSQL's as log_line_prefix has it, after Patroni's or without.
POSTGRES = re.compile(r"\d{4}-\d\d-\d\d [\d:.]+ \w+ \[\d+\] ")
# How Patroni, PostgreSQL, etcd and HAProxy mark what is wrong.
WRONG = re.compile(r'\b(WARNING|ERROR|CRITICAL|FATAL|PANIC)\b|"level":"(warn|error|fatal|panic)"|\[(WARNING|ALERT)\]')
WARNING, INFORMATION = 4, 6  # of syslog
SAME_SECONDS = 1.0
# Lines of different hosts arrive a little out of order; for so long one waits for those before it.
REORDER_SECONDS = 0.5


@dataclass(frozen=True)
class Line:
    """One line of a journal. `at` is seconds since 1970 by the host's clock; `priority` syslog's, as systemd noted it."""

    at: float
    host: str
    unit: str
    text: str
    priority: int = INFORMATION


def logs(cluster: Cluster, *, host: str, since: str, follow: bool, component: str, errors: bool, most: int) -> int:
    """Prints the lines of one host and one component (all when empty), or only those that tell of something wrong, since a time
    that journalctl understands: the last `most` of them, all with 0. `follow` goes on until Ctrl-C.

    Raises ClusterError for an unknown host or component, a number below 0, or a time that means nothing.
    """
    if component and component not in NAMES:
        raise ClusterError(f"--component {component}{did_you_mean(component, NAMES)}: should be one of {', '.join(NAMES)}")
    if most < 0:
        raise ClusterError(f"--lines {most}: should be a number of lines, or 0 for all")
    hosts = [cluster.host(host)] if host else list(cluster.hosts)
    out = console()
    colour = {h.name: COLOURS[n % len(COLOURS)] for n, h in enumerate(cluster.hosts)}
    units = " ".join(f"--unit={shlex.quote(unit)}" for unit in UNITS)
    fields = "--output-fields=MESSAGE,_SYSTEMD_UNIT,UNIT,PRIORITY"
    command = f"journalctl --no-pager --quiet --output=json {fields} {units} --since={shlex.quote(since)}"
    unread: list[Answer] = []
    with Fleet(hosts) as fleet:
        every = followed(fleet, command) if follow else merged(fleet, command, unread)
        chosen = (line for line in once(every) if is_of(line, component) and not (errors and not is_wrong(line)))
        for line in chosen if follow else last(out, list(chosen), most):
            clock = datetime.fromtimestamp(line.at, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
            shown = f"[dim]{clock}[/] [{colour[line.host]}]{line.host}[/] [bold]{line.unit}[/] {escape(line.text)}"
            out.print(shown, soft_wrap=True)
    for answer in unread:
        out.print(f"[red]problem[/]  {answer.host}: {escape(answer.problem)}", soft_wrap=True)
    return BAD_NEWS if unread else FINE


def last(out: Console, lines: list[Line], most: int) -> list[Line]:
    """The last `most` of the lines, 0 for all; says how many came before."""
    left_out = len(lines) - most if most else 0
    if left_out > 0:
        out.print(f"[dim]{left_out:,} lines before these are left out (--lines 0: all; --errors: what is wrong)[/]")
    return lines[max(left_out, 0) :]


def merged(fleet: Fleet, command: str, unread: list[Answer]) -> Iterator[Line]:
    """Everything there is, by time; what a host wrote at the same time stays as it wrote it. Hosts that could not be read go to
    `unread`. Raises ClusterError."""
    answers = fleet.run_all(dict.fromkeys(fleet.hosts, command), seconds=READ_SECONDS)
    unread += [answer for answer in answers.values() if not answer.ok]
    for answer in unread:
        if "Failed to parse timestamp" in answer.problem:
            raise ClusterError(f"--since: {answer.problem} (like '10 min ago', '12:30', '2031-05-17 08:00')")
    found = (line for a in answers.values() for text in a.output.splitlines() for line in parse(a.host, text))
    yield from sorted(found, key=lambda line: line.at)


def followed(fleet: Fleet, command: str) -> Iterator[Line]:
    """Lines as they come, those that arrive together sorted. Ends only by Ctrl-C."""
    arrived: queue.SimpleQueue[Line] = queue.SimpleQueue()

    def read(host: str) -> None:
        try:
            for text in fleet.start(host, f"{command} --follow").makefile("r"):
                for line in parse(host, text):
                    arrived.put(line)
            why = "the connection broke"
        except (UnreachableError, OSError) as error:
            why = str(error)
        arrived.put(Line(time.time(), host, "logs", f"nothing more from this host: {why}"))

    for host in fleet.hosts:
        threading.Thread(target=read, args=(host,), daemon=True).start()
    while True:
        time.sleep(REORDER_SECONDS)
        together = [arrived.get() for _ in range(arrived.qsize())]
        yield from sorted(together, key=lambda line: line.at)


def parse(host: str, text: str) -> Iterator[Line]:
    """A line of journalctl's JSON; nothing for what is not one. A message that is not text is a list of bytes there."""
    try:
        entry = json.loads(text)
        message = entry["MESSAGE"]
        at = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
    except (ValueError, KeyError):
        return
    if isinstance(message, list):
        message = bytes(message).decode(errors="replace")
    unit = (entry.get("UNIT") or entry.get("_SYSTEMD_UNIT") or "?").removesuffix(".service")
    yield Line(at, host, unit, str(message), int(entry.get("PRIORITY", INFORMATION)))


def once(lines: Iterable[Line]) -> Iterator[Line]:
    """The lines without what HAProxy says a second time: a warning goes to its log, too, there without its level."""
    before: dict[str, Line] = {}
    for line in lines:
        if line.unit == "haproxy":
            same = before.get(line.host)
            before[line.host] = line
            if same and line.text in same.text and line.text != same.text and line.at - same.at < SAME_SECONDS:
                continue
        yield line


def is_of(line: Line, component: str) -> bool:
    """Whether a component wrote the line; any when empty. PostgreSQL's come with Patroni's, and are told apart by their form."""
    if not component:
        return True
    unit = line.unit.removeprefix("pgquorum-")
    if component in ("patroni", "postgres"):
        return line.unit not in ("etcd", "haproxy") and bool(POSTGRES.match(line.text)) == (component == "postgres")
    return unit == component


def is_wrong(line: Line) -> bool:
    """Whether a line is a warning or worse, by its own word or by systemd's; what one client did wrong counts, too."""
    return line.priority <= WARNING or bool(WRONG.search(line.text))
