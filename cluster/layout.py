"""What a deploy can't change under a living cluster: noted on its hosts when they are deployed to, and compared before the next
deploy touches anything. Pure.

The note is one for the whole cluster. Its `revision` tells which is the latest where hosts have missed a deploy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any

from .components import GROUPS
from .topology import Cluster, Host

_PORT = (
    "the hosts know each other by it. What applications use, haproxy_write_port and haproxy_read_port, can be changed at any time"
)
_DIRECTORY = "the data is there. To have it on another disk, mount that one there (docs/runbook.md, Data on another disk)"
# The settings that stay as they were deployed, and the way that leads to what somebody may want instead.
FIXED = {
    "etcd_client_port": _PORT,
    "etcd_peer_port": _PORT,
    "etcd_data_directory": _DIRECTORY,
    "postgres_version": "another major version needs another format of the data, which no deploy makes",
    "postgres_port": _PORT,
    "postgres_data_directory": _DIRECTORY,
    "patroni_port": _PORT,
}


@dataclass(frozen=True)
class Place:
    """Where a host is, and the groups of the inventory that it is in."""

    address: str
    groups: tuple[str, ...]


@dataclass(frozen=True)
class Layout:
    """The settings of FIXED by name, the hosts by name, and digests of what holds for all of them (shared.py)."""

    settings: dict[str, Any]
    hosts: dict[str, Place]
    shared: dict[str, str] = field(default_factory=dict)

    def without(self, host: str) -> Layout:
        """The same without a host."""
        return replace(self, hosts={name: place for name, place in self.hosts.items() if name != host})


@dataclass(frozen=True)
class Note:
    """A layout as it stands on a host."""

    revision: int
    layout: Layout

    @property
    def text(self) -> str:
        return json.dumps({"revision": self.revision, **asdict(self.layout)}, sort_keys=True) + "\n"


def layout_of(cluster: Cluster, shared: Mapping[str, str] = MappingProxyType({})) -> Layout:
    """What the settings and the inventory say, with digests of what they and the secrets say for all hosts."""

    def groups(host: Host) -> tuple[str, ...]:
        return tuple(group for group in GROUPS if host in cluster.members(group))

    return Layout(
        settings={name: cluster.setting(name) for name in FIXED},
        hosts={host.name: Place(host.address, groups(host)) for host in cluster.hosts},
        shared=dict(shared),
    )


def parse_note(text: str) -> Note:
    """The note with this text. Raises ValueError for what is none."""
    try:
        said = json.loads(text)
        hosts = {name: Place(place["address"], tuple(place["groups"])) for name, place in said["hosts"].items()}
        return Note(int(said["revision"]), Layout(dict(said["settings"]), hosts, dict(said.get("shared", {}))))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no note of a layout: {error}") from None


def read_note(text: str) -> Note | None:
    """The same, or None: where a host's note is damaged, another host's is as good."""
    try:
        return parse_note(text)
    except ValueError:
        return None


def latest(notes: Iterable[Note]) -> Note | None:
    """The one that was written last; None where there is none."""
    return max(notes, key=lambda note: note.revision, default=None)


def note_for(layout: Layout, last: Note | None) -> Note:
    """What hosts should have that are deployed to with this layout, `last` being the latest that any of them has."""
    if last is not None and last.layout == layout:
        return last
    return Note(last.revision + 1 if last else 1, layout)


def changes(noted: Layout, wanted: Layout) -> Iterator[str]:
    """What a deploy can't make of `noted`, a sentence each with the way that works; nothing when it can."""
    for name, why in FIXED.items():
        if name in noted.settings and noted.settings[name] != wanted.settings[name]:
            was, now = noted.settings[name], wanted.settings[name]
            yield f"{name} = {now!r}: the cluster lives with {was!r}, and can't be changed: {why}"
    for name, place in noted.hosts.items():
        yield from _departures(name, place, wanted.hosts.get(name))


def _departures(name: str, noted: Place, wanted: Place | None) -> Iterator[str]:
    take_out = f"to take it out for good, put it back, and run `invoke host.remove {name}` before it leaves the inventory"
    if wanted is None:
        yield f"host {name} ({', '.join(noted.groups)}) is not in the inventory any more, and is part of the cluster: {take_out}"
        return
    left = [group for group in noted.groups if group not in wanted.groups]
    if left:
        yield f"host {name} is not in group {' and '.join(left)} any more, and is part of the cluster there: {take_out}"
    if noted.address != wanted.address:
        yield (
            f"host {name}: address = {wanted.address!r}: the cluster knows it by {noted.address!r}. Give it back, run"
            f" `invoke host.remove {name}`, and deploy with the new one: the host joins anew"
        )
