"""`python -m benchmarks [NAME …]`: all of them, or the named ones."""

import sys

from . import archive, deploy, failover, gate, prove, tasks

BENCHMARKS = {
    "archive": archive.main,
    "deploy": deploy.main,
    "failover": failover.main,
    "gate": gate.main,
    "tasks": tasks.main,
}
ON_REQUEST = {"prove": prove.main}  # takes long

names = sys.argv[1:] or list(BENCHMARKS)
for name in names:
    if name not in BENCHMARKS | ON_REQUEST:
        sys.exit(f"{name} is not a benchmark: there are {', '.join(BENCHMARKS | ON_REQUEST)}")
for name in names:
    print(f"--- {name}", flush=True)
    (BENCHMARKS | ON_REQUEST)[name]()
