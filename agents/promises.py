"""The notes in etcd by which a primary that is gone is given up and the others promise not to hear it any more.

Under /pgquorum/<cluster>/guard/ (cluster/fencing.py):
    sightings/NAME  what the guard on that host sees of the leader
    yielded         whose leader key was taken away last, before its lease had ended
    given_up        the same, for as long as such a lease lives at most: until then nobody is let through without promises
    fence           what the last candidate asks of all others
    promises/NAME   what they have promised
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agents.etcd import Compare, Etcd, EtcdError, Value
from cluster.fencing import Fence, Promise, Sighting, Yielded, read, written
from cluster.quorum import Promotion, promotion

# What a host sees is not believed for longer after it was last heard of.
SIGHTING_SECONDS = 4
PATRONI_TTL = 30  # its own default


@dataclass(frozen=True)
class Board:
    """The notes, and Patroni's keys beside them, as they were at etcd's `revision`."""

    revision: int
    leader: Value | None
    sync: Value | None
    config: Value | None
    failover: Value | None
    yielded: Yielded | None
    fence: Fence | None
    promoted: Promotion | None  # who was let through the promotion gate last
    log_ends: Mapping[str, Value | None]  # as in agents/keys.py
    sightings: Mapping[str, Sighting | None]
    promises: Mapping[str, Promise | None]
    revisions: Mapping[str, int]

    @property
    def asked(self) -> Fence | None:
        """What a candidate asks for now: it holds the leader key, and is not let through yet."""
        fence, leader = self.fence, self.leader
        if fence is None or leader is None or (leader.text, leader.created) != (fence.candidate, fence.term):
            return None
        return fence if self.promoted is None or self.promoted.revision < fence.term else None

    def promised(self, term: int) -> dict[str, Promise]:
        """Who has promised in this term."""
        return {name: one for name, one in self.promises.items() if one and one.term == term}


class Notes:
    """Reads and writes the notes of the cluster called `cluster`, whose database hosts are `hosts`."""

    def __init__(self, etcd: Etcd, cluster: str, hosts: Sequence[str]) -> None:
        self._etcd = etcd
        self._patroni, self._prefix = f"/service/{cluster}", f"/pgquorum/{cluster}/guard/"
        self._sightings = {host: f"{self._prefix}sightings/{host}" for host in hosts}
        self._promises = {host: f"{self._prefix}promises/{host}" for host in hosts}
        self._fence, self._yielded = f"{self._prefix}fence", f"{self._prefix}yielded"
        self._given_up = f"{self._prefix}given_up"
        # Those are written by others (agents/keys.py).
        self._promoted = f"/pgquorum/{cluster}/promoted"
        self._log_ends = {host: f"/pgquorum/{cluster}/log_end/{host}" for host in hosts}
        self._lease = 0

    def read(self) -> Board:
        """Raises EtcdError, and ValueError for what can't be understood."""
        patroni = {name: f"{self._patroni}/{name}" for name in ("leader", "sync", "config", "failover")}
        ours = (self._yielded, self._fence, self._promoted)
        of_hosts = (*self._sightings.values(), *self._promises.values(), *self._log_ends.values())
        revision, found = self._etcd.read((*patroni.values(), *ours, *of_hosts))
        text = {key: value.text if value else None for key, value in found.items()}
        return Board(
            revision=revision,
            **{name: found[key] for name, key in patroni.items()},
            yielded=read(Yielded, text[self._yielded]),
            fence=read(Fence, text[self._fence]),
            promoted=promotion(value.text, value.revision) if (value := found[self._promoted]) else None,
            log_ends={host: found[key] for host, key in self._log_ends.items()},
            sightings={host: read(Sighting, text[key]) for host, key in self._sightings.items()},
            promises={host: read(Promise, text[key]) for host, key in self._promises.items()},
            revisions={host: value.revision if (value := found[key]) else 0 for host, key in self._sightings.items()},
        )

    def wait(self, since: int, seconds: float) -> None:
        """Returns when a note was written after the revision `since`, or after `seconds`. Raises EtcdError."""
        self._etcd.wait_for_change(self._prefix, since, seconds, below=True)

    def tell(self, me: str, sighting: Sighting | None) -> None:
        """What this host sees; None when that is no news. It is forgotten when it is not told again for SIGHTING_SECONDS. Raises
        EtcdError."""
        key = self._sightings[me]
        if sighting is None:
            self._lease = 0
            self._etcd.put_if((), {}, delete=[key])
            return
        self._lease = self._lease or self._etcd.lease(SIGHTING_SECONDS)
        try:
            self._etcd.put_if((), {key: written(sighting)}, lease=self._lease)
        except EtcdError:  # the lease may have ended
            self._lease = self._etcd.lease(SIGHTING_SECONDS)
            self._etcd.put_if((), {key: written(sighting)}, lease=self._lease)

    def tell_again(self) -> bool:
        """Keeps what was told from being forgotten; whether it is still there. Raises EtcdError."""
        if self._lease and not self._etcd.renew(self._lease):
            self._lease = 0
        return self._lease != 0

    def take_away(self, board: Board, silent: Sequence[str]) -> bool:
        """Ends the leader's term, if all is as on the board: the leader key and its term, /sync, Patroni's configuration, the
        switchover that may be asked for, and what each of those who are `silent` about the leader has said. Raises EtcdError,
        and ValueError for what can't be understood."""
        assert board.leader and board.sync and board.config
        leader = f"{self._patroni}/leader"
        conditions = [
            Compare(leader, text=board.leader.text, created=board.leader.created),
            Compare(f"{self._patroni}/sync", revision=board.sync.revision),
            Compare(f"{self._patroni}/config", revision=board.config.revision),
            Compare(f"{self._patroni}/failover", revision=board.failover.revision if board.failover else 0),
            *(Compare(self._sightings[name], revision=board.revisions[name]) for name in silent),
        ]
        note = written(Yielded(board.leader.created, board.leader.text, board.leader.lease))
        # Patroni may go on with the lease of one that was given up for as long as it runs. Of what that one has held in this
        # term nothing is left after ttl.
        lease = self._etcd.lease(int(json.loads(board.config.text).get("ttl") or PATRONI_TTL) + SIGHTING_SECONDS)
        if not self._etcd.put_if(conditions, {self._given_up: note}, delete=[leader], lease=lease):
            return False
        self._etcd.put_if((), {self._yielded: note})
        return True

    def ask(self, fence: Fence) -> bool:
        """Asks for promises, if the candidate still holds the leader key. Raises EtcdError."""
        return self._etcd.put_if(self._in(fence), {self._fence: written(fence)})

    def promise(self, me: str, board: Board, fence: Fence, promise: Promise) -> bool:
        """Gives one, if the term that it is asked for goes on, nobody was let through since, and this server has been at the end
        of its log all the while since the board was read. Raises EtcdError."""
        noted, promoted = board.log_ends[me], board.promoted
        conditions = [
            *self._in(fence),
            Compare(self._promoted, revision=promoted.revision if promoted else 0),
            Compare(self._log_ends[me], revision=noted.revision if noted else 0),
        ]
        return self._etcd.put_if(conditions, {self._promises[me]: written(promise)})

    def strict(self, given_up: str | None) -> bool:
        """Whether the lease of a leader that was given up, as the note of that says, has not ended yet. Raises EtcdError."""
        note = read(Yielded, given_up)
        return note is not None and self._etcd.lives(note.lease)

    def _in(self, fence: Fence) -> list[Compare]:
        return [Compare(f"{self._patroni}/leader", text=fence.candidate, created=fence.term)]
