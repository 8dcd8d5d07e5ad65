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

from agents.etcd import Etcd, EtcdError
from agents.keys import ClusterKeys
from agents.session import Session
from agents.specification import Specification

ETCD_SECONDS = 2.0
# Between two looks: while a server reads its log, and afterwards. What etcd has is looked at so often: it may be set up anew.
LOOK_SECONDS, AGAIN_SECONDS, CHECK_SECONDS = 0.1, 1.0, 60.0

# PostgreSQL asks a primary for more, or waits for a source, only when nothing that it has is left to be read (xlogrecovery.c,
# WaitForWALToBecomeAvailable). Where it is led to another primary it may have what it has received sent once more, from where its
# replay is; Patroni says how far that has come (`written_lsn`), which for so long is less than there is on the disk (`again`).
QUERY = (
    "SELECT json_build_object('started', (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint, 'reader', min(pid),"
    " 'at_end', coalesce(bool_or(pg_last_wal_receive_lsn() IS NOT NULL OR wait_event IN ('RecoveryWalStream',"
    " 'RecoveryRetrieveRetryInterval')), false), 'again', coalesce((SELECT greatest(written_lsn, pg_last_wal_replay_lsn())"
    " < pg_last_wal_receive_lsn() FROM pg_stat_wal_receiver WHERE written_lsn IS NOT NULL), false))"
    " FROM pg_stat_activity WHERE backend_type = 'startup';"
)


class LogEnd:
    """The note of the member called `name`."""

    def __init__(self, name: str, keys: ClusterKeys, session: Session) -> None:
        self._name, self._keys, self._session = name, keys, session
        self._reader = 0  # the process that reads the log, and a descriptor that is readable when it has ended
        self._ended: int | None = None
        self._at_end = False
        self._noted: int | None = -1  # what etcd has, as it was read or written at `_checked`
        self._checked = 0.0

    def step(self) -> None:
        """Brings the note up to date, and returns when it may be worth another look. Raises EtcdError and OSError."""
        found = self._session.ask(QUERY)
        if found["reader"] is None:  # it takes writes
            self._forget()
        elif found["reader"] != self._reader:
            self._forget()
            self._ended, self._reader = os.pidfd_open(found["reader"]), found["reader"]
        else:  # it is the one that is watched: the descriptor was there before it was asked
            self._at_end = self._at_end or found["at_end"]
            self._note(found["started"] if self._at_end and not found["again"] else None)
        self.wait(AGAIN_SECONDS if self._at_end or not self._reader else LOOK_SECONDS)

    def wait(self, seconds: float) -> None:
        """Returns after so many seconds, or as soon as the process that reads the log has ended: then nothing is noted any more.
        Raises EtcdError."""
        if self._ended is None:
            time.sleep(seconds)
        elif select.select([self._ended], [], [], seconds)[0]:
            self._forget()

    def _forget(self) -> None:
        self._note(None)
        if self._ended is not None:
            os.close(self._ended)
        self._reader, self._ended, self._at_end = 0, None, False

    def _note(self, started: int | None) -> None:
        if started == self._noted and time.monotonic() < self._checked + CHECK_SECONDS:
            return
        # What is there already is not written again: the gate's last transaction fails where a note has changed.
        self._noted = self._keys.noted_log_end(self._name)
        if started != self._noted:
            self._keys.note_log_end(self._name, started)
            self._noted = started
        self._checked = time.monotonic()


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
            try:
                log_end.wait(AGAIN_SECONDS)
            except (EtcdError, ValueError):  # at once, and again the next time
                time.sleep(AGAIN_SECONDS)
