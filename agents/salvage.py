"""Keeps the write-ahead log that a rewind is about to throw away: it may hold writes that nobody else has.

Runs in front of pg_rewind (templates/patroni/pg_rewind.sh.j2), with its arguments; the rewind follows whatever comes of this.
The segments from the point of divergence on are copied, into a directory of their own with a note about them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from agents.specification import Specification
from agents.wal import LSN, beginning, lsn, of_timeline, position, waldump
from cluster.timelines import left

NOTE = "salvage.json"
# In all, the oldest is removed first; and so much of the file system stays free.
MOST_BYTES = 1024**3
FREE_SHARE = 0.05
ANSWER_SECONDS = 10
# The history of the timeline that the new primary writes.
HISTORY = (
    "SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8) || E'\\n' || encode(pg_read_binary_file('pg_wal/'"
    " || left(pg_walfile_name(pg_current_wal_lsn()), 8) || '.history'), 'escape')"
)

# The timelines that a server's log has gone through, oldest first, each with where it was left (bytes since 0/0); None: not yet.
History = Sequence[tuple[int, "int | None"]]


class NothingKeptError(Exception):
    """Why there is no salvage, in words."""


@dataclass(frozen=True)
class Stretch:
    """Part of a log: on one timeline, from one position to another (bytes since 0/0); None: to its end."""

    timeline: int
    begin: int
    end: int | None


@dataclass(frozen=True)
class Note:
    """What is known of a salvage. `commits`: how many transactions ended well in it; positions as PostgreSQL writes them."""

    host: str
    at: str
    timeline: int
    fork: str
    end: str
    commits: int
    size: int


def history(text: str, timeline: int) -> History:
    """The history of `timeline`, from the text of its history file."""
    rows = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [*left([(int(row[0]), position(row[1])) for row in rows]), (timeline, None)]


def diverged(mine: History, theirs: History) -> list[Stretch]:
    """The parts of this server's log that are not in the other's; none where it has gone no way of its own."""
    begin, index = 0, 0
    for (timeline, end), (other, other_end) in zip(mine, theirs):  # noqa: B905 - the shorter one ends it
        if timeline != other:
            break
        if end != other_end:
            if end is None or (other_end is not None and other_end < end):
                begin = other_end or 0
            else:
                begin, index = end, index + 1
            break
        begin, index = end or 0, index + 1
    stretches = []
    for timeline, end in mine[index:]:
        stretches.append(Stretch(timeline, begin, end))
        begin = end or 0
    return stretches


def needed(names: Sequence[str], stretches: Sequence[Stretch], end: int, segment: int) -> list[str]:
    """Those files of pg_wal that have the stretches, up to `end`. A segment has `segment` bytes; later ones are only reserved."""
    found = [of_timeline(names, one.timeline, one.begin, end if one.end is None else one.end, segment) for one in stretches]
    return sorted(name for names in found for name in names)


class Server:
    """The data directory, which no PostgreSQL runs in now, and PostgreSQL's programs."""

    def __init__(self, data: Path, binaries: Path) -> None:
        self.wal, self._data, self._binaries = data / "pg_wal", data, binaries
        self._control = dict(line.split(":", 1) for line in self._said("pg_controldata", str(data)).splitlines() if ":" in line)

    @property
    def segment(self) -> int:
        return int(self._control["Bytes per WAL segment"])

    def history(self) -> History:
        """Where this server's log comes from."""
        names = ("Latest checkpoint's TimeLineID", "Min recovery ending loc's timeline")
        timeline = max(int(self._control[name]) for name in names)
        file = self.wal / f"{timeline:08X}.history"
        return history(file.read_text() if file.exists() else "", timeline)

    def history_of(self, source: str) -> History:
        """Where the log of the server with that connection string comes from."""
        said = self._said("psql", "-XAtq", "-d", source, "-c", HISTORY)
        timeline, _, text = said.partition("\n")
        return history(text, int(timeline, 16))

    def commits(self, stretch: Stretch) -> tuple[int, int]:
        """How many transactions a stretch of the log has committed or prepared, and where it ends. Raises NothingKeptError where
        none of it can be read."""
        files = of_timeline(
            [file.name for file in self.wal.iterdir()], stretch.timeline, stretch.begin, stretch.end, self.segment
        )
        if not files:
            return 0, stretch.begin if stretch.end is None else stretch.end
        command = waldump(self._binaries, self.wal, files, stretch.begin, stretch.end, self.segment)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as dump:
            assert dump.stdout and dump.stderr
            count = sum(1 for line in dump.stdout if "desc: COMMIT" in line or "desc: PREPARE" in line)
            problem = dump.stderr.read()
        if stretch.end is not None:
            return count, stretch.end
        if not dump.returncode:
            return count, beginning(files[-1], self.segment) + self.segment
        # It goes on until what it reads is no log any more, and says where that was.
        ends = [position(found[0]) for found in LSN.finditer(problem)]
        if not ends:
            raise NothingKeptError(f"pg_waldump says: {' '.join(problem.split())[:300]}")
        return count, max([stretch.begin, *ends])

    def _said(self, program: str, *arguments: str) -> str:
        command = [str(self._binaries / program), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False)
        if done.returncode:
            raise NothingKeptError(f"{program} says: {' '.join(done.stderr.split())[:300]}")
        return done.stdout


