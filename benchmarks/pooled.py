"""What clients of the pools see of the same faults, planned and unplanned, beside clients that go straight through HAProxy."""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from . import rig

FAULTS = ("switchover", "postgres-kill", "patroni-kill", "host-off", "haproxy-kill")
WAYS = {"direct": (), "pooled": ("--pooled",)}
ROUNDS = 5


def main(rounds: int = ROUNDS) -> None:
    trials = {}
    with rig.blank_lab():
        rig.add_settings("haproxy", "pooling = True\n")
        rig.deploy()
        for way, words in WAYS.items():
            with TemporaryDirectory() as folder:
                faults = ",".join(FAULTS)
                rig.watched(
                    "invoke", "failover-test", "--fault", faults, "--repeat", str(rounds), *words, "--report", folder, "--yes"
                )
                report = Path(folder) / "report.json"
                trials[way] = json.loads(report.read_text())["trials"] if report.exists() else []
    for fault in FAULTS:
        for way in WAYS:
            those = [trial for trial in trials[way] if trial["fault"] == fault]
            outages = [trial["outage"] for trial in those]
            if len(those) < rounds or None in outages:
                sys.exit(f"{fault} was not measured {rounds} times {way}, so there is nothing to say of it")
            failed = sum(trial["writes"]["failed"] + trial["writes"]["indeterminate"] for trial in those)
            reads = sum(trial["reads"]["failed"] + trial["reads"]["no_server"] for trial in those)
            lost = sum(trial["writes"]["lost"]["count"] for trial in those)
            each = " ".join(f"{s:.2f}" for s in outages)
            print(
                f"{fault:13} {way:7} {each}   median {statistics.median(outages):.2f}, longest wait"
                f" {max(trial['longest_wait'] for trial in those):.2f} s; failed: {failed} writes, {reads} reads; lost: {lost}"
            )
