"""Which deploy a host has had last: a note of its own on each, by which one is seen that was off or left out meanwhile. Pure.

A deploy that has the settings of the latest note leaves that as it is, so nothing is written where nothing is changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import BaseModel

from .components import GROUPS
from .survey import HostSurvey
from .topology import Cluster

# No host has anything of these.
OF_THE_OPERATOR = {"secrets_directory", "downgrade_from"}


@dataclass(frozen=True)
class LastDeploy:
    """When settings were first deployed (seconds, by the operator's clock, and always later than what was deployed before), and a
    digest of them."""

    at: int
    settings: str

    @property
    def text(self) -> str:
        """As it stands on a host."""
        return json.dumps(asdict(self), sort_keys=True) + "\n"


def parse(said: Mapping[str, Any]) -> LastDeploy:
    """The note that says so. Raises KeyError, TypeError or ValueError for what is none."""
    return LastDeploy(int(said["at"]), str(said["settings"]))


def digest(cluster: Cluster, shared: Mapping[str, str]) -> str:
    """Of all that the settings and the inventory say for hosts, with the digests of what the secrets say (shared.py). The version
    of the tool is noted elsewhere."""
    groups = {group: _plain(getattr(cluster, group)) for group in ("all", *GROUPS)}
    hosts = {host.name: (host.address, [group for group in GROUPS if host in cluster.members(group)]) for host in cluster.hosts}
    text = json.dumps([groups, hosts, dict(shared)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _plain(section: BaseModel) -> dict[str, Any]:
    """Without what has its default: a setting that a later version adds makes no other digest."""
    return section.model_dump(exclude_defaults=True, exclude=OF_THE_OPERATOR)


def note_for(settings: str, surveys: Iterable[HostSurvey], now: float) -> LastDeploy:
    """What the hosts of a run should have that is about to deploy these settings, by what surveys of them have seen."""
    last = max(
        (note for one in surveys if one.belongs_to and (note := _read(one.last_deploy))), key=lambda note: note.at, default=None
    )
    if last is None:
        return LastDeploy(int(now), settings)
    return last if last.settings == settings else LastDeploy(max(int(now), last.at + 1), settings)


def _read(text: str) -> LastDeploy | None:
    try:
        return parse(json.loads(text))
    except (KeyError, TypeError, ValueError):
        return None


def missed(notes: Mapping[str, LastDeploy | None]) -> tuple[LastDeploy, tuple[str, ...]] | None:
    """The latest of what hosts note, by name, and those that have not had it; None where nobody has missed it."""
    last = max((note for note in notes.values() if note), key=lambda note: note.at, default=None)
    behind = tuple(name for name, note in sorted(notes.items()) if last and (note is None or note.settings != last.settings))
    return (last, behind) if last and behind else None
