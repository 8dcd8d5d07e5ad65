"""Moves on the slot that keeps write-ahead log until it is archived (cluster/slots.py, ARCHIVE). Works on the primary's host.

PostgreSQL itself keeps on the primary what is not archived yet, but a replica recycles it: when the primary is lost, it could not
be archived any more (unarchived.py). So every server has a slot that stands where archiving has come to. Patroni makes it on all
of them, and moves that of a replica after the primary's. It keeps no more than `max_slot_wal_keep_size`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from agents.session import Session
from agents.unarchived import SEGMENT
from cluster.slots import ARCHIVE

AGAIN_SECONDS = 10.0

POSITIONS = (
    "SELECT json_build_object('written', CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_wal_flush_lsn() - '0/0' END,"
    " 'segment_size', (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size'), 'slot',"
    " (SELECT restart_lsn - '0/0' FROM pg_replication_slots WHERE slot_name = 'pgquorum_archive' AND NOT active));"
)
WAITING = "SELECT coalesce(json_agg(replace(name, '.ready', '')), '[]') FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready';"


def archived_to(written: int, waiting: Iterable[str], segment_size: int) -> int:
    """Up to where (bytes) all is archived, where the log is `written` so far and files of it are `waiting`, by name. Of the file
    that is being written nothing is."""
    starts = [written - written % segment_size]
    for name in waiting:
        if found := SEGMENT.fullmatch(name):
            _, high, low = (int(part, 16) for part in found.groups())
            starts.append((high << 32) + low * segment_size)
    return min(starts)


class ArchiveSlot:
    """Moved on every AGAIN_SECONDS."""

    def __init__(self, session: Session) -> None:
        self._session, self._due = session, 0.0

    def settle(self) -> None:
        """Raises OSError when PostgreSQL does not answer."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + AGAIN_SECONDS
        now = self._session.ask(POSITIONS)
        if now["written"] is None or now["slot"] is None:
            return
        # Asked for after the position: what was ended before that waits by then.
        place = archived_to(now["written"], self._session.ask(WAITING), now["segment_size"])
        if place > now["slot"]:
            self._session.ask(f"SELECT to_json(pg_replication_slot_advance('{ARCHIVE}', '0/0'::pg_lsn + {place})::text);")
