"""What the promotion gate costs: the same faults with it and without, in turn, on one cluster."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from cluster import paths
from lab import Lab

from . import rig

FAULTS = ("switchover", "postgres-kill")
ROUNDS = 10
# Seconds that an ordinary failover may take longer.
GOAL = 0.15

CONFIG = f"{paths.PATRONI_CONFIG}/patroni.yml"
WITHOUT = f"sed -i 's/^  pre_promote:/  # pre_promote:/' {CONFIG} && systemctl reload patroni"
WITH = f"sed -i 's/^  # pre_promote:/  pre_promote:/' {CONFIG} && systemctl reload patroni"


def main(rounds: int = ROUNDS) -> None:
    outages: dict[tuple[str, str], list[float]] = {}
    with rig.blank_lab() as lab:
        rig.deploy()
        for _ in range(rounds):
            for gate, command in (("with", WITH), ("without", WITHOUT)):
                _on_database_hosts(lab, command)
                for fault, outage in _trials().items():
                    print(f"{fault:14} {gate:8} {outage:.2f} s", file=sys.stderr, flush=True)
                    outages.setdefault((fault, gate), []).append(outage)
    for fault in FAULTS:
        medians = {}
        for gate in ("with", "without"):
            seconds = outages[fault, gate]
            medians[gate] = statistics.median(seconds)
            print(f"{fault:14} {gate:8} {' '.join(f'{s:.2f}' for s in seconds)}   median {medians[gate]:.2f} s")
        more, ratio = medians["with"] - medians["without"], medians["with"] / medians["without"]
        print(f"{fault:14} costs {more:+.2f} s, ratio {ratio:.2f}   goal: {GOAL:g} s at most")


def _trials() -> dict[str, float]:
    """Each fault once: for how many seconds writes stopped."""
    with TemporaryDirectory() as folder:
        rig.timed("invoke", "failover-test", "--fault", ",".join(FAULTS), "--report", folder, "--yes")
        trials = json.loads((Path(folder) / "report.json").read_text())["trials"]
    if any(trial["outage"] is None for trial in trials):
        sys.exit("an outage was not measured, so there is nothing to say of the gate")
    return {trial["fault"]: trial["outage"] for trial in trials}


def _on_database_hosts(lab: Lab, command: str) -> None:
    for host in lab.spec.hosts:
        if host.kind == "database":
            subprocess.run([*lab.ssh_command(host.name), command], check=True, stdout=subprocess.DEVNULL)
