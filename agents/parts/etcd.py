"""What etcd says on a host: its member, the quorum, and what Patroni and we have noted in it."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from agents.parts.asking import run
from agents.parts.servers import Server

MOST_CONFIGURATIONS = 20


def etcd(spec: dict[str, Any]) -> dict[str, Any]:
    """This member's own word: none of these needs a quorum, but for the last, which tells whether there is one."""
    member = Server(spec)
    status = member.ask("/v3/maintenance/status", {})
    members = member.ask("/v3/cluster/member/list", {"linearizable": False})
    prefix = spec["prefix"].encode()
    found = member.ask("/v3/kv/range", {**everything_under(prefix), "serializable": True})
    known = configurations(member, spec)
    try:
        member.ask("/v3/kv/range", {"key": encoded(prefix)})
        quorum = True
    except OSError:
        quorum = False
    return {
        "configurations": known,
        "status": status,
        **process(spec["reads"]),
        "members": members["members"],
        "quorum": quorum,
        "keys": {decoded(kv["key"])[len(prefix) :]: decoded(kv.get("value", "")) for kv in found.get("kvs", [])},
    }


def configurations(member: Server, spec: dict[str, Any]) -> dict[str, Any]:
    """Of synchronous replication: what is noted about them, and the values of Patroni's /sync, the latest first, back to the one
    that was confirmed (agents/keys.py; here from this member alone). `complete`: none of them is forgotten."""
    ours, sync = spec["ours"].encode(), f"{spec['prefix']}sync"
    noted = member.ask("/v3/kv/range", {**everything_under(ours), "serializable": True})
    notes = {decoded(kv["key"])[len(ours) :]: (decoded(kv["value"]), int(kv["mod_revision"])) for kv in noted.get("kvs", [])}
    confirmed = json.loads(notes["confirmed"][0])["revision"] if "confirmed" in notes else 0
    values: list[Any] = []
    revision = 0
    while not values or (values[-1][1] > confirmed and len(values) < MOST_CONFIGURATIONS):
        asked = {"key": encoded(sync.encode()), "serializable": True, "revision": str(revision)}
        try:
            found = member.ask("/v3/kv/range", asked).get("kvs", [])
        except OSError:  # compacted
            return {"notes": notes, "values": values, "complete": False}
        if not found:
            break
        values.append([decoded(found[0]["value"]), int(found[0]["mod_revision"])])
        revision = values[-1][1] - 1
    return {"notes": notes, "values": values, "complete": len(values) < MOST_CONFIGURATIONS}


def everything_under(prefix: bytes) -> dict[str, str]:
    return {"key": encoded(prefix), "range_end": encoded(prefix[:-1] + bytes([prefix[-1] + 1]))}


def process(reads: list[str]) -> dict[str, Any]:
    """What it was started with, which its API does not tell. `compaction`: how much history it keeps, empty when all of it;
    `outdated`: one of the files that it `reads` when it starts was written since."""
    asked = ("--timestamp=us+utc", "--property=MainPID,ExecMainStartTimestamp", "etcd.service")
    shown = dict(line.split("=", 1) for line in run("systemctl", "show", *asked).splitlines())
    moment = datetime.strptime(shown["ExecMainStartTimestamp"].split(" ", 1)[1], "%Y-%m-%d %H:%M:%S.%f UTC")
    started = moment.replace(tzinfo=timezone.utc)  # noqa: UP017 - Python 3.10
    variables = Path(f"/proc/{shown['MainPID']}/environ").read_text(errors="replace").split("\0")
    return {
        "compaction": dict(v.partition("=")[::2] for v in variables).get("ETCD_AUTO_COMPACTION_RETENTION", ""),
        "outdated": any(file.stat().st_mtime > started.timestamp() for file in map(Path, reads) if file.exists()),
    }


def encoded(text: bytes) -> str:
    return base64.b64encode(text).decode()


def decoded(text: str) -> str:
    return base64.b64decode(text).decode(errors="replace")
