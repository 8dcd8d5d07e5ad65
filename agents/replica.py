"""Makes a replica from the newest backup that leads to where the primary is, and from the archive: the primary copies nothing.

Patroni starts it before it would make a base backup (create_replica_methods), and makes that where this fails. What is in the
data directory stays where it is as the backup has it, so an old replica gets what differs (pgBackRest's delta restore).

PostgreSQL then goes on from the end of the backup: with the files of the write-ahead log that are fetched from the archive, up to
where the primary keeps its log for this member, in the member's slot. Were one missing between, the replica could never follow;
so that is seen to before it is started. Should this host or program be gone meanwhile, nothing is started either: the data has no
control file until all is there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.specification import Specification
from cluster.archive import SEGMENT_BYTES, name_of
from cluster.slots import slot_name
from cluster.timelines import Base, Timeline, bases, position, timelines

# A base backup is less work where so much more was written since the backup than the data has. With less nobody minds.
ENOUGH_BYTES = 1024**3
# Of the disk with the log, what stays free.
SPARE_BYTES = 1024**3
# The primary makes the slot of a new member in a round of its own, and archives what has ended a moment before.
SLOT_SECONDS = 60
ARCHIVED_SECONDS = 60
ASK_SECONDS = 60
MISSING = 1  # how archive-get says that the archive has no such file
CONTROL = Path("global/pg_control")
LABEL = "backup_label"
BASE = Path("postgresql.base.conf")
STANDBYS = b"synchronous_standby_names"
ASIDE = Path("pgquorum-control")  # in the data directory, where archive-get finds the control file meanwhile


class NoReplicaError(Exception):
    """Why none is made this way: words for a person."""


@dataclass(frozen=True)
class Primary:
    """`system`: its identifier. `timeline`: the one it writes. `history`: the text of that one's file, empty for the first."""

    system: str
    timeline: Timeline
    history: str


@dataclass(frozen=True)
class Start:
    """The backup to begin from, in pgBackRest's repository of that number, and from where on its log is needed (bytes)."""

    base: Base
    repository: int
    begin: int


def chosen(info: Sequence[Mapping[str, Any]], primary: Primary) -> Start:
    """The newest backup of `pgbackrest info` on the way to where the primary is. Raises NoReplicaError."""
    systems = {str(stanza["db"][-1]["system-id"]) for stanza in info if stanza.get("db")}
    if systems - {primary.system}:
        raise NoReplicaError("the repository's backups are of another cluster")
    raw = {one["label"]: one for stanza in info for one in stanza.get("backup", ())}
    fit = [one for one in bases(info, "") if not one.damaged and primary.timeline.has(one.timeline, one.lsn)]
    if not fit:
        raise NoReplicaError("no backup leads to where the primary is")
    base = max(fit, key=lambda one: (one.ended, one.label))
    return Start(base, int(raw[base.label]["database"]["repo-key"]), position(raw[base.label]["lsn"]["start"]))


