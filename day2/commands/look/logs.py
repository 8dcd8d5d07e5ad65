"""`invoke logs`: what the cluster's components wrote on all hosts, as one stream in order of time."""

from __future__ import annotations

import json
import queue
import shlex
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.markup import escape

from cluster.components import COMPONENTS
from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.hosts.ssh import Answer, Fleet, UnreachableError
from day2.ui.console import BAD_NEWS, FINE, console

# The last are the small services that the deploy puts beside Patroni.
UNITS = (*(unit for component in COMPONENTS for unit in component.units), "pgquorum-*.service")
COLOURS = ("cyan", "green", "magenta", "yellow", "blue")
READ_SECONDS = 60
# Lines of different hosts arrive a little out of order; for so long one waits for those before it.
REORDER_SECONDS = 0.5


@dataclass(frozen=True, order=True)
class Line:
    """One line of a journal. `at` is seconds since 1970 by the host's clock."""

    at: float
    host: str
    unit: str
    text: str


def logs(cluster: Cluster, *, host: str, since: str, follow: bool) -> int:
    """Prints the lines of one host (all when empty) since a time that journalctl understands. `follow` goes on until Ctrl-C.

    Raises ClusterError for an unknown host or a time that means nothing.
    """
    hosts = [cluster.host(host)] if host else list(cluster.hosts)
    out = console()
    colour = {h.name: COLOURS[n % len(COLOURS)] for n, h in enumerate(cluster.hosts)}
    units = " ".join(f"--unit={shlex.quote(unit)}" for unit in UNITS)
    fields = "--output-fields=MESSAGE,_SYSTEMD_UNIT,UNIT"
    command = f"journalctl --no-pager --quiet --output=json {fields} {units} --since={shlex.quote(since)}"
    unread: list[Answer] = []
    with Fleet(hosts) as fleet:
        lines = followed(fleet, command) if follow else merged(fleet, command, unread)
        for line in lines:
            clock = datetime.fromtimestamp(line.at, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
            shown = f"[dim]{clock}[/] [{colour[line.host]}]{line.host}[/] [bold]{line.unit}[/] {escape(line.text)}"
            out.print(shown, soft_wrap=True)
    for answer in unread:
        out.print(f"[red]problem[/]  {answer.host}: {escape(answer.problem)}", soft_wrap=True)
    return BAD_NEWS if unread else FINE


def merged(fleet: Fleet, command: str, unread: list[Answer]) -> Iterator[Line]:
    """Everything there is, sorted. Hosts that could not be read go to `unread`. Raises ClusterError."""
    answers = fleet.run_all(dict.fromkeys(fleet.hosts, command), seconds=READ_SECONDS)
    unread += [answer for answer in answers.values() if not answer.ok]
    for answer in unread:
        if "Failed to parse timestamp" in answer.problem:
            raise ClusterError(f"--since: {answer.problem} (like '10 min ago', '12:30', '2031-05-17 08:00')")
    yield from sorted(line for a in answers.values() for text in a.output.splitlines() for line in parse(a.host, text))


def followed(fleet: Fleet, command: str) -> Iterator[Line]:
    """Lines as they come, those that arrive together sorted. Ends only by Ctrl-C."""
    arrived: queue.PriorityQueue[Line] = queue.PriorityQueue()

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
        while not arrived.empty():
            yield arrived.get()


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
    yield Line(at, host, unit, str(message))
