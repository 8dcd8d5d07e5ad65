"""Who holds how many of PostgreSQL's locks, noted in a file while that can still be asked.

Its lock table has one size for all. Where a session has filled it, PostgreSQL lets nobody in, a superuser neither, and most
sessions that are in can't look. This one can: it keeps a statement that is planned, and calls nothing that needs a lock itself.
"""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from agents.session import Session
from agents.specification import Specification

NOTE = "/run/pgquorum-agents/locks.json"
LOOK_SECONDS = 5.0
# PostgreSQL promises as many locks as this product says, and has some more in reserve. Those count that have a place in that
# table: an object once for all who lock it, and no predicate locks (SIReadLock), which have another.
PREPARE = """
set idle_session_timeout = 0;
prepare locks as
  with held as materialized (
    select pid, concat_ws('/', locktype, database, relation, page, tuple, virtualxid, transactionid, classid, objid,
        objsubid) as object
    from pg_lock_status() where not fastpath and mode <> 'SIReadLock')
  select json_build_object(
    'at', extract(epoch from clock_timestamp()),
    'capacity', current_setting('max_locks_per_transaction')::bigint
        * (current_setting('max_connections')::bigint + current_setting('max_prepared_transactions')::bigint),
    'used', (select count(distinct object) from held),
    'holders', coalesce(json_agg(json_build_object('pid', l.pid, 'locks', l.locks,
        'since', extract(epoch from coalesce(pg_stat_get_backend_xact_start(b.id), pg_stat_get_backend_start(b.id))))
      order by l.locks desc), '[]'))
  from (select pid, count(distinct object) as locks from held group by pid order by locks desc limit 3) l
  left join (select id, pg_stat_get_backend_pid(id) as pid from pg_stat_get_backend_idset() as id) b on b.pid = l.pid;
"""


def watch(specification: Specification) -> None:
    """Notes it from now on."""
    session = Session(specification, PREPARE.replace("\n", " "))
    threading.Thread(target=_go_on, args=(session, Path(NOTE)), daemon=True).start()


def _go_on(session: Session, note: Path) -> None:
    while True:
        with suppress(OSError):  # without PostgreSQL, or without a session, the last one stands
            look(session, note)
        time.sleep(LOOK_SECONDS)


def look(session: Session, note: Path) -> None:
    """Writes the note anew. Raises OSError when PostgreSQL does not answer."""
    said = session.ask("execute locks;")
    for holder in said["holders"]:
        holder["session"] = title(holder["pid"])
    draft = note.with_suffix(".new")
    draft.write_text(json.dumps(said), encoding="utf-8")
    draft.rename(note)


def title(pid: Any) -> str:
    """What PostgreSQL calls a process: its role, database, client and what it does, such as `app shop 10.0.0.9(4711) idle`."""
    with suppress(OSError):
        shown = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0 ").decode(errors="replace")
        return shown.removeprefix("postgres: ").partition(": ")[2] or shown
    return ""
