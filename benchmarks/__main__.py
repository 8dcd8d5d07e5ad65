"""`python -m benchmarks [NAME …]`: all of them, or the named ones."""

import sys

from . import archive, backup, deploy, failover, gate, pool, pooled, prove, tasks

BENCHMARKS = {
    "archive": archive.main,
    "deploy": deploy.main,
    "failover": failover.main,
    "gate": gate.main,
    "pool": pool.main,
    "pooled": pooled.main,
    "tasks": tasks.main,
}
ON_REQUEST = {"backup": backup.main, "prove": prove.main}  # these take long

names = sys.argv[1:] or list(BENCHMARKS)
for name in names:
    if name not in BENCHMARKS | ON_REQUEST:
        sys.exit(f"{name} is not a benchmark: there are {', '.join(BENCHMARKS | ON_REQUEST)}")
for name in names:
    print(f"--- {name}", flush=True)
    (BENCHMARKS | ON_REQUEST)[name]()
