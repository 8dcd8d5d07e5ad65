"""What the pools of connections are for: a thousand clients, by pgbench, through PgBouncer and straight through HAProxy, in turn.

The servers take a thousand sessions here, so that a thousand clients can be had without pools at all; the pools have as many
connections as they would have of the 200 that are shipped.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lab import Lab

from . import rig

ROUNDS = 3
SECONDS = 20
# Name to pgbench's own switches. `-C`: each transaction on a connection of its own.
LOADS = {
    "1000 clients write": "-N -c 1000",
    "1000 clients read": "-S -c 1000",
    "50 clients connect anew": "-S -C -c 50",
}
WAYS = {"direct": (), "pooled": ("--pooled",)}
SETTINGS = {
    "postgres": 'postgres_parameters = {"max_connections": 1200, "shared_buffers": "256MB", "max_wal_size": "2GB"}\n',
    "haproxy": "haproxy_max_connections = 2000\npooling = True\npooling_pool_size = 38\n",
}
# Memory of the primary's Patroni and PostgreSQL that is neither shared nor a cache, in bytes. Asked of each process: not every
# machine lets a lab's hosts count it by unit. One that has ended meanwhile counts for nothing.
MEMORY = (
    "cd /proc && sed s,$,/status, /sys/fs/cgroup/system.slice/patroni.service/cgroup.procs"
    " | xargs cat 2>/dev/null | awk '/^RssAnon/ { sum += $2 } END { printf \"%d\\n\", sum * 1024 }'"
)
FOUND = ("tps", "latency average")


def main(rounds: int = ROUNDS) -> None:
    figures: dict[tuple[str, str, str], list[float]] = {}
    with rig.blank_lab() as lab:
        for group, text in SETTINGS.items():
            rig.add_settings(group, text)
        rig.deploy()
        rig.pgbench(lab, (), "-i -q -s 10")
        for _ in range(rounds):
            for load, switches in LOADS.items():
                for way, words in WAYS.items():
                    with _halfway(lab, figures.setdefault((load, way, "memory"), [])):
                        said = rig.pgbench(lab, words, f"-n -j 2 -T {SECONDS} {switches}")
                    for what in FOUND:
                        figures.setdefault((load, way, what), []).append(rig.figure(said, what))
                    print(f"{load} {way}: {figures[load, way, 'tps'][-1]:.0f} a second", file=sys.stderr, flush=True)
    for load in LOADS:
        medians = {}
        for way in WAYS:
            tps, wait = (statistics.median(figures[load, way, what]) for what in FOUND)
            medians[way] = tps
            each = " ".join(f"{one:.0f}" for one in figures[load, way, "tps"])
            memory = statistics.median(figures[load, way, "memory"]) / 1e6
            print(f"{load:24} {way:7} {each}   median {tps:.0f} transactions a second, {wait:.0f} ms each, {memory:.0f} MB")
        print(f"{load:24} ratio   {medians['pooled'] / medians['direct']:.2f} pooled to direct")


@contextmanager
def _halfway(lab: Lab, memory: list[float]) -> Iterator[None]:
    """Notes how much memory the primary takes when half of the time is over."""
    primary = next(host.name for host in lab.spec.hosts if host.kind == "database")

    def look() -> None:
        command = [*lab.ssh_command(primary), MEMORY]
        memory.append(float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout))

    timer = threading.Timer(SECONDS / 2, look)
    timer.start()
    yield
    timer.join()
