"""Lines of the hosts' journals: read, told apart by who wrote them and how bad they are, and put in one order. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from cluster.components import Name
from day2.hosts.journal import is_trouble

# syslog's levels, as the journal has them.
WARNING, INFORMATION = 4, 6
# HAProxy writes the same to its standard error, with a level, and to its log, without.
HAPROXY_LEVEL = re.compile(r"^\[\w+\] +\(\d+\) : ")
TWICE_SECONDS = 1.0
# In the unit of Patroni, PostgreSQL's lines begin with a time, as Patroni's do, but with a point, a zone and the process;
# what goes on from the line before, with a tab.
POSTGRES = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ \w+ \[\d+\] |^\t")
HEADED = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[.,]\d+ ")
# What PostgreSQL says more about the message before, with a heading of its own.
MORE = re.compile(r"\b(DETAIL|HINT|CONTEXT|STATEMENT|QUERY|LOCATION|BACKTRACE): ")
LEVELS = {
    "patroni": re.compile(r"\b(WARNING|ERROR|CRITICAL|FATAL|PANIC): "),
    "etcd": re.compile(r'"level":"(warn|error|dpanic|panic|fatal)"'),
    "haproxy": re.compile(r"^\[(WARNING|ALERT|EMERG)\]"),
    "pgbackrest": re.compile(r"^(P\d+ +)?(WARN|ERROR): "),
    "pgbouncer": re.compile(r"pooler error: "),  # and what it tells the journal to be a warning
}
# Components whose unit has their name.
NAMED_SO: tuple[Name, ...] = ("etcd", "haproxy", "keepalived")


@dataclass(frozen=True)
class Line:
    """One line of a journal. `at` is seconds since 1970 by the host's clock, `priority` the level that the journal has for it:
    of what a program prints that of an information, unless it says another (HAProxy by the line, Patroni the same for all)."""

    at: float
    host: str
    unit: str
    text: str
    priority: int = INFORMATION

    @property
    def component(self) -> Name:
        """Who wrote it. What is printed in Patroni's unit and is not surely PostgreSQL's counts as Patroni's."""
        for name in NAMED_SO:
            if self.unit == name:
                return name
        if self.unit.startswith("pgquorum-pool@"):
            return "pgbouncer"
        if self.unit == "pgbackrest" or self.unit.startswith("pgquorum-backup"):
            return "pgbackrest"
        return "postgres" if self.unit == "patroni" and POSTGRES.search(self.text) else "patroni"

    @property
    def is_error(self) -> bool:
        """Whether it says itself that it is a warning or worse, or tells of trouble in other words."""
        of_units = self.component if self.component in ("pgbackrest", "pgbouncer") else self.unit
        level = LEVELS.get(of_units, LEVELS["patroni"])
        # All of Patroni's own are warnings to the journal (templates/patroni/patroni.yml.j2).
        called_bad = self.priority <= WARNING and not (self.unit == "patroni" and HEADED.search(self.text))
        return called_bad or bool(level.search(self.text)) or is_trouble(self.unit, self.text)

    @property
    def goes_on(self) -> bool:
        """Whether it belongs to the line before it: of a traceback, of a statement, or what PostgreSQL says more."""
        return self.unit == "patroni" and (not HEADED.search(self.text) or bool(MORE.search(self.text)))


def parse(host: str, text: str) -> Iterator[Line]:
    """A line of journalctl's JSON; nothing for what is not one. A message that is not text is a list of bytes there."""
    try:
        entry = json.loads(text)
        message = entry["MESSAGE"]
        at = int(entry["__REALTIME_TIMESTAMP"]) / 1e6
        priority = int(entry.get("PRIORITY", INFORMATION))
    except (ValueError, KeyError):
        return
    if isinstance(message, list):
        message = bytes(message).decode(errors="replace")
    unit = (entry.get("UNIT") or entry.get("_SYSTEMD_UNIT") or "?").removesuffix(".service")
    yield Line(at, host, unit, str(message), priority)


def in_order(lines: Iterable[Line]) -> list[Line]:
    """By time. Those of the same moment stay as they came: a journal has many, and their order is what they mean."""
    return sorted(lines, key=lambda line: line.at)


def selection(component: Name | None, *, errors: bool) -> Callable[[Line], bool]:
    """Whether a line is one of a component's, and with `errors` an error, or goes on from one. To be asked of every line in
    its order."""
    bad: dict[tuple[str, str, Name], bool] = {}

    def wanted(line: Line) -> bool:
        source = (line.host, line.unit, line.component)
        bad[source] = line.is_error or (line.goes_on and bad.get(source, False))
        return (component is None or line.component == component) and (bad[source] or not errors)

    return wanted


def once() -> Callable[[Line], bool]:
    """Whether a line is not HAProxy's second one about the same. To be asked of every line in its order."""
    said: dict[tuple[str, str, bool], float] = {}

    def first(line: Line) -> bool:
        if line.unit != "haproxy":
            return True
        for what in [what for what, at in said.items() if line.at - at > TWICE_SECONDS]:
            del said[what]
        text = HAPROXY_LEVEL.sub("", line.text)
        with_level = text != line.text
        if said.pop((line.host, text, not with_level), None) is not None:
            return False
        said[line.host, text, with_level] = line.at
        return True

    return first
