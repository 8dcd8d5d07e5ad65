"""Rules about replication slots."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.slots import ARCHIVE, slot_name
from cluster.topology import Cluster

from ..finding import Finding, finding
from ..states import Slot
from ..view import ClusterView

# What PostgreSQL says of a slot that keeps no more what whoever it is for has not had, or only by chance (wal_status).
GIVEN_UP = ("lost", "unreserved")


def physical(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """The primary's slots are in use and have lost nothing. Those on replicas are Patroni's reserve, idle by nature."""
    left_out = {slot_name(name) for name in view.left_out}
    ours = {slot_name(host.name) for host in cluster.postgres_hosts}
    for slot in view.primary.slots if view.primary else ():
        if slot.name in left_out or slot.name == ARCHIVE:  # that is idle by nature, and made anew when it has lost something
            continue
        if slot.wal_status in GIVEN_UP and slot.name in ours:
            text = f"slot {slot.name} is {slot.wal_status}: its replica needs `invoke reinit`"
            yield finding("slots.lost", "slots", text)
        elif slot.wal_status in GIVEN_UP:
            yield finding("slots.consumer-lost", "slots", _of_consumer(slot, cluster))
        elif not slot.active:
            text = f"slot {slot.name} is not in use and holds back {slot.retained} bytes of WAL"
            if slot.name in ours or slot.type != "physical":
                yield finding("slots.idle", "slots", text)
            else:
                drop = f"drop it when nobody needs it: select pg_drop_replication_slot('{slot.name}')"
                yield finding("slots.stranger", "slots", f"{text}, for no host of the inventory; {drop}")


def _of_consumer(slot: Slot, cluster: Cluster) -> str:
    """What is told of a slot that keeps no more what its consumer, which is no replica of the cluster's, has not had yet."""
    if slot.wal_status != "lost":
        return f"slot {slot.name} is {slot.wal_status}: its consumer is about to lose changes: get it going, at once"
    declared = slot.name in (one.name for one in cluster.postgres.slots)
    then = "a deploy makes it anew, and its consumer begins with a copy" if declared else "its consumer begins anew, with a copy"
    return (
        f"slot {slot.name} is lost: its consumer has lost changes: `select pg_drop_replication_slot('{slot.name}')`, then {then}"
    )


def logical(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """The slots of the settings are there, and whoever takes over has every logical slot."""
    if view.primary is None:
        return
    there = {slot.name: slot for slot in view.primary.slots}
    for wanted in cluster.postgres.slots:
        if wanted.name not in there:
            text = f"logical slot {wanted.name} of the settings is not there: deploy makes it, once wal_level is logical"
            yield finding("slots.missing", "slots", text)
    names = [host.name for host in cluster.postgres_hosts if host.name != view.leader and host.name not in view.left_out]
    for slot in _lasting(view.primary.slots):
        if why := _undeclared(slot):
            yield finding(
                "slots.undeclared", "slots", f"logical slot {slot.name} would be lost by a switchover or failover: {why}"
            )
        else:
            for name in names:
                if not _has(view, name, slot):
                    text = f"logical slot {slot.name} is not on {name} yet, and would be lost if that took over: {COPIED_WHEN}"
                    yield finding("slots.not-synced", name, text)


# PostgreSQL copies a slot when the replica has kept all that its consumer may still ask for.
COPIED_WHEN = "a replica gets it when its consumer has gone on"


def lost_with(view: ClusterView, to: str) -> Iterator[str]:
    """The logical slots that would be lost if `to` became the primary, one sentence each with the remedy."""
    for slot in _lasting(view.primary.slots if view.primary else ()):
        if why := _undeclared(slot):
            yield f"logical slot {slot.name} of database {slot.database} would be lost: {why}"
        elif not _has(view, to, slot):
            yield f"logical slot {slot.name} is not on {to} yet and would be lost: {COPIED_WHEN}"


def _lasting(slots: tuple[Slot, ...]) -> Iterator[Slot]:
    """The logical slots that stay and have something to lose, which one that is lost has not."""
    return (slot for slot in slots if slot.type == "logical" and not slot.temporary and slot.wal_status != "lost")


def _undeclared(slot: Slot) -> str | None:
    if slot.failover:
        return None
    drop = f"select pg_drop_replication_slot('{slot.name}')"
    subscription = "of a subscription: alter subscription … set (failover = true)"
    return f"drop it ({drop}) and put it into postgres_slots, which makes one that stays; or, {subscription}"


def _has(view: ClusterView, name: str, slot: Slot) -> bool:
    """Whether a replica has a slot in a state in which it can take over."""
    postgres = view.hosts[name].postgres
    copies = [one for one in postgres.slots if one.name == slot.name] if postgres else []
    return any(one.synced and not one.temporary and one.wal_status != "lost" for one in copies)
