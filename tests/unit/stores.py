"""etcd in memory, as far as our programs on hosts use it: revisions, history, transactions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from agents.etcd import CompactedError, Compare, Value

Written = tuple[int, str | None]


class Store:
    """What agents.etcd.Etcd is to its users. `compacted`: the revisions up to there are forgotten."""

    def __init__(self) -> None:
        self.revision = 1
        self.compacted = 0
        self.leases: set[int] = set()
        self._history: dict[str, list[Written]] = {}

    def put(self, **values: Any) -> int:
        """Sets keys, with `_` for `/`; returns the revision. Values that are no text are written as JSON, None deletes."""
        self.revision += 1
        for name, value in values.items():
            text = value if value is None or isinstance(value, str) else json.dumps(value)
            self._history.setdefault(KEYS[name], []).append((self.revision, text))
        return self.revision

    def text(self, name: str) -> str | None:
        found = self._value(KEYS[name], self.revision)
        return found.text if found else None

    def read(self, keys: Sequence[str]) -> tuple[int, dict[str, Value | None]]:
        return self.revision, {key: self._value(key, self.revision) for key in keys}

    def at(self, key: str, revision: int) -> Value | None:
        if revision < self.compacted:
            raise CompactedError("etcd refuses: required revision has been compacted")
        return self._value(key, revision)

    def put_if(self, conditions: Sequence[Compare], values: dict[str, str], delete: Sequence[str] = (), lease: int = 0) -> bool:
        if not all(self._holds(one) for one in conditions):
            return False
        self.revision += 1
        for key, text in {**values, **dict.fromkeys(delete)}.items():
            self._history.setdefault(key, []).append((self.revision, text))
        return True

    def lease(self, seconds: int) -> int:
        self.leases.add(len(self.leases) + 1)
        return len(self.leases)

    def renew(self, lease: int) -> bool:
        return lease in self.leases

    lives = renew

    def wait_for_change(self, key: str, since: int, seconds: float) -> None:
        raise AssertionError("nothing to do: it would wait for a change")

    def _holds(self, one: Compare) -> bool:
        value = self._value(one.key, self.revision)
        there = (value.text, value.created, value.revision) if value else (None, 0, 0)
        asked = (one.text, one.created, one.revision)
        return all(want is None or want == have for want, have in zip(asked, there, strict=True))

    def _value(self, key: str, revision: int) -> Value | None:
        created, last = 0, None
        for at, text in self._history.get(key, []):
            if at <= revision:
                created = 0 if text is None else created or at
                last = Value(text, created, at) if text is not None else None
        return last


OURS = ("confirmed", "promoted", "accepted_loss", "written")
KEYS = {name: f"/service/shop/{name}" for name in ("leader", "sync", "config", "status")} | {
    n: f"/pgquorum/shop/{n}" for n in OURS
}
KEYS |= {f"log_end_{host}": f"/pgquorum/shop/log_end/{host}" for host in ("db1", "db2", "db3")}


def sync(leader: str, *voters: str, quorum: int) -> str:
    """A value of /sync, as Patroni writes it."""
    return json.dumps({"leader": leader, "quorum": quorum, "sync_standby": ",".join(voters)})
