"""How long writes stop when the primary's host is lost, with guards and without (fast_failover), on one cluster."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lab import Lab

from . import rig

FAULTS = ("host-off", "host-off-etcd-leader", "partition")
ROUNDS = int(os.environ.get("GUARD_ROUNDS") or 5)
# What the guards leave to the lease otherwise: a leader that is younger, and a second one within ten minutes.
YOUNG_SECONDS = 62
TLS = "/etc/patroni/tls"
KNOWN = f"--cacert {TLS}/etcd-ca.crt --cert {TLS}/etcd-client.crt --key {TLS}/etcd-client.key"
WAYS = ("without", "with")
PHASES = {
    "key_gone": "key gone",
    "new_leader": "new leader",
    "promoted": "promoted",
    "routed": "routed",
    "first_write": "first write",
}


def main(rounds: int = ROUNDS) -> None:
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    with rig.blank_lab() as lab:
        rig.deploy()
        for way in WAYS:
            if way == "with":
                rig.add_settings("all", "fast_failover = True\n")
                rig.deploy()
            for number in range(rounds):
                for fault in FAULTS:
                    if way == "with":
                        _forget(lab)
                    trial = _trial(fault)
                    print(f"{number + 1} {fault:21} {way:8} {trial['outage']:.2f} s", file=sys.stderr, flush=True)
                    found.setdefault((fault, way), []).append(trial)
    print(_side_by_side(found))
    for fault in FAULTS:
        medians = {}
        for way in WAYS:
            seconds = sorted(trial["outage"] for trial in found[fault, way])
            lost = sum(trial["writes"]["lost"]["count"] for trial in found[fault, way])
            medians[way] = statistics.median(seconds)
            print(f"{fault:21} {way:8} {' '.join(f'{s:.2f}' for s in seconds)}   median {medians[way]:.2f} s; lost: {lost}")
        print(f"{fault:21} ratio {medians['with'] / medians['without']:.2f}")


def _side_by_side(found: dict[tuple[str, str], list[dict[str, Any]]]) -> str:
    """A line for each fault without guards, and one with them below it: the median moment of each phase."""
    lines = [f"{'seconds after the fault':30} {' '.join(f'{PHASES[phase]:>12}' for phase in PHASES)}"]
    for fault, way in product(FAULTS, WAYS):
        trials = [{step["key"]: step["seconds"] for step in trial["timeline"]} for trial in found[fault, way]]
        moments = ([one[phase] for one in trials if one.get(phase) is not None] for phase in PHASES)
        medians = (f"{statistics.median(seen):.2f}" if seen else "" for seen in moments)
        lines.append(f"{fault:21} {way:8} {' '.join(f'{median:>12}' for median in medians)}")
    return "\n".join(lines)


def _trial(fault: str) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        rig.timed("invoke", "failover-test", "--fault", fault, "--report", folder, "--yes")
        (trial,) = json.loads((Path(folder) / "report.json").read_text())["trials"]
    if trial["outage"] is None:
        sys.exit("an outage was not measured, so there is nothing to say of the guards")
    return dict(trial)


def _forget(lab: Lab) -> None:
    """The leader may be given up by now, and lately none was."""
    time.sleep(YOUNG_SECONDS)
    host = next(host for host in lab.spec.hosts if host.kind == "database")
    forget = f"etcdctl --endpoints https://{host.address}:2379 {KNOWN} del /pgquorum/{rig.SPEC.name}/guard/yielded"
    subprocess.run([*lab.ssh_command(host.name), forget], check=True, stdout=subprocess.DEVNULL)