def wanted(timeline: Timeline, begin: int, kept: int) -> list[str]:
    """The files of the log from the position `begin` to before the one with `kept`. A file in which a timeline was left is that
    of the one that begins in it: it has both parts."""
    first, last = begin // SEGMENT_BYTES, kept // SEGMENT_BYTES
    return [
        name_of(max(number for number, since in timeline.line if since // SEGMENT_BYTES <= segment), segment)
        for segment in range(first, last)
    ]


def too_much(size: int, log: int, free: int) -> str | None:
    """Why so much log (bytes) is not fetched for data of that size, with so much free on its disk; None where it is."""
    if log > max(size, ENOUGH_BYTES):
        return f"{log // 1024**2} MiB of write-ahead log have been written since the backup, of {size // 1024**2} MiB of data"
    if free < log + SPARE_BYTES:
        return f"{free // 1024**2} MiB are free for {log // 1024**2} MiB of write-ahead log"
    return None


def choose(file: Path, waits: bool) -> None:
    """Has PostgreSQL's base configuration say whether it waits for a replica where Patroni has told it nothing, as the deploy has
    it (operations/without_replica.py)."""
    if not file.exists():  # Patroni makes it of another one
        return
    lines = [line for line in file.read_bytes().splitlines() if not line.startswith(STANDBYS)]
    beside = file.with_suffix(".new")
    with beside.open("wb") as text:
        text.writelines(line + b"\n" for line in (*lines, *([STANDBYS + b" = '*'"] if waits else [])))
        text.flush()
        os.fsync(text.fileno())
    shutil.copymode(file, beside)
    beside.replace(file)


class Maker:
    """`directory`: the data directory; `connection`: how libpq comes to the primary for replication."""

    def __init__(self, specification: Specification, directory: Path, connection: str) -> None:
        self._specification = specification
        self._directory = directory
        self._connection = connection

    def make(self) -> str:
        """What it was made from. Raises NoReplicaError."""
        primary = self._primary()
        start = chosen(json.loads(self._backrest("--output=json", "info", seconds=ASK_SECONDS)), primary)
        log = self._kept() - start.begin
        wal = Path(self._specification.wal_disk or self._directory)
        free = shutil.disk_usage(next(one for one in (wal, *wal.parents) if one.exists())).free
        if why := too_much(start.base.size, log, free):
            raise NoReplicaError(why)
        self._restore(start)
        self._move(CONTROL, ASIDE / CONTROL)
        # Beside the control file archive-get asks for it.
        shutil.copyfile(self._directory / LABEL, self._directory / ASIDE / LABEL)
        files = self._fetch(primary, start)
        if self._primary() != primary:
            raise NoReplicaError("another server has taken over meanwhile")
        self._move(ASIDE / CONTROL, CONTROL)
        shutil.rmtree(self._directory / ASIDE)
        return f"backup {start.base.label} and {files} files of the archive's write-ahead log"

    def _restore(self, start: Start) -> None:
        self._no_server()
        link = [f"--link-map=pg_wal={self._specification.wal_disk}"] if self._specification.wal_disk else []
        half = max(1, min(8, (os.cpu_count() or 1) // 2))
        # No way of recovery: which primary is followed is Patroni's to say.
        words = [
            f"--repo={start.repository}",
            f"--set={start.base.label}",
            "--delta",
            "--type=none",
            f"--process-max={half}",
            *link,
        ]
        self._backrest(*words, "restore", seconds=None)
        # Both are of the time of the backup.
        (self._directory / "patroni.dynamic.json").unlink(missing_ok=True)
        choose(self._directory / BASE, self._specification.waits_alone)

    def _move(self, old: Path, new: Path) -> None:
        """Within the data directory; on disk when it returns."""
        to = self._directory / new
        to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self._directory / old).rename(to)
        for directory in (to.parent, (self._directory / old).parent):
            descriptor = os.open(directory, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _no_server(self) -> None:
        """pgBackRest refuses a directory with a pid file, which is there still after a crash."""
        status = [str(Path(self._specification.psql).with_name("pg_ctl")), "status", "--pgdata", str(self._directory)]
        if subprocess.run(status, capture_output=True, check=False).returncode == 0:
            raise NoReplicaError(f"PostgreSQL runs in {self._directory}")
        (self._directory / "postmaster.pid").unlink(missing_ok=True)

    def _fetch(self, primary: Primary, start: Start) -> int:
        """How many files there were."""
        log = self._directory / "pg_wal"
        self._histories(primary, start, log)
        # Asked once more: while the backup was restored the slot has gone on.
        names = wanted(primary.timeline, start.begin, self._kept())
        for name in names:
            until = time.monotonic() + ARCHIVED_SECONDS
            while not self._archived(name, log / name):
                if time.monotonic() > until:
                    raise NoReplicaError(f"{name} is missing in the archive, and the primary does not keep it")
                time.sleep(1)
        return len(names)

    def _histories(self, primary: Primary, start: Start, log: Path) -> None:
        """The files that tell of the timelines after the backup's, of those too that were given up: PostgreSQL looks for the
        newest one by one, and stops where one is missing (findNewestTimeLine)."""
        for number in range(start.base.timeline + 1, primary.timeline.number + 1):
            file = log / f"{number:08X}.history"
            if number == primary.timeline.number:
                file.write_text(primary.history, encoding="utf-8")
            elif not self._archived(file.name, file):
                file.write_text(self._history(number), encoding="utf-8")

    def _archived(self, name: str, to: Path) -> bool:
        """Whether the archive has the file, which then is there."""
        where = f"--pg1-path={self._directory / ASIDE}"
        done = self._run("pgbackrest", f"--stanza={self._specification.cluster}", where, "archive-get", name, str(to))
        if done.returncode not in (0, MISSING):
            raise NoReplicaError(f"archive-get {name}: {said(done)}")
        return done.returncode == 0

    def _primary(self) -> Primary:
        system, number, *_ = self._ask("IDENTIFY_SYSTEM").split("|")
        if int(number) == 1:
            return Primary(system, Timeline(1), "")
        history = self._history(int(number))
        return Primary(system, timelines({int(number): (history, 0)})[int(number)], history)

    def _history(self, number: int) -> str:
        """The primary's file that tells where a timeline comes from. Raises NoReplicaError where it has none."""
        return self._ask(f"TIMELINE_HISTORY {number}").partition("|")[2]

    def _kept(self) -> int:
        """From where on the primary keeps its log for this member. Raises NoReplicaError."""
        slot, until = slot_name(self._specification.name), time.monotonic() + SLOT_SECONDS
        while True:
            _, where, *_ = self._ask(f'READ_REPLICATION_SLOT "{slot}"').split("|")
            if where:
                return position(where)
            if time.monotonic() > until:
                raise NoReplicaError(f"the primary keeps no log for this member (slot {slot})")
            time.sleep(1)

    def _ask(self, command: str) -> str:
        """The primary's answer to a command of replication."""
        done = self._run(
            self._specification.psql, "-XAtq", f"{self._connection} replication=1", "-c", command, seconds=ASK_SECONDS
        )
        if done.returncode:
            raise NoReplicaError(f"the primary does not answer: {said(done)}")
        return done.stdout.removesuffix("\n")

    def _backrest(self, *words: str, seconds: float | None) -> str:
        done = self._run("pgbackrest", f"--stanza={self._specification.cluster}", *words, seconds=seconds)
        if done.returncode:
            raise NoReplicaError(f"pgbackrest {words[-1]}: {said(done)}")
        return done.stdout

    @staticmethod
    def _run(*command: str, seconds: float | None = None) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise NoReplicaError(f"{command[0]}: {error if isinstance(error, OSError) else f'no end in {seconds:g} s'}") from None


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stderr or done.stdout).split())[-300:] or f"exit code {done.returncode}"


def main(specification: Specification, words: Sequence[str]) -> int:
    """`words`: what Patroni says, of which the data directory and the way to the primary are needed."""
    given = dict(word.removeprefix("--").split("=", 1) for word in words)
    try:
        made = Maker(specification, Path(given["datadir"]), given["connstring"]).make()
    except (NoReplicaError, OSError, ValueError, KeyError) as error:
        print(f"no replica from the repository: {error}", file=sys.stderr)
        return 1
    print(f"a replica was made from {made}", file=sys.stderr)
    return 0
