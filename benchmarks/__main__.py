"""`python -m benchmarks [NAME …]`: all of them, or the named ones."""

import sys
from collections.abc import Callable

from . import archive, backup, deploy, failover, gate, guards, pool, pooled, prove, tasks

BENCHMARKS: dict[str, Callable[[], None]] = {
    "archive": archive.main,
    "deploy": deploy.main,
    "failover": failover.main,
    "gate": gate.main,
    "pool": pool.main,
    "pooled": pooled.main,
    "tasks": tasks.main,
}
ON_REQUEST: dict[str, Callable[[], None]] = {"backup": backup.main, "guards": guards.main, "prove": prove.main}  # these take long

names = sys.argv[1:] or list(BENCHMARKS)
for name in names:
    if name not in BENCHMARKS | ON_REQUEST:
        sys.exit(f"{name} is not a benchmark: there are {', '.join(BENCHMARKS | ON_REQUEST)}")
for name in names:
    print(f"--- {name}", flush=True)
    (BENCHMARKS | ON_REQUEST)[name]()
