"""`invoke wal-lag`: how far each replica is behind, once or refreshed in place, and as a check with thresholds."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rich.console import Group
from rich.table import Table
from rich.text import Text

from cluster.topology import Cluster
from day2.hosts.observe import CONNECT_SECONDS, observe
from day2.hosts.ssh import Fleet
from day2.ui.console import EXIT_OK, EXIT_PROBLEM, console, print_json, size
from day2.ui.watch import refuse_both
from day2.ui.watch import watch as watch_screens
from health.lag import Lag, bytes_of, lags, seconds_of, too_far

FORMAT = "pgquorum wal-lag 1"
BETWEEN_SECONDS = 0.2
Limits = tuple[int | None, float | None]  # bytes, seconds


def wal_lag(cluster: Cluster, *, watch: bool, max_bytes: str | None, max_seconds: str | None, as_json: bool) -> int:
    """0 when every replica streams and is within the thresholds, else 1. With `watch` it goes on until Ctrl-C."""
    refuse_both(watch=watch, as_json=as_json)
    limits = (bytes_of("--max-bytes", max_bytes), seconds_of("--max-seconds", max_seconds))
    with Fleet(cluster.hosts, CONNECT_SECONDS) as fleet:
        rounds = measure(fleet, cluster, limits)
        if watch:
            watch_screens(screen(rows, failures) for rows, failures in rounds)
        rows, failures = next(rounds)
    if as_json:
        print_json(FORMAT, {"cluster": cluster.name, "replicas": rows, "passed": not failures, "failures": failures})
    else:
        console().print(screen(rows, failures))
    return EXIT_PROBLEM if failures else EXIT_OK


def measure(fleet: Fleet, cluster: Cluster, limits: Limits) -> Iterator[tuple[tuple[Lag, ...], tuple[str, ...]]]:
    """The replicas and what is wrong with them, again and again."""
    before = observe(fleet, cluster)
    while True:
        time.sleep(BETWEEN_SECONDS)
        view = observe(fleet, cluster)
        rows = lags(view, before, cluster)
        replicas = [h.name for h in cluster.postgres_hosts if h.name not in view.writable]
        yield rows, tuple(too_far(rows, replicas, *limits))
        before = view


def screen(rows: tuple[Lag, ...], failures: tuple[str, ...]) -> Group:
    """The table, and what is beyond the thresholds."""
    table = Table(
        "replica", "state", "sync", "received", "", "replayed", "", "slot holds back", "of",
        box=None, header_style="dim", padding=(0, 2, 0, 0),
    )  # fmt: skip
    for row in rows:
        held = "no slot" if row.retained is None else size(row.retained)
        limit = "no limit" if row.room is None else size(row.room + (row.retained or 0))
        received, replayed = f"{row.received_seconds:.1f} s", f"{row.replayed_seconds:.1f} s"
        cells = (size(row.received), received, size(row.replayed), replayed, held, limit)
        table.add_row(row.name, row.state, row.sync_state, *cells)
    return Group(table, *(Text(f"problem  {failure}", style="red") for failure in failures))
