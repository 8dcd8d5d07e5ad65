"""What is kept in etcd of the cluster: Patroni's keys, and what the promotion gate has noted beside them. Pure.

WAL positions are bytes since 0/0.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from cluster.dynamic_config import durability_of, promise_of, without_replica_of
from cluster.quorum import Configuration, Promotion


@dataclass(frozen=True)
class Configurations:
    """The configurations of synchronous replication (cluster/quorum.py). `known`: the one in force first, then those before it,
    back to the one that was last confirmed, the revision of which is `confirmed` (0: none was yet). `complete`: etcd has
    forgotten none of them. `promoted`: who was let through the promotion gate last; `written`: how far the primary had, in bytes,
    before somebody was not.
    """

    known: tuple[Configuration, ...] = ()
    complete: bool = True
    confirmed: int = 0
    promoted: Promotion | None = None
    written: int = 0

    @property
    def current(self) -> Configuration | None:
        """The one in force; None without synchronous replication."""
        return self.known[0] if self.known else None

    @property
    def settled(self) -> bool:
        """Whether the one in force is confirmed, or there is none."""
        return self.current is None or self.current.revision <= self.confirmed


NONE_KNOWN = Configurations()


@dataclass(frozen=True)
class Dcs:
    """What Patroni keeps in etcd, as the most recent etcd member has it."""

    leader: str | None
    initialized: bool
    config: dict[str, Any]
    members: dict[str, dict[str, Any]]
    sync_leader: str | None
    voters: tuple[str, ...]
    quorum: int
    position: int  # the leader's last WAL position as it noted it
    configurations: Configurations = NONE_KNOWN

    @property
    def paused(self) -> bool:
        return bool(self.config.get("pause"))

    @property
    def durability(self) -> str:
        return durability_of(self.config)

    @property
    def without_replica(self) -> str:
        return without_replica_of(self.config)

    @property
    def promise(self) -> str:
        return promise_of(self.config)


def parse_dcs(keys: dict[str, str]) -> Dcs:
    """The keys under /service/<cluster>/, parsed. What is missing or can't be read is empty."""
    sync = _object(keys.get("sync"))
    status = _object(keys.get("status"))
    members = {key.removeprefix("members/"): value for key, value in keys.items() if key.startswith("members/")}
    return Dcs(
        leader=keys.get("leader"),
        initialized="initialize" in keys,
        config=_object(keys.get("config")),
        members={name: _object(value) for name, value in members.items()},
        sync_leader=sync.get("leader"),
        voters=tuple(name for name in (sync.get("sync_standby") or "").split(",") if name),
        quorum=int(sync.get("quorum") or 0),
        position=int(status.get("optime") or 0),
    )


def _object(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text or "")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
