"""Commands that prove what a cluster withstands."""

from __future__ import annotations

from invoke.context import Context

from day2.commands.declare import BY_WAY, JSON, YES, command, on_cluster


@command(
    help={
        "fault": "which, such as host-off (the default), or several with commas, or all that are possible here",
        "list": "print the faults there are, and do nothing",
        "repeat": "how many times each",
        "soak": "for so many minutes, faults at random",
        "seed": "the random numbers of an earlier --soak again",
        "lagging": "in a --soak, let a replica lag half of the time",
        "report": "write report.html, report.json and report.txt into this directory",
        "yes": YES,
        "writers": "how many connections write at the same time",
        "rate": "how many writes a second each of them makes at most (0: as many as it can)",
        "readers": "how many read at the same time",
        "pooled": "write and read through PgBouncer's pools (ports 6432 and 6433)",
        "address": "write and read by proxy_address, in place of a list of the proxy hosts",
        "from": BY_WAY,
        "json": JSON,
    },
)
def _failover_test(
    c: Context,
    fault: str | None = None,
    list: bool = False,
    repeat: int = 1,
    soak: float | None = None,
    seed: int | None = None,
    lagging: bool = False,
    report: str | None = None,
    yes: bool = False,
    writers: int = 8,
    rate: float = 0.0,
    readers: int = 2,
    pooled: bool = False,
    address: bool = False,
    from_: str | None = None,
    json: bool = False,
) -> None:
    """Inject a fault under load; measure the outage, count lost writes, heal; exits 1 if anything is not as predicted."""
    from day2.commands.prove.failover_test import failover_test, show_faults

    if list:
        show_faults()
        return
    on_cluster(
        c, failover_test, fault=fault, repeat=repeat, soak=soak, seed=seed, directory=report, yes=yes, writers=writers, rate=rate,
        readers=readers, pooled=pooled, hop=from_, as_json=json, lagging=lagging, by_address=address,
    )  # fmt: skip


COMMANDS = (_failover_test,)
