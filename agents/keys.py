"""What etcd says of the cluster's configurations of synchronous replication: Patroni's keys and ours, read as of one moment.

Ours, under /pgquorum/<cluster>/:
    confirmed      the revision of /sync that was last confirmed (cluster/quorum.py), noted on the primary's host
    promoted       the name of who was let through the promotion gate last, and the timeline that it was to begin
    accepted_loss  a candidate that the owner lets through whatever it lacks; for which revision of /sync that holds, and who had
                   answered by then
    written        how far a primary had written, in bytes, as Patroni noted it last before somebody was refused: the one who was
                   writes its own over that
    guard/given_up whose leader key was taken away before its lease had ended; for as long as such a lease lives (promises.py)
    log_end/NAME   when the server of that member was started, in microseconds since 1970, once it has read all of its own log
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from agents.etcd import CompactedError, Compare, Etcd, Value
from cluster.quorum import Configuration, Promotion, parse, promotion, unknown

# Further back nobody looks: whoever changed its configuration so often without one being confirmed is not well.
MOST_CONFIGURATIONS = 100


@dataclass(frozen=True)
class Keys:
    """The keys as they were at etcd's `revision`."""

    revision: int
    leader: Value | None
    sync: Value | None
    config: Value | None
    confirmed: Value | None
    promoted: Value | None
    accepted_loss: Value | None
    log_ends: Mapping[str, Value | None]
    given_up: Value | None = None

    @property
    def current(self) -> Configuration | None:
        """The configuration in force. Raises ValueError for one that can't be understood."""
        return parse(self.sync.text, self.sync.revision) if self.sync else None

    @property
    def synchronous(self) -> bool:
        """Whether acknowledged writes are promised to survive: Patroni's synchronous_mode. Raises ValueError."""
        return bool(self.config and json.loads(self.config.text).get("synchronous_mode") not in (None, False, "off"))

    @property
    def alone(self) -> bool:
        """Whether a write waits for a replica and none has a say: Patroni's synchronous_mode_strict. Raises ValueError."""
        strict = bool(self.config and json.loads(self.config.text).get("synchronous_mode_strict"))
        return strict and bool(self.current and not self.current.voters)

    @property
    def confirmed_revision(self) -> int:
        """The revision of /sync that was last confirmed; 0 for none yet. Raises ValueError."""
        return int(json.loads(self.confirmed.text)["revision"]) if self.confirmed else 0

    @property
    def last_promotion(self) -> Promotion | None:
        """Who was let through last. Raises ValueError."""
        return promotion(self.promoted.text, self.promoted.revision) if self.promoted else None

    def loss_accepted_for(self, name: str, ahead: Collection[str]) -> bool:
        """Whether the owner lets `name` through, as things stand in /sync now, although these are `ahead`: not where one of them
        has come back since."""
        if self.accepted_loss is None or self.sync is None:
            return False
        said = json.loads(self.accepted_loss.text)
        known = set(said.get("answered", ()))
        return bool(said.get("name") == name and said.get("revision") == self.sync.revision and known >= set(ahead))

    def at_log_end(self, name: str, started: int | None) -> bool:
        """Whether the member's server, which was started then, has read all of its own log."""
        noted = self.log_ends.get(name)
        return noted is not None and noted.text == str(started)


