"""The replication slots of a cluster: their names, and which replicas the consumers of logical slots wait for.

Pure, of the standard library alone: the deploy also puts this file on the hosts, for agents/standby_slots.py.

A logical slot survives a failover as a failover slot, which PostgreSQL copies to every replica (`sync_replication_slots`). That
alone would not do: a consumer gets a change as soon as the primary has it on its own disk, and asks the next primary for what
comes after it. If that had less, whatever it writes at the same positions would never be sent. So a change goes to consumers only
after replicas have it on their disks, too (`synchronized_standby_slots`), and these are as many as acknowledge a write: whoever
may be promoted has what any of them has, by the rule in quorum.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from cluster.quorum import Configuration

# PostgreSQL's parameter, and its value on a server that does not lead: no slot is called so, and consumers wait until the host's
# own program has said for whom (agents/standby_slots.py).
STANDBYS_FIRST = "synchronized_standby_slots"
NOT_YET = "pgquorum_not_yet"
# Keeps on every server what may not be archived yet (agents/archive_slot.py); Patroni leaves it alone.
ARCHIVE = "pgquorum_archive"
# A replica that is chosen stays so until it is behind the quickest by more than this many bytes.
NEAR_BYTES = 16 * 1024**2


def slot_name(member: str) -> str:
    """The name Patroni gives the slot of a member (patroni/dcs, slot_name_from_member_name)."""
    return re.sub(r"[^a-z0-9_]", "_", member.lower())


def consumers_wait_for(
    configuration: Configuration, flushed: Mapping[str, int], before: frozenset[str] = frozenset()
) -> frozenset[str]:
    """The replicas that must have a change before it goes to consumers: so many voters that every quorum of the configuration
    includes one of them or the primary.

    `flushed` is how many bytes of WAL each replica that streams has on its disk; `before` who was chosen last, and is again while
    they keep up. The quickest are chosen; those that don't stream come last.
    """
    count = max(len(configuration.voters) - configuration.quorum, 0)
    ranked = sorted(configuration.voters, key=lambda name: (-flushed.get(name, -1), name))
    chosen = frozenset(ranked[:count])
    enough = min((flushed.get(name, -1) for name in chosen), default=0) - NEAR_BYTES
    keeps_up = all(name in configuration.voters and flushed.get(name, -1) >= max(enough, 0) for name in before)
    return before if keeps_up and len(before) == count else chosen
