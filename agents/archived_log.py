"""The write-ahead log in an archive of pgBackRest's, as a drill needs it: which timelines there are, and where each of them ends.

Told by pgBackRest itself, so wherever the repository lies. Of a large archive no more is listed than the directories in which a
timeline ends.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from agents.archived import FILE
from agents.recovery import run
from cluster.archive import SEGMENT_BYTES, segment_of
from cluster.timelines import Base, Timeline, timelines


class ArchivedLog:
    """What there is in `place`, a directory of the repository that the command `backrest` reads. Raises RecoveryError where that
    can't be seen, as each of its methods does."""

    def __init__(self, backrest: Sequence[str], place: str) -> None:
        self._backrest, self._place = backrest, place
        self._there = self._listed(place)

    def _listed(self, directory: str) -> dict[str, Any]:
        return dict(json.loads(run([*self._backrest, "--output=json", "repo-ls", directory]) or "{}"))

    def timeline(self, number: int) -> Timeline:
        """The timeline of that number, with those it comes from."""
        name = f"{number:08X}.history"
        if name not in self._there:  # the first, or one that was passed over (agents/timelines.py)
            return Timeline(number)
        text = run([*self._backrest, "repo-get", f"{self._place}/{name}"])
        return timelines({number: (text, float(self._there[name]["time"]))})[number]

    def written(self, backups: Sequence[Base]) -> Timeline:
        """The timeline that the cluster writes: the newest of which there is a history. But where a backup was made since on one
        that is no part of it, the cluster writes that: the history is of a restore that was called off."""
        newest = self.timeline(max((int(name[:8], 16) for name in self._there if name.endswith(".history")), default=1))
        since = [one for one in backups if one.ended > newest.began and not newest.has(one.timeline, one.lsn)]
        return self.timeline(max(since, key=lambda one: one.ended).timeline) if since else newest

    def last(self, along: Timeline) -> str:
        """The name of the last file along a timeline; empty for none."""
        end: int | None = None
        for number, begin in reversed(along.line):
            # A file in which a timeline was left is needed from the one that begins in it.
            directories = sorted((one for one in self._there if re.fullmatch(f"{number:08X}[0-9A-F]{{8}}", one)), reverse=True)
            for directory in directories:
                found = [f"{one[1]}{one[2]}" for one in map(FILE.fullmatch, self._listed(f"{self._place}/{directory}")) if one]
                if whole := [one for one in found if end is None or segment_of(one) < end]:
                    return max(whole)
            end = begin // SEGMENT_BYTES
        return ""