def keep(server: Server, source: str, directory: Path, name: str) -> str:
    """Copies what `server` alone has into `directory`, and says so in words. Raises NothingKeptError and OSError."""
    stretches = diverged(server.history(), server.history_of(source))
    if not stretches:
        raise NothingKeptError("it has gone no way of its own")
    read = [server.commits(stretch) for stretch in stretches]
    commits, end = sum(count for count, _ in read), read[-1][1]
    if not commits:
        raise NothingKeptError(f"no transaction was committed after {lsn(stretches[0].begin)}, where it went its own way")
    segments = needed([file.name for file in server.wal.iterdir()], stretches, end, server.segment)
    make_room(directory, len(segments) * server.segment)
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    note = Note(name, at, stretches[-1].timeline, lsn(stretches[0].begin), lsn(end), commits, len(segments) * server.segment)
    place = directory / f"{at.replace(':', '')}-timeline-{note.timeline}"
    copy(server.wal, segments, place, note)
    return f"{commits} transactions from {note.fork} to {note.end} on timeline {note.timeline} are kept in {place}"


def make_room(directory: Path, size: int) -> None:
    """Removes what was left half done, and as many of the oldest salvages as `size` more bytes need. Raises NothingKeptError."""
    for half in directory.glob(".*"):
        shutil.rmtree(half)
    if size > MOST_BYTES:
        raise NothingKeptError(f"{size} bytes are more than the {MOST_BYTES} that are kept at most")
    kept = sorted(kept_in(directory))
    while kept and sum(note.size for _, note in kept) + size > MOST_BYTES:
        shutil.rmtree(kept.pop(0)[0])
    disk = shutil.disk_usage(directory)
    if disk.free - size < disk.total * FREE_SHARE:
        raise NothingKeptError(f"{directory} has no room for {size} bytes: {disk.free} are free")


def kept_in(directory: Path) -> Iterator[tuple[Path, Note]]:
    """Each salvage there, and its note."""
    for file in directory.glob(f"*/{NOTE}"):
        yield file.parent, Note(**json.loads(file.read_text()))


def copy(wal: Path, segments: Sequence[str], place: Path, note: Note) -> None:
    """Makes `place`, all of it or nothing."""
    half = place.with_name(f".{place.name}")
    half.mkdir(mode=0o700)
    for segment in segments:
        # No link: pg_rewind writes into the very files that it finds.
        shutil.copyfile(wal / segment, half / segment)
    (half / NOTE).write_text(json.dumps(asdict(note), indent=2) + "\n")
    for file in half.iterdir():
        with file.open("rb") as written:
            os.fsync(written)
    half.rename(place)


def main(specification: Specification, arguments: Sequence[str]) -> int:
    """`arguments`: where salvages are kept, and then those of pg_rewind. 0, whatever comes of it: the rewind goes on."""
    directory, *rewind = arguments
    try:
        options = dict(pairwise(rewind))
        data, source = (options[name] for name in ("-D", "--source-server"))
        server = Server(Path(data), Path(specification.psql).parent)
        said = keep(server, source, Path(directory), specification.name)
    except NothingKeptError as reason:
        said = f"nothing is kept: {reason}"
    except (OSError, ValueError, KeyError, IndexError, TypeError, subprocess.SubprocessError) as error:
        said = f"nothing is kept: {type(error).__name__}: {error}"
    print(f"salvage: {said}", file=sys.stderr, flush=True)
    return 0
