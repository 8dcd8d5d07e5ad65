"""A drill: a backup is restored beside the living cluster, PostgreSQL runs on it for nobody else, and what is there is checked.

Run by pgquorum-drill.service, as the user whose the repository or the data is, on the host that keeps the backups or on one of
PostgreSQL's; begun by its timer or by `invoke backup.drill`. What came of it is a file of JSON under `results`. The unit removes
the copy, however this ends.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agents.archived_log import ArchivedLog
from agents.contents import ContentsError, contents
from agents.drill_files import Order, Plan, Result, keep, take_order, turns
from agents.recovery import Place, PrivateServer, RecoveryError, Target, outcome, restore_environment, restore_options, run
from cluster.drill import Contents, Marker, Measured, compare, ends_early, failures, no_room, told
from cluster.timelines import Base, Timeline, base_of, bases

PORT = 5432  # names the socket, and nothing else: nobody listens on it
MOST_KEPT = 100  # complaints and differences, in one of them
INTERRUPTED = 130
PROBE_DATABASE = "pgquorum"
# When the last transaction was committed that recovery has replayed.
NEWEST = "select to_char(pg_last_xact_replay_timestamp(), 'YYYY-MM-DD\"T\"HH24:MI:SS.US+00:00')"


class NothingToProveError(Exception):
    """Why no backup is there to be proven yet: words for a person."""


def main(plan: Plan) -> int:
    """0 when each backup is proven that is to be, 1 when one is not, and its result says why."""
    came_of: list[bool | None] = []
    try:
        for order, due in asked(plan):
            # In the place of one in which there is nothing to prove yet comes the next in turn.
            if not due and any(proven is not None for proven in came_of):
                break
            if plan.copy.exists():  # the one before has ended
                shutil.rmtree(plan.copy)
            came_of.append(one(plan, order))
    except KeyboardInterrupt:
        say("ended from outside, before it came to its end")
        return INTERRUPTED
    except (OSError, ValueError, KeyError, TypeError) as error:
        ended(plan, Result(plan.cluster, plan.host, "", began=time.time()), itself_failed(error))
        return 1
    return 1 if False in came_of else 0


def asked(plan: Plan) -> list[tuple[Order, bool]]:
    """What `invoke backup.drill` has left; where that is nothing, a drill for each repository in turn, and whether it is due."""
    order = take_order(plan)
    if order != Order():
        return [(order, True)]
    return [(Order(repository=name), due) for name, due in turns(plan, time.time())]


def one(plan: Plan, order: Order) -> bool | None:
    """Whether the backup is proven; None where nothing is there yet that could be, of which nobody asks for a result."""
    result = Result(plan.cluster, plan.host, order.id, began=time.time())
    try:
        measured = Drill(plan, order, result).run()
    except NothingToProveError as why:
        say(f"nothing to prove yet{f' in repository {order.repository}' if order.repository else ''}: {why}")
        return None
    except (RecoveryError, ContentsError) as error:
        measured = Measured(stopped=str(error))
    except (OSError, ValueError, KeyError, TypeError) as error:
        measured = itself_failed(error)
    return ended(plan, result, measured)


def newest_of(backups: Sequence[Base], now: Timeline) -> Base:
    """The newest backup that leads to `now`, the timeline that the cluster writes. Raises NothingToProveError where none does."""
    leading = [one for one in backups if now.has(one.timeline, one.lsn)]
    if not leading:
        there = ", ".join(one.label for one in backups) or "none of this version of PostgreSQL"
        raise NothingToProveError(f"the cluster writes timeline {now.number}, and no backup leads there (there is {there})")
    return leading[-1]


def itself_failed(error: Exception) -> Measured:
    return Measured(stopped=f"the drill itself has failed: {type(error).__name__}: {error}")


def ended(plan: Plan, result: Result, measured: Measured) -> bool:
    """Notes what has come of it, and says whether the backup is proven."""
    result.failures = failures(measured)
    result.passed = not result.failures
    result.ended = time.time()
    keep(plan, result)
    for text in result.failures:
        say(f"ERROR: {text}")
    say(f"{result.backup or 'no backup'} is {'proven' if result.passed else 'not proven'}")
    return result.passed


def say(text: str) -> None:
    """A line for the journal."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def timed() -> Iterator[Callable[[], float]]:
    """Gives a function that says how long the block took, in seconds."""
    began = time.monotonic()
    ended: list[float] = []
    yield lambda: round((ended[0] if ended else time.monotonic()) - began, 3)
    ended.append(time.monotonic())


