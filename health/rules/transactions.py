"""The rule that old transaction IDs are reclaimed. PostgreSQL has 2^31 of them to give out, and the same number of multixacts."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.topology import Cluster

from ..finding import Finding, finding
from ..view import ClusterView

# Where PostgreSQL takes no more writes: 3 million before the end (varsup.c, multixact.c).
REFUSED_AT = 2**31 - 3_000_000
# From vacuum_failsafe_age on, as it is shipped, vacuuming drops all that is not for this; half of what there is, long before.
URGENT, LATE = 1_600_000_000, 2**30
# An owner may have autovacuum begin later than that: then it needs some time to come through.
TIME = 100_000_000


def transactions(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """Autovacuum comes through."""
    if view.primary is None:
        return
    oldest, held = view.primary.oldest_ids, view.primary.horizon
    age, what = max((oldest.transactions, "transaction ID"), (oldest.multixacts, "multixact"))
    urgent = age >= URGENT
    if not urgent and age < max(LATE, oldest.reclaimed_at + TIME):
        return
    text = (
        f"the oldest {what} of database {oldest.database} is {age:,} old, and at {REFUSED_AT:,} PostgreSQL takes no more writes"
    )
    if held and 2 * held.age >= oldest.transactions:  # what has begun later can't have been in the way all the time
        text += f"; {held.what} keeps what is up to {held.age:,} transactions old from being cleaned up"
    rule = "transactions.nearly-used-up" if urgent else "transactions.not-frozen"
    yield finding(rule, "transactions", f"{text} (docs/runbook.md, Transaction IDs run out)")
