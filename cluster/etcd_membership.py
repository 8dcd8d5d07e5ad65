"""How a host without etcd data becomes a member: decided from the live member list, never from the inventory alone."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Member:
    """One entry of `etcdctl member list`. `started` is whether it has ever been up: only then it tells its client URLs."""

    id: str  # hexadecimal, as etcdctl takes it
    name: str
    peer_url: str
    started: bool


@dataclass(frozen=True)
class Join:
    """How to start a member that has no data: what to tell etcd, and what to do to the member list before."""

    state: Literal["new", "existing"]
    remove: str | None = None  # id of the member whose data is gone
    add: bool = False


def parse_members(text: str) -> list[Member]:
    """The members in the answer of `etcdctl member list --write-out=json`."""
    return [
        Member(f"{m['ID']:x}", m.get("name", ""), m["peerURLs"][0], bool(m.get("clientURLs")))
        for m in json.loads(text)["members"]
    ]


def join_plan(peer_url: str, members: list[Member] | None) -> Join:
    """How the member at `peer_url`, which has no data, should join; `members` is None when no quorum answers.

    A member that has been up before and has lost its data must not come back under its old identity: it has promised the
    others things it no longer knows. So it is removed and added anew.
    """
    if members is None:
        return Join("new")
    listed = next((m for m in members if m.peer_url == peer_url), None)
    if listed is None:
        return Join("existing", add=True)
    if listed.started:
        return Join("existing", remove=listed.id, add=True)
    return Join("existing")
