"""Tells PostgreSQL for which replicas the consumers of logical slots wait (cluster/slots.py). Works on every database host.

On the primary's host that follows /sync. Everywhere else consumers are to wait, until it is known whom a new primary waits for.

Where the settings have no such slots any more, what it has said is taken back: consumers of slots that were made by hand would
wait for replicas that nobody brings up to date.

A former primary still has the slots that were its own. PostgreSQL copies none as long as one is there, so they are dropped:
whoever leads now has them.
"""

from __future__ import annotations

import sys
import time

from agents.keys import Keys
from agents.session import Session
from cluster.slots import NOT_YET, STANDBYS_FIRST, consumers_wait_for, slot_name

AGAIN_SECONDS = 10.0

QUERY = (
    "SELECT json_build_object('recovering', pg_is_in_recovery(), 'flushed', (SELECT coalesce(json_object_agg(application_name,"
    " flush_lsn - '0/0'), '{}') FROM pg_stat_replication WHERE flush_lsn IS NOT NULL), 'set', (SELECT setting FROM"
    " pg_file_settings WHERE name = 'synchronized_standby_slots' AND sourcefile LIKE '%/postgresql.auto.conf'));"
)
LEFT = (
    "SELECT json_build_object('set', (SELECT setting FROM pg_file_settings WHERE name = 'synchronized_standby_slots'"
    " AND sourcefile LIKE '%/postgresql.auto.conf' ORDER BY seqno DESC LIMIT 1));"
)
READ_AGAIN = "SELECT to_json(pg_reload_conf());"
DROP_FORMER = (
    "SELECT coalesce(json_agg(slot_name || pg_drop_replication_slot(slot_name)::text), '[]') FROM pg_replication_slots"
    " WHERE slot_type = 'logical' AND failover AND NOT synced AND NOT active AND pg_is_in_recovery()"
    " AND EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming');"
)


def take_back(session: Session) -> None:
    """Resets the parameter where it names the slot that there never is, for which a consumer would wait for ever. Any other value
    may be somebody's own, who has made failover slots by hand. Raises OSError when PostgreSQL does not answer."""
    found = session.ask(LEFT)["set"]
    if found != NOT_YET:
        return
    session.ask(f"ALTER SYSTEM RESET {STANDBYS_FIRST};", READ_AGAIN)
    print(f"{STANDBYS_FIRST} = '{found}' is taken back: the settings have no logical slots", file=sys.stderr, flush=True)


class StandbySlots:
    """Keeps the parameter as it should be. `name` is this member's."""

    def __init__(self, name: str, session: Session) -> None:
        self._name, self._session = name, session
        self._chosen: frozenset[str] = frozenset()
        self._settled: tuple[int, float] = (0, 0.0)  # a revision of /sync, and until when that needs no other look

    def settle(self, now: Keys) -> None:
        """Sets the parameter where it differs. Raises OSError when PostgreSQL does not answer, and ValueError."""
        revision = now.sync.revision if now.sync else 0
        if self._settled[0] == revision and time.monotonic() < self._settled[1]:
            return
        current, leader = now.current, now.leader and now.leader.text
        found = self._session.ask(QUERY)
        leads = bool(current and leader == current.leader == self._name and not found["recovering"])
        if not now.synchronous:  # nothing is promised to survive, and nobody is waited for
            self._chosen, wanted = frozenset(), ""
        elif current and leads and not now.alone:  # else a consumer would acknowledge in a replica's place
            self._chosen = consumers_wait_for(current, found["flushed"], self._chosen)
            wanted = ",".join(sorted(map(slot_name, self._chosen)))
        else:
            self._chosen, wanted = frozenset(), NOT_YET
        if found["set"] != wanted:
            # ALTER SYSTEM, because no file of Patroni's may name this: it writes the same to all hosts.
            self._session.ask(f"ALTER SYSTEM SET {STANDBYS_FIRST} = '{wanted}';", READ_AGAIN)
        if found["recovering"] and leader not in (None, self._name):
            for name in self._session.ask(DROP_FORMER):
                print(f"slot {name} of the time when this server led is dropped", file=sys.stderr, flush=True)
        if leads or leader != self._name:
            self._settled = revision, time.monotonic() + AGAIN_SECONDS
