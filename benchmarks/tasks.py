"""How long the tasks take that look and change nothing."""

from __future__ import annotations

import statistics

from . import rig


def main(rounds: int = 5) -> None:
    with rig.blank_lab():
        rig.deploy()
        for task in ("status", "verify", "wal-lag", "preflight"):
            seconds = [rig.timed("invoke", task) for _ in range(rounds)]
            print(f"invoke {task:9} {' '.join(f'{s:.2f}' for s in seconds)}   median {statistics.median(seconds):.2f} s")