class ClusterKeys:
    """Reads and writes the keys of the cluster called `cluster`, whose database hosts are `hosts`."""

    def __init__(self, etcd: Etcd, cluster: str, hosts: tuple[str, ...]) -> None:
        self._etcd, self._hosts = etcd, hosts
        patroni, ours = f"/service/{cluster}", f"/pgquorum/{cluster}"
        self._names = {
            **{name: f"{patroni}/{name}" for name in ("leader", "sync", "config")},
            **{name: f"{ours}/{name}" for name in ("confirmed", "promoted", "accepted_loss")},
            "given_up": f"{ours}/guard/given_up",
        }
        self._status, self._written = f"{patroni}/status", f"{ours}/written"
        self._log_ends = {host: f"{ours}/log_end/{host}" for host in hosts}

    def read(self) -> Keys:
        """Raises EtcdError."""
        revision, found = self._etcd.read((*self._names.values(), *self._log_ends.values()))
        log_ends = {host: found[key] for host, key in self._log_ends.items()}
        return Keys(revision, **{name: found[key] for name, key in self._names.items()}, log_ends=log_ends)

    def configurations(self, keys: Keys) -> tuple[Configuration, ...]:
        """The one in force and those before it, back to the one that was last confirmed; the latest first.

        Where etcd does not keep them any more, the last stands for whatever they were. Raises EtcdError and ValueError.
        """
        current = keys.current
        if current is None:
            return ()
        found = [current]
        while found[-1].revision > keys.confirmed_revision:
            try:
                before = self._etcd.at(self._names["sync"], found[-1].revision - 1)
            except CompactedError:
                return (*found, unknown(current.leader, self._hosts))
            earlier = parse(before.text, before.revision) if before else None
            if earlier is None:  # synchronous replication began here: before that, nothing was promised
                break
            found.append(earlier)
            if len(found) > MOST_CONFIGURATIONS:
                return (*found, unknown(current.leader, self._hosts))
        return tuple(found)

    def confirm(self, keys: Keys, name: str) -> bool:
        """Notes that /sync, as it was in `keys`, is confirmed, if `name` still leads. Raises EtcdError."""
        assert keys.sync
        conditions = [
            Compare(self._names["leader"], text=name),
            Compare(self._names["confirmed"], revision=keys.confirmed.revision if keys.confirmed else 0),
        ]
        noted = json.dumps({"revision": keys.sync.revision, "by": name})
        return self._etcd.put_if(conditions, {self._names["confirmed"]: noted})

    def noted_log_end(self, name: str) -> int | None:
        """What `note_log_end` has noted of a member. Raises EtcdError and ValueError."""
        key = self._log_ends[name]
        value = self._etcd.read([key])[1][key]
        return int(value.text) if value else None

    def note_log_end(self, name: str, started: int | None) -> None:
        """Notes when the server of a member was started that is at the end of its log; None: it is not. Raises EtcdError."""
        key = self._log_ends[name]
        self._etcd.put_if((), {key: str(started)} if started is not None else {}, delete=[key] if started is None else [])

    def claim(self, keys: Keys, name: str, timeline: int) -> bool:
        """Notes that `name` is let through and begins `timeline`, if it still holds the leader key, and /sync and who is at the
        end of its log are as in `keys`.

        /sync is written anew as it stands: whatever an old primary, which may live on, was about to write there fails.
        Raises EtcdError.
        """
        assert keys.leader and keys.sync
        conditions = [
            Compare(self._names["leader"], text=name, created=keys.leader.created),
            Compare(self._names["sync"], revision=keys.sync.revision),
            *(Compare(self._log_ends[host], revision=noted.revision) for host, noted in keys.log_ends.items() if noted),
        ]
        values = {self._names["sync"]: keys.sync.text, self._names["promoted"]: json.dumps({"name": name, "timeline": timeline})}
        return self._etcd.put_if(conditions, values, delete=[self._names["accepted_loss"], self._written])

    def note_written(self, keys: Keys) -> None:
        """Notes how far the primary had written when the leader key was taken, if that is further than what is noted. Raises
        EtcdError, and ValueError for what can't be understood."""
        assert keys.leader
        before = self._etcd.at(self._status, keys.leader.created - 1)
        position = int(json.loads(before.text).get("optime") or 0) if before else 0
        noted = self._etcd.read([self._written])[1][self._written]
        if position > (int(noted.text) if noted else 0):
            self._etcd.put_if((), {self._written: str(position)})

    def wait_for_change(self, since: int, seconds: float) -> None:
        """Returns when /sync was written after the revision `since`, or after `seconds`. Raises EtcdError."""
        self._etcd.wait_for_change(self._names["sync"], since, seconds)
