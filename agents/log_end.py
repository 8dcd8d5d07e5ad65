"""Notes in etcd that the server on this host has come to the end of its own log: from then on the promotion gate takes its word.

A server that was restarted takes connections as soon as its data is consistent, and may have much of its log still to read. Until
then it says less than it has, and Patroni's REST API does not tell that from a server that is at its end: where nothing was
received since the start it gives the position of the replay as the one received (patroni/api.py, get_postgresql_status). Whoever
has more than it seems must not be counted as one that has less.

A server is known by when its postmaster was started. Where that starts its processes anew without ending itself, after one of
them has crashed, the log is read anew, too: so the note is taken back as soon as the process that reads it has ended.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
from typing import Any

from agents.etcd import Etcd, EtcdError
from agents.keys import ClusterKeys
from agents.session import Session
from agents.specification import Specification

ETCD_SECONDS = 2.0
# While a server reads its log, and while there is none; one that has read it is looked at again only when that process ends.
LOOK_SECONDS, AGAIN_SECONDS, WATCH_SECONDS = 0.1, 1.0, 60.0

# PostgreSQL asks a primary for more, or waits for a source, only when nothing that it has is left to be read (xlogrecovery.c,
# WaitForWALToBecomeAvailable).
QUERY = (
    "SELECT json_build_object('started', (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint, 'reader', min(pid),"
    " 'at_end', coalesce(bool_or(pg_last_wal_receive_lsn() IS NOT NULL OR wait_event IN ('RecoveryWalStream',"
    " 'RecoveryRetrieveRetryInterval')), false)) FROM pg_stat_activity WHERE backend_type = 'startup';"
)


class LogEnd:
    """The note of the member called `name`."""

    def __init__(self, name: str, keys: ClusterKeys, session: Session) -> None:
        self._name, self._keys, self._session = name, keys, session
        self._noted: int | None = -1  # what etcd has; none has been started then

    def step(self) -> None:
        """Brings the note up to date, and returns when it may be worth another look. Raises EtcdError and OSError."""
        found = self._look()
        if found["reader"] is None:  # it takes writes
            self._note(None)
            time.sleep(AGAIN_SECONDS)
            return
        reader = os.pidfd_open(found["reader"])
        try:
            if self._look() != found or not found["at_end"]:
                self._note(None)
                ended = select.select([reader], [], [], LOOK_SECONDS)[0]
            else:
                self._note(found["started"])
                ended = select.select([reader], [], [], WATCH_SECONDS)[0]
        finally:
            os.close(reader)
        if ended:
            self._note(None)

    def _look(self) -> dict[str, Any]:
        return dict(self._session.ask(QUERY))

    def _note(self, started: int | None) -> None:
        if started != self._noted:
            self._noted = -1
            self._keys.note_log_end(self._name, started)
            self._noted = started


def watch(specification: Specification) -> None:
    """Notes it from now on."""
    etcd = Etcd(specification.etcd, specification.etcd_tls(), ETCD_SECONDS)
    keys = ClusterKeys(etcd, specification.cluster, tuple(specification.patroni))
    log_end = LogEnd(specification.name, keys, Session(specification))
    threading.Thread(target=_go_on, args=(log_end,), daemon=True).start()


def _go_on(log_end: LogEnd) -> None:
    told = ""
    while True:
        try:
            log_end.step()
            told = ""
        except (EtcdError, OSError, ValueError, KeyError, TypeError) as error:
            if str(error) != told and isinstance(error, EtcdError):  # without PostgreSQL there is nothing to be noted
                told = str(error)
                print(f"that this server has read its log can't be noted: {error}", file=sys.stderr, flush=True)
            time.sleep(AGAIN_SECONDS)
