"""Notes in etcd which configuration of synchronous replication is confirmed (cluster/quorum.py). Works on the primary's host.

When Patroni has published another /sync, this reads how far the primary has written, waits until enough replicas have that on
their disks, and notes it: from then on a candidate need not care any more about the configurations before. Without this
program nothing is lost: the promotion gate then asks for a quorum in all of them.

As the one program of ours that always runs on every database host, it also keeps the promotion gate at hand (gate_server.py),
tidies up after it (timelines.py), says for which replicas logical slots wait (standby_slots.py), keeps what is not archived yet
(archive_slot.py), and notes whether this server has read its own log (log_end.py) and who holds PostgreSQL's locks
(lock_table.py).
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from agents import archive_slot, gate_server, lock_table, log_end
from agents.etcd import Etcd, EtcdError
from agents.keys import ClusterKeys, Keys
from agents.session import Session
from agents.specification import Specification
from agents.standby_slots import StandbySlots, take_back
from agents.timelines import Timelines
from cluster.quorum import confirms

ETCD_SECONDS = 2.0
AGAIN_SECONDS = 1.0
# Replicas that keep up are there after some milliseconds; one that lags may take minutes.
SOON_SECONDS, LATE_SECONDS, SOON_LOOKS = 0.01, 0.2, 50
WATCH_SECONDS = 30.0

QUERY = (
    "SELECT json_build_object('position', CASE WHEN pg_is_in_recovery() THEN NULL ELSE pg_current_wal_flush_lsn() - '0/0' END,"
    " 'flushed', (SELECT coalesce(json_object_agg(application_name, flush_lsn - '0/0'), '{}') FROM pg_stat_replication"
    " WHERE flush_lsn IS NOT NULL));"
)


@dataclass(frozen=True)
class Look:
    """The primary's position, None on a replica; and how far each replica has its log on disk, by the primary's word."""

    position: int | None
    flushed: dict[str, int]


class Primary:
    """The PostgreSQL on this host, asked for its look."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def look(self) -> Look:
        """Raises OSError when PostgreSQL does not answer."""
        answer = self._session.ask(QUERY)
        return Look(answer["position"], answer["flushed"])


class Confirmer:
    """Confirms one configuration after the other. `name` is this member's; `standbys`, where there are logical slots, has to be
    told of each; `timelines` are this host's."""

    def __init__(
        self,
        name: str,
        keys: ClusterKeys,
        primary: Primary,
        standbys: StandbySlots | None = None,
        timelines: Timelines | None = None,
    ) -> None:
        self._name, self._keys, self._primary, self._standbys, self._timelines = name, keys, primary, standbys, timelines
        self._barrier = 0, 0  # a revision of /sync, and the primary's position when that was first seen
        self._looks = 0

    def step(self) -> None:
        """Confirms what can be confirmed, and returns when it may be worth another look.

        Raises EtcdError, OSError, and ValueError for what can't be understood.
        """
        now = self._keys.read()
        if self._timelines and not (now.leader and now.leader.text == self._name):
            # Not before that: whoever has the key may still be reading its log, and chooses its timeline at the end of that.
            self._release(self._timelines)
        if self._standbys is not None:  # before the primary's position is read: from there on, who has left is not waited for
            self._standbys.settle(now)
        if not self._due(now):
            self._keys.wait_for_change(now.revision, AGAIN_SECONDS if self._standbys else WATCH_SECONDS)
            return
        look = self._primary.look()
        if look.position is None:
            time.sleep(AGAIN_SECONDS)
        elif not self._confirmed(now, look.position, look.flushed):
            time.sleep(SOON_SECONDS if self._looks < SOON_LOOKS else LATE_SECONDS)

    def _release(self, timelines: Timelines) -> None:
        with suppress(OSError):  # as long as there is no PostgreSQL
            for number in timelines.release():
                print(f"timeline {number} is not reserved any more: the promotion did not come", file=sys.stderr, flush=True)

    def _due(self, now: Keys) -> bool:
        """Whether it is this host's business to confirm the configuration in force."""
        current, leader = now.current, now.leader and now.leader.text
        return bool(current and leader == current.leader == self._name and now.confirmed_revision < current.revision)

    def _confirmed(self, now: Keys, position: int, flushed: dict[str, int]) -> bool:
        current = now.current
        assert current
        if self._barrier[0] != current.revision:
            # Read after /sync was: whatever was acknowledged under an earlier configuration stands before it.
            self._barrier, self._looks = (current.revision, position), 0
        self._looks += 1
        return confirms(current, self._barrier[1], flushed) and self._keys.confirm(now, self._name)


def main(specification: Specification) -> int:
    """Goes on for ever."""
    try:
        gate_server.start(specification)
    except OSError as error:  # then Patroni starts the gate itself
        print(f"the promotion gate is not at hand: {error}", file=sys.stderr, flush=True)
    lock_table.watch(specification)
    log_end.watch(specification)
    if specification.archives:
        archive_slot.watch(specification)
    timelines = Timelines(Path(specification.wal))
    etcd = Etcd(specification.etcd, specification.etcd_tls(), ETCD_SECONDS)
    keys = ClusterKeys(etcd, specification.cluster, tuple(specification.patroni))
    session = Session(specification)
    standbys = StandbySlots(specification.name, session) if specification.logical_slots else None
    confirmer = Confirmer(specification.name, keys, Primary(session), standbys, timelines)
    left = standbys is None  # something of the time when there were logical slots, as far as is known
    told = ""
    while True:
        if left:
            with suppress(OSError):  # as long as there is no PostgreSQL
                take_back(session)
                session.leave()
                left = False
        try:
            confirmer.step()
            told = ""
        except (EtcdError, OSError, ValueError, KeyError, TypeError) as error:
            if str(error) != told:  # once is enough
                told = str(error)
                print(f"the configuration in /sync can't be confirmed: {error}", file=sys.stderr, flush=True)
            time.sleep(AGAIN_SECONDS)
