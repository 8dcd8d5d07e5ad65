"""What archiving costs: planned and unplanned changes of the primary, and writes, without it and with the repository there, gone
(nobody listens), silent (out of reach without a word) and hanging (it takes connections and says nothing); in turn, on one
cluster."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from cluster import paths

from . import rig

FAULTS = ("switchover", "postgres-kill")
ROUNDS = 5
COMMAND = "patronictl -c /etc/patroni/conf.d edit-config --force --quiet --pg 'archive_command={}'"
NOTHING = "/bin/true"
WAIT = (
    "for try in $(seq 120); do [ -z \"$(find -L /var/lib/postgresql -path '*/archive_status/*.ready')\" ] && exit; sleep 1; done;"
    " exit 1"
)
ARCHIVED = f"{paths.ARCHIVE_PUSH} %p"


def main(rounds: int = ROUNDS) -> None:
    figures: dict[tuple[str, str], list[float]] = {}
    with rig.blank_lab(replace(rig.SPEC, backup=True)) as lab:
        rig.deploy()
        (keeper,) = (host.name for host in lab.spec.hosts if host.kind == "backup")
        (database, *_) = (host.name for host in lab.spec.hosts if host.kind == "database")

        def on(host: str, command: str) -> None:
            subprocess.run([*lab.ssh_command(host), command], check=True, stdout=subprocess.DEVNULL)

        def archive_nothing() -> None:
            """Once nothing waits any more, which would never get to the archive."""
            for host in lab.spec.hosts:
                if host.kind == "database":
                    on(host.name, WAIT)
            on(database, COMMAND.format(NOTHING))

        ways: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
            "none": (
                archive_nothing,
                lambda: on(database, COMMAND.format(ARCHIVED)),
            ),
            "there": (lambda: None, lambda: None),
            "gone": (lambda: on(keeper, "systemctl stop pgbackrest"), lambda: on(keeper, "systemctl start pgbackrest")),
            "silent": (lambda: lab.cut(keeper), lambda: lab.heal(keeper)),
            "hanging": (
                lambda: on(keeper, "systemctl kill --signal=STOP pgbackrest"),
                lambda: on(keeper, "systemctl kill --signal=CONT pgbackrest"),
            ),
        }
        for _ in range(rounds):
            for way, (begin, end) in ways.items():
                begin()
                try:
                    measured = _trials()
                finally:
                    end()
                for what, figure in measured.items():
                    print(f"{what:14} {way:8} {figure:.2f}", file=sys.stderr, flush=True)
                    figures.setdefault((what, way), []).append(figure)
    for what in (*FAULTS, "writes"):
        without = statistics.median(figures[what, "none"])
        for way in ways:
            each = figures[what, way]
            median = statistics.median(each)
            unit = "writes/s" if what == "writes" else "s"
            listed = " ".join(f"{one:.2f}" for one in each)
            print(f"{what:14} {way:8} {listed}   median {median:.2f} {unit}, ratio to none {median / without:.2f}")


def _trials() -> dict[str, float]:
    """Each fault once: for how many seconds writes stopped; and how many were acknowledged in a second before that."""
    with TemporaryDirectory() as folder:
        rig.timed("invoke", "failover-test", "--fault", ",".join(FAULTS), "--report", folder, "--yes")
        trials = json.loads((Path(folder) / "report.json").read_text())["trials"]
    if any(trial["outage"] is None for trial in trials):
        sys.exit("an outage was not measured, so there is nothing to say of archiving")
    rate = statistics.mean(trial["writes_per_second"] for trial in trials)
    return {**{trial["fault"]: trial["outage"] for trial in trials}, "writes": rate}
