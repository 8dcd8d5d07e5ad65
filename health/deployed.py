"""What a deploy asks of the cluster that it leaves behind: no problem by any rule, and some things on top. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cluster.topology import Cluster

from .finding import Finding, finding, ok
from .rules.settings import pending_restarts
from .view import ClusterView

# What the probe of a client prints; without a word its write has failed.
PASSED, WRITE_FAILS, READ_FAILS = "probe passed", "write fails", "read fails"
POOLED_WRITE_FAILS, POOLED_READ_FAILS = "pooled write fails", "pooled read fails"
_RULES = {
    READ_FAILS: "client.read-fails",
    POOLED_WRITE_FAILS: "client.pooled-write-fails",
    POOLED_READ_FAILS: "client.pooled-read-fails",
}

# Only warnings for a cluster at work, but a deploy has just asked for them: it is done when they are there.
DEMANDED = frozenset({"settings.not-in-etcd", "settings.not-running", "durability.other-mode", "durability.other-count"})
# Problems that the owner has chosen: by `invoke pause`, or by the number of hosts; and those that no deploy mends, nor has made.
OF_BACKUPS = frozenset(
    {
        "backups.no-repository",
        "backups.none",
        "backups.too-old",
        "backups.failed",
        "backups.damaged",
        "backups.drill-failed",
        "archive.failing",
        "archive.lagging",
        "archive.fills-disk",
        "archive.dropping",
        "archive.unkept",
        "archive.hole",
    }
)
ACCEPTED = OF_BACKUPS | {
    "patroni.paused", "failover.paused", "failover.no-majority", "transactions.nearly-used-up", "disks.full",
}  # fmt: skip


def unmet(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """What a deploy has to wait for, and fails for in the end."""
    return tuple(f for f in found if f.rule in DEMANDED or (f.level == "problem" and f.rule not in ACCEPTED))


def client(proxy: str, said: str, error: str) -> Finding:
    """The verdict of a client that has written and read through a proxy: what it printed, and what it was told."""
    if said == PASSED:
        return ok("client", proxy, "a client's write and read pass, TLS verified")
    return finding(
        _RULES.get(said, "client.write-fails"), proxy, f"a client that goes through it is told: {error or 'no answer'}"
    )


def remarks(view: ClusterView, cluster: Cluster, found: Iterable[Finding]) -> Iterator[str]:
    """What the user should know of a cluster that is as it should be."""
    for host, settings in pending_restarts(view, cluster).items():
        yield f"{host} waits for a restart: {', '.join(settings)} (invoke rolling-restart)"
    yield from (str(f) for f in found if f.rule in ACCEPTED)
    if cluster.all.durability == "asynchronous":
        yield "durability is asynchronous: a failover may lose the last acknowledged writes"
    elif not cluster.waits_without_replica:
        yield "without_replica is continue: while no replica is there, losing the primary loses acknowledged writes"
