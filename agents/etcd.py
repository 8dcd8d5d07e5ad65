"""etcd through its JSON gateway: linearizable reads, an old value, a transaction, a watch.

Every request goes to one member after the other, until one answers. Keys and values are text.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from agents import https


class EtcdError(Exception):
    """etcd does not answer, or not as it should. The text says what."""


class CompactedError(EtcdError):
    """The revision that was asked for is not kept any more."""


@dataclass(frozen=True)
class Value:
    """A key's value; the revision at which it was `created`, and the one at which it was last written; the number of the `lease`
    that it ends with, 0 for none."""

    text: str
    created: int
    revision: int
    lease: int = 0


@dataclass(frozen=True)
class Compare:
    """A condition of a transaction: of `key`, the value (`text`), the `created` or the written `revision`; 0 for no such key."""

    key: str
    text: str | None = None
    created: int | None = None
    revision: int | None = None

    def as_json(self) -> Iterator[dict[str, Any]]:
        key = _encoded(self.key)
        if self.text is not None:
            yield {"key": key, "target": "VALUE", "result": "EQUAL", "value": _encoded(self.text)}
        if self.created is not None:
            yield {"key": key, "target": "CREATE", "result": "EQUAL", "create_revision": str(self.created)}
        if self.revision is not None:
            yield {"key": key, "target": "MOD", "result": "EQUAL", "mod_revision": str(self.revision)}


class Etcd:
    """`members` as host:port, the nearest first; `seconds` for each request to one of them."""

    def __init__(self, members: Sequence[str], tls: ssl.SSLContext, seconds: float) -> None:
        self._members, self._tls, self._seconds = tuple(members), tls, seconds

    def read(self, keys: Sequence[str]) -> tuple[int, dict[str, Value | None]]:
        """etcd's revision, and all of `keys` as of it, confirmed by a majority. Raises EtcdError."""
        ranges = [{"request_range": {"key": _encoded(key)}} for key in keys]
        answer = self._ask("/v3/kv/txn", {"success": ranges})
        found = [_value(one.get("response_range", {})) for one in answer["responses"]]
        return int(answer["header"]["revision"]), dict(zip(keys, found, strict=True))

    def at(self, key: str, revision: int) -> Value | None:
        """A key as it was at a revision. Raises CompactedError and EtcdError."""
        return _value(self._ask("/v3/kv/range", {"key": _encoded(key), "revision": str(revision)}))

    def put_if(self, conditions: Sequence[Compare], values: dict[str, str], delete: Sequence[str] = (), lease: int = 0) -> bool:
        """Writes all of `values`, which end with a `lease` where there is one, and deletes keys, if all conditions hold: whether
        they did. Raises EtcdError."""
        puts = [{"request_put": {"key": _encoded(k), "value": _encoded(v), "lease": str(lease)}} for k, v in values.items()]
        deletes = [{"request_delete_range": {"key": _encoded(key)}} for key in delete]
        compare = [condition for one in conditions for condition in one.as_json()]
        return bool(self._ask("/v3/kv/txn", {"compare": compare, "success": puts + deletes}).get("succeeded"))

    def lease(self, seconds: int) -> int:
        """A new lease, of at least so many seconds: its number. Raises EtcdError."""
        return int(self._ask("/v3/lease/grant", {"TTL": str(seconds)})["ID"])

    def renew(self, lease: int) -> bool:
        """Whether it lives, from now on as long as at first. Raises EtcdError."""
        return int(self._ask("/v3/lease/keepalive", {"ID": str(lease)}).get("result", {}).get("TTL", 0)) > 0

    def lives(self, lease: int) -> bool:
        """Whether a lease has not ended yet. Raises EtcdError."""
        return int(self._ask("/v3/lease/timetolive", {"ID": str(lease)}).get("TTL", -1)) > 0

    def wait_for_change(self, key: str, since: int, seconds: float, *, below: bool = False) -> None:
        """Returns when the key, or any key that begins with it (`below`), was written after the revision `since`, or after
        `seconds`. Raises EtcdError."""
        what = {"key": _encoded(key)} | ({"range_end": _encoded(key[:-1] + chr(ord(key[-1]) + 1))} if below else {})
        start = {"create_request": {**what, "start_revision": str(since + 1)}}
        try:
            with https.request(self._nearest(), "/v3/watch", start, self._tls, seconds) as answer:
                for line in answer:
                    result = json.loads(line).get("result", {})
                    if result.get("events") or result.get("canceled"):
                        return
        except TimeoutError:
            return
        except (OSError, ValueError, https.StatusError) as error:
            raise EtcdError(f"etcd's watch ended: {error}") from None

    def _nearest(self) -> str:
        """The first member that takes a connection. Raises OSError."""
        for member in self._members:
            with suppress(OSError, ValueError, https.StatusError):
                https.ask(member, "/version", None, self._tls, self._seconds)
                return member
        raise OSError("no member can be reached")

    def _ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer of the first member that has a good one. What one of them did without saying so may be done again."""
        why: Exception = EtcdError("no member is known")
        for member in self._members:
            try:
                answer: dict[str, Any] = https.ask(member, path, body, self._tls, self._seconds)
                return answer
            except (OSError, ValueError, https.StatusError) as error:
                if "compacted" in str(error):
                    raise CompactedError(str(error)) from None
                if "lease not found" in str(error):  # which the others would say, too
                    raise EtcdError(str(error)) from None
                why = error
        raise EtcdError(f"etcd does not answer: {why}")


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _value(answer: dict[str, Any]) -> Value | None:
    for one in answer.get("kvs", []):
        text = base64.b64decode(one.get("value", "")).decode()
        return Value(text, int(one["create_revision"]), int(one["mod_revision"]), int(one.get("lease", 0)))
    return None
