"""Keeps write-ahead log on every database host until it is archived, and has each archive what the primary lacks.

PostgreSQL itself keeps on the primary what is not archived yet, but a replica recycles it: when the primary is lost, it could not
be archived any more (unarchived.py). So each server has a slot (cluster/slots.py, ARCHIVE) that stands where archiving has come
to. Patroni leaves it alone: it would move that of a replica after the primary's, and a primary that was made anew while the
repository was away has the log from its own copy on. What is before that may be on another replica alone; there it must stay.

Where archiving has come to is noted in etcd (archive_note.py), by whoever leads. One that lacks something says so, and every
replica that has it archives it. The slot keeps no more than `max_slot_wal_keep_size`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from agents.archive_note import ArchiveNotes, Progress, handed_in, led, of_leader, on_line
from agents.etcd import Etcd, EtcdError
from agents.session import Session
from agents.specification import Specification
from agents.unarchived import SEGMENT, log_in, mark_histories, mark_unmarked
from cluster.slots import ARCHIVE

AGAIN_SECONDS = 10.0
ETCD_SECONDS = 2.0
# Of one file; the program itself gives up before.
PUSH_SECONDS = 300

STATE = (
    "SELECT json_build_object('recovering', pg_is_in_recovery(),"
    " 'position', CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END - '0/0',"
    " 'archives', current_setting('archive_command') LIKE '%/pgbackrest-push %',"
    " 'segment_size', (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_segment_size'),"
    " 'slot', (SELECT restart_lsn - '0/0' FROM pg_replication_slots WHERE slot_name = 'pgquorum_archive' AND NOT active"
    " AND wal_status <> 'lost'));"
)
WAITING = "SELECT coalesce(json_agg(replace(name, '.ready', '')), '[]') FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready';"
# One that has lost what it kept keeps nothing any more.
DROP_LOST = (
    "SELECT coalesce(json_agg(pg_drop_replication_slot(slot_name)::text), '[]') FROM pg_replication_slots"
    " WHERE slot_name = 'pgquorum_archive' AND NOT active AND wal_status = 'lost';"
)
CREATE = (
    "SELECT coalesce(json_agg((pg_create_physical_replication_slot('pgquorum_archive', true)).slot_name), '[]')"
    " WHERE NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = 'pgquorum_archive');"
)


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
    """The slot of one server. `push` archives a file, and says whether that is archived then. `config`: where it stands which
    repositories there are."""

    def __init__(self, session: Session, notes: ArchiveNotes, pg_wal: Path, push: Callable[[Path], bool], config: Path) -> None:
        self._session, self._notes, self._wal, self._push, self._config = session, notes, pg_wal, push, config

    def settle(self) -> None:
        """Raises OSError when PostgreSQL does not answer, EtcdError when etcd does not, ValueError for a note that is none."""
        self._session.ask(DROP_LOST)
        self._session.ask(CREATE)
        now = self._session.ask(STATE)
        if now["position"] is None:
            return
        noted = self._replica(now) if now["recovering"] else self._primary(now)
        place = min(noted.to, now["position"]) if noted else 0
        if now["slot"] is not None and now["slot"] < place:
            self._session.ask(f"SELECT to_json(pg_replication_slot_advance('{ARCHIVE}', '0/0'::pg_lsn + {place})::text);")

    def _primary(self, now: dict[str, Any]) -> Progress | None:
        """Notes how far archiving has come, and what this server lacks."""
        log = log_in(self._wal)
        mark_unmarked(self._wal, log, now["position"])
        if now["archives"] and self._config.is_file():  # else it is archived to nowhere, and then counts as archived
            mark_histories(self._wal, log, self._config.stat().st_mtime)
        # Asked for after the position: what was ended before that waits by then.
        place = archived_to(now["position"], self._session.ask(WAITING), now["segment_size"])
        noted, revision = self._notes.read()
        before = of_leader(noted, log.timeline, log.left, log.size, place) if noted else Progress(place, log.timeline)
        new = led(before, log.begins(now["position"]), place, time.time())
        # Not where somebody else leads by now, or has handed something in.
        return new if self._notes.lead(new, noted, revision) else None

    def _replica(self, now: dict[str, Any]) -> Progress | None:
        """Archives what whoever leads lacks, where it is here."""
        noted, revision = self._notes.read()
        if noted is None:
            return None
        log = log_in(self._wal)
        here = on_line(noted, log.timeline, log.left, log.size)
        if here.lacks is None or here != noted:  # the leader has not noted yet what is so since it leads
            return here
        place = here.to
        for name, begin in log.whole():
            if begin == place and begin + log.size <= min(noted.lacks or 0, now["position"]) and self._push(self._wal / name):
                place = begin + log.size
        if place == here.to:
            return here
        print(f"what {noted.by} lacks is archived from here, up to {place:X}", file=sys.stderr, flush=True)
        new = handed_in(noted, place)
        return new if self._notes.put(new, revision) else None


def push_by(command: str) -> Callable[[Path], bool]:
    """Archives a file by archive_command's program, whether it waits for that or not."""
    environment = {**os.environ, "PGQUORUM_HANDS_IN": "yes"}

    def push(file: Path) -> bool:
        try:
            return subprocess.run([command, str(file)], timeout=PUSH_SECONDS, check=False, env=environment).returncode == 0
        except (OSError, subprocess.TimeoutExpired) as error:
            print(f"{file.name} can't be archived: {error}", file=sys.stderr, flush=True)
            return False

    return push


def watch(specification: Specification) -> None:
    """Sees to the slot from now on."""
    etcd = Etcd(specification.etcd, specification.etcd_tls(), ETCD_SECONDS)
    notes = ArchiveNotes(etcd, specification.cluster, specification.name)
    push = push_by(specification.archive_command)
    slot = ArchiveSlot(Session(specification), notes, Path(specification.wal), push, Path(specification.archive_config))
    threading.Thread(target=_go_on, args=(slot,), daemon=True).start()


def _go_on(slot: ArchiveSlot) -> None:
    told = ""
    while True:
        with suppress(OSError):  # as long as there is no PostgreSQL
            try:
                slot.settle()
                told = ""
            except (EtcdError, ValueError, KeyError, TypeError) as error:
                if str(error) != told:  # once is enough
                    told = str(error)
                    print(f"how far archiving has come can't be noted: {error}", file=sys.stderr, flush=True)
        time.sleep(AGAIN_SECONDS)
