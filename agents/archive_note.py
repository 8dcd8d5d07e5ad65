"""How far the archive goes without a gap, noted in etcd under /pgquorum/<cluster>/archived.

Positions are bytes since 0/0, times seconds since 1970.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from agents.etcd import Compare, Etcd

# A gap that nobody has filled for so long, though archiving works, is one for good: everybody would keep all log since for it.
GIVE_UP_SECONDS = 3600.0


@dataclass(frozen=True)
class Progress:
    """All before `to` is archived, along `timeline`. `by`: who has noted it as the leader. From `to` to `lacks` it has nothing
    itself, and nothing is known to be archived (None: there is no such gap); from there to `beyond` it has archived all. `since`:
    when the gap was seen first."""

    to: int
    timeline: int
    by: str = ""
    lacks: int | None = None
    beyond: int = 0
    since: float = 0.0


def on_line(noted: Progress, timeline: int, left: Mapping[int, int], size: int) -> Progress:
    """The same for a server on `timeline`, which `left` earlier ones at these positions, with segments of `size` bytes: who led
    before may have archived what has another end on this one."""
    fork = left.get(noted.timeline)
    if noted.timeline == timeline or fork is None:
        return noted
    most = fork - fork % size
    to, lacks = min(noted.to, most), None if noted.lacks is None else min(noted.lacks, most)
    lacks = lacks if lacks is not None and lacks > to else None
    return replace(noted, to=to, timeline=timeline, lacks=lacks, beyond=min(noted.beyond, most))


def of_leader(noted: Progress, timeline: int, left: Mapping[int, int], size: int, place: int) -> Progress:
    """The same for the server that leads, which has archived up to `place`. What was noted on a timeline that it does not come
    from is of one who was lost before anybody followed: where that has archived a file, this one's may have another end."""
    if noted.timeline != timeline and noted.timeline not in left:
        return Progress(min(noted.to, place), timeline)
    return on_line(noted, timeline, left, size)


def led(noted: Progress, begins: int, place: int, now: float) -> Progress:
    """What the leader notes, whose log begins at `begins` and is archived, as far as it is there, up to `place`."""
    if begins <= noted.to:  # it has all that may be missing, and archives it
        return Progress(max(noted.to, place), noted.timeline)
    lacks, beyond, since = noted.lacks, max(noted.beyond, place), noted.since
    if lacks is None:
        lacks, beyond, since = begins, place, now
    elif noted.to >= lacks:  # others have archived it
        return led(Progress(max(noted.to, noted.beyond), noted.timeline), begins, place, now)
    elif begins > noted.beyond:  # another leader, which lacks more
        lacks, beyond = begins, place
    if place > lacks and now - since > GIVE_UP_SECONDS:
        return Progress(max(noted.to, beyond), noted.timeline)
    return Progress(noted.to, noted.timeline, "", lacks, beyond, since)


def handed_in(noted: Progress, place: int) -> Progress:
    """The same when a replica has archived what was lacking up to `place`."""
    return replace(noted, to=place)


class ArchiveNotes:
    """The note of the cluster, as the member `name` sees to it."""

    def __init__(self, etcd: Etcd, cluster: str, name: str) -> None:
        self._etcd, self._name = etcd, name
        self._key, self._leader = f"/pgquorum/{cluster}/archived", f"/service/{cluster}/leader"

    def read(self) -> tuple[Progress | None, int]:
        """What is noted, and the revision of that; None and 0 for nothing. Raises EtcdError and ValueError."""
        _, found = self._etcd.read((self._key,))
        value = found[self._key]
        return (Progress(**json.loads(value.text)), value.revision) if value else (None, 0)

    def lead(self, new: Progress, noted: Progress | None, revision: int) -> bool:
        """Notes it in place of what is `noted`, where this member leads and nobody has noted anything else since `revision`. True
        as well where it says the same. Raises EtcdError."""
        mine = replace(new, by=self._name)
        return mine == noted or self._put(mine, [Compare(self._leader, text=self._name)], revision)

    def put(self, new: Progress, revision: int) -> bool:
        """Notes it where nobody else has noted anything since. Raises EtcdError."""
        return self._put(new, [], revision)

    def _put(self, new: Progress, conditions: list[Compare], revision: int) -> bool:
        unchanged = Compare(self._key, revision=revision)
        return self._etcd.put_if([*conditions, unchanged], {self._key: json.dumps(asdict(new))})