class Drill:
    """One drill, which fills in its result as it goes."""

    def __init__(self, plan: Plan, order: Order, result: Result) -> None:
        self.plan, self.order, self.result = plan, order, result
        place = Place(plan.copy / "data", plan.copy / "tablespaces", Path(plan.runtime), PORT)
        self.server = PrivateServer(plan.binaries, place)
        self.target = Target(order.lsn, order.timeline)
        self.last = ""  # of the files in the archive as it is when this begins, where it is to be recovered to its end
        self.processes = max(1, (os.cpu_count() or 1) // 2)

    def run(self) -> Measured:
        """All steps. Raises RecoveryError or ContentsError where one can't be done."""
        result, order = self.result, self.order
        self.choose()
        self.restore()
        try:
            self.recover()
            found = self.marker() if order.marker else None
            differences = self.compare(order.contents) if order.contents is not None else None
            complaints = self.amcheck()
        finally:
            self.server.stop()
        bad = self.checksums()
        result.amcheck_complaints = list(complaints[:MOST_KEPT])
        early = ends_early(result.recovered_to or "", self.last) if self.last else ""
        return Measured("", found, complaints, bad, differences, early)

    @property
    def backrest(self) -> list[str]:
        """pgBackRest, for the repository of this drill."""
        return [*self.plan.backrest, f"--repo={self.number}"]

    @property
    def number(self) -> int:
        """pgBackRest's, of that repository."""
        return self.plan.repositories.get(self.result.repository, 1)

    def choose(self) -> None:
        """The backup: the one that is asked for, or the newest. Refuses where there is no room for it."""
        plan, result = self.plan, self.result
        result.repository = self.order.repository
        said = json.loads(run([*self.backrest, "info", "--output=json"]))
        there = {one["label"]: one for stanza in said for one in stanza.get("backup", [])}
        if not there:
            raise RecoveryError("there is no backup")
        result.backup = self.order.backup
        if result.backup and result.backup not in there:
            raise RecoveryError(f"there is no backup {result.backup}: should be one of {', '.join(there)}")
        if not (result.backup and self.order.lsn):
            chosen = self.on_its_timeline(said, there.get(result.backup))
            result.backup = chosen.label
        result.type, result.size = there[result.backup]["type"], int(there[result.backup]["info"]["size"])
        about = os.statvfs(plan.directory)
        disk = (about.f_blocks - about.f_bfree + about.f_bavail) * about.f_frsize
        # Replay makes of it what the newest was made of: an old backup of data that has grown since takes as much as a new one.
        later = list(there)[list(there).index(result.backup) :]
        most = max(int(there[label]["info"]["size"]) for label in later)
        if why := no_room(most, about.f_bavail * about.f_frsize, disk):
            raise RecoveryError(f"{plan.directory}: {why}")

    def on_its_timeline(self, said: Any, named: Any) -> Base:
        """The backup that is `named`, of those that pgBackRest has `said` there are; where that is None, the newest that leads to
        what the cluster has now, which after a restore is not the newest there is. Where no position is asked for it is recovered
        to the end of the archive, or of its own timeline where that was left before the backup was made."""
        newest = said[-1]["db"][-1]["id"]  # of PostgreSQL's versions; of one that was left there is another archive beside it
        whose = named["database"]["id"] if named else newest
        archives = [one for stanza in said for one in stanza.get("archive", ()) if one["database"]["id"] == whose]
        if not archives:
            raise RecoveryError("there is no write-ahead log in the archive")
        archive = ArchivedLog([*self.plan.reading, f"--repo={self.number}"], f"archive/{self.plan.cluster}/{archives[-1]['id']}")
        backups = bases(said, self.result.repository) if whose == newest else ()
        now = archive.written(backups)
        chosen = base_of(named, "") if named else newest_of(backups, now)
        if not self.order.lsn:
            self.to_the_end(archive, now if now.has(chosen.timeline, chosen.lsn) else archive.timeline(chosen.timeline))
        return chosen

    def to_the_end(self, archive: ArchivedLog, along: Timeline) -> None:
        """Recovers along a timeline as far as the archive has it. `latest` would not do: to PostgreSQL that is the newest before
        the first number without a history, and a number that was passed over (timelines.py) has none in the archive."""
        last = archive.last(along)
        if not last:
            raise RecoveryError("there is no write-ahead log in the archive")
        self.last, self.result.archived_to = last, last
        self.target = Target(timeline=str(along.number))

    def restore(self) -> None:
        plan, result = self.plan, self.result
        for directory in (plan.copy, self.server.place.data, self.server.place.tablespaces):
            directory.mkdir(mode=0o700)
        options = restore_options(self.server.place, result.backup, self.target, self.processes)
        say(f"restoring {result.backup}, {result.size} bytes")
        self.restore_began = time.monotonic()
        with timed() as took:
            run([*self.backrest, *options, "restore"], restore_environment(self.server.place))
        result.restore_seconds = took()
        result.rate = round((result.size or 0) / max(result.restore_seconds, 0.001))

    def recover(self) -> None:
        result = self.result
        say(f"recovering to {self.order.lsn or 'the end of the archive'}")
        with timed() as took:
            self.server.start()
            self.server.await_recovered()
        result.recovery_seconds = took()
        result.rto = round(time.monotonic() - self.restore_began, 3)
        result.target, result.timeline = self.order.lsn or None, self.target.timeline
        result.recovered_to = self.server.recovered_to() or None
        result.newest_transaction = self.server.ask(NEWEST) or None

    def marker(self) -> Marker:
        statement = f"select seq from public.probe where run = '{uuid.UUID(self.order.marker)}'"  # noqa: S608 - it is a UUID
        found = self.server.ask(statement, PROBE_DATABASE).split()
        return Marker(self.order.marker, "1" in found, "2" in found)

    def compare(self, expected: Contents) -> tuple[str, ...]:
        say(f"comparing with {self.order.replica}")
        with timed() as took:
            found = contents(self.server.program("psql"), self.server.connection(), like=expected)
        comparison = compare(expected, found)
        if not (comparison.tables or comparison.left_out or comparison.differences):
            raise ContentsError(f"{self.order.replica} has told of no table, so nothing was compared")
        self.result.compared = {
            "with": self.order.replica, "tables": comparison.tables, "rows": comparison.rows, "left_out": comparison.left_out,
            "differences": comparison.differences[:MOST_KEPT], "seconds": took(),
        }  # fmt: skip
        return tuple(comparison.differences)

    def amcheck(self) -> tuple[str, ...]:
        """What pg_amcheck finds wrong with tables and indexes, in all databases."""
        say("checking tables and indexes")
        command = [
            self.server.program("pg_amcheck"), "--all", "--install-missing", "--heapallindexed", "--parent-check",
            "--checkunique", f"--jobs={self.processes}", "--no-password",
        ]  # fmt: skip
        with timed() as took:
            code, out, err = outcome(command, self.server.connection())
        self.result.amcheck_seconds = took()
        if code not in (0, 2):
            raise RecoveryError(f"pg_amcheck has failed: {told(tuple((err or out).split(chr(10))))}")
        return tuple(line.strip() for line in out.splitlines() if line.strip()) if code else ()

    def checksums(self) -> int | None:
        """How many pages have a wrong checksum; None in a cluster without."""
        say("checking the checksums of pages")
        with timed() as took:
            code, out, err = outcome([self.server.program("pg_checksums"), "--check", "-D", str(self.server.place.data)])
        if "not enabled" in err:
            return None
        said = dict(line.split(":", 1) for line in out.splitlines() if ":" in line)
        if code not in (0, 1) or "Bad checksums" not in said:
            raise RecoveryError(f"pg_checksums has failed: {told(tuple(err.split(chr(10))))}")
        self.result.checksums_seconds = took()
        self.result.blocks, self.result.bad_blocks = int(said["Blocks scanned"]), int(said["Bad checksums"])
        return self.result.bad_blocks
