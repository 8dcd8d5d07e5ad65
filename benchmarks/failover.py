"""How long writes are out, fault by fault, ten times each, and what is lost: beside the goals."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from . import rig

# Fault to the goals for the median and for the worst of ten (seconds): an on-premises lan, quorum mode.
GOALS = {
    "postgres-kill": (2.5, None),
    "patroni-kill": (1.0, None),
    "switchover": (2.0, None),
    "host-off": (20.0, 24.0),
    "partition": (None, 24.0),
}
ROUNDS = 10


def main(rounds: int = ROUNDS) -> None:
    with rig.blank_lab(), TemporaryDirectory() as folder:
        rig.deploy()
        rig.watched("invoke", "failover-test", "--fault", ",".join(GOALS), "--repeat", str(rounds), "--report", folder, "--yes")
        report = Path(folder) / "report.json"
        trials = json.loads(report.read_text())["trials"] if report.exists() else []
    for fault, (median, worst) in GOALS.items():
        outages = [trial["outage"] for trial in trials if trial["fault"] == fault]
        if len(outages) < rounds or None in outages:
            sys.exit(f"{fault} was not measured {rounds} times, so there is nothing to say of it")
        each = " ".join(f"{s:.2f}" for s in outages)
        goals = [f"{name} {goal:g}" for name, goal in (("median", median), ("worst", worst)) if goal]
        print(
            f"{fault:14} {each}   median {statistics.median(outages):.2f}, worst {max(outages):.2f} s   goal: {', '.join(goals)}"
        )
    lost = sum(trial["writes"]["lost"]["count"] for trial in trials)
    print(f"acknowledged writes lost: {lost}")
