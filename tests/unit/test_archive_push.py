"""archive_command: what it tries, when it fails at once, and that it never says that something is archived which is not."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from clusters import cluster

from cluster import paths
from operations import pgbackrest
from operations.managed import render

RUNNING = "{pid}\n/data\n1700000000\n5432\n/run\n\n 1 2\n{state}\n"
WAL = "pg_wal/000000010000000000000005"


@dataclass
class Host:
    """A database host: what its clock shows, what its PostgreSQL does, and how its pgbackrest, which takes `seconds`, ends."""

    place: Path

    def __post_init__(self) -> None:
        shop = cluster(backup=True, postgres_data_directory="/data/shop")
        text = render("pgbackrest/archive-push.sh.j2", cluster=shop, **pgbackrest.PUSH_TIMES)
        for real, ours in ((paths.BACKUP_LOCKS, "run"), ("/data/shop", "data"), ("/proc/uptime", "uptime")):
            assert real in text
            text = text.replace(real, str(self.place / ours))
        (self.place / "archive-push").write_text(text)
        for directory in ("run", "data", "bin"):
            (self.place / directory).mkdir()
        self.at(1000)
        self.pgbackrest(0)

    def at(self, seconds: int) -> None:
        (self.place / "uptime").write_text(f"{seconds}.37 99.00\n")

    def pgbackrest(self, code: int, until: int | None = None) -> None:
        """It ends with `code`, by which time the clock shows `until`."""
        script = f'#!/bin/sh\necho "$*" >>{self.place}/tried\n'
        script += f"echo {until}.00 1.00 >{self.place}/uptime\n" if until else ""
        file = self.place / "bin/pgbackrest"
        file.write_text(f"{script}exit {code}\n")
        file.chmod(0o755)

    def postgresql(self, state: str | None, pid: int = os.getpid()) -> None:
        file = self.place / "data/postmaster.pid"
        if state is None:
            file.unlink()
        else:
            file.write_text(RUNNING.format(pid=pid, state=state))

    def archive(self, **environment: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.place}/bin:{os.environ['PATH']}"
        command = ["sh", f"{self.place}/archive-push", WAL]
        return subprocess.run(command, env={"PATH": path} | environment, text=True, capture_output=True, check=False)

    @property
    def tried(self) -> list[str]:
        file = self.place / "tried"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def note(self) -> Path:
        return self.place / "run/no-answer"


RUNS = f"--stanza=shop archive-push {WAL}"  # what a server that runs has it try
FULL = f"--stanza=shop --protocol-timeout=10 archive-push {WAL}"
SHORT = f"--stanza=shop --io-timeout=2 --protocol-timeout=2 archive-push {WAL}"


def wait_for(happens: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not happens():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_where_nothing_has_failed_it_is_pgbackrest(host: Host) -> None:
    for code in (0, 1, 103):
        host.pgbackrest(code)
        assert host.archive().returncode == code
    assert host.tried == [FULL] * 3
    assert not host.note.exists()


def test_of_many_files_that_wait_where_postgresql_is_stopped_one_is_tried(host: Host) -> None:
    host.pgbackrest(103, until=1010)
    first, *others = [host.archive() for _ in range(33)]
    assert {one.returncode for one in (first, *others)} == {103, 1}
    assert host.tried == [FULL]
    assert "the repository did not answer 0 s ago" in others[0].stderr


def test_after_some_seconds_it_is_tried_again_shortly_and_after_some_minutes_as_ever(host: Host) -> None:
    host.note.write_text("1000\n")
    for now, tried in ((1009, []), (1010, [SHORT]), (1599, [SHORT]), (1600, [FULL]), (5000, [FULL])):
        (host.place / "tried").unlink(missing_ok=True)
        host.at(now)
        host.pgbackrest(0 if tried else 103)
        assert (host.archive().returncode == 0) == bool(tried)
        assert host.tried == tried, now
        host.note.write_text("1000\n")


def test_a_success_takes_the_note_away_and_so_all_that_wait_are_archived(host: Host) -> None:
    host.note.write_text("900\n")
    assert [host.archive().returncode for _ in "abc"] == [0, 0, 0]
    assert host.tried == [SHORT, FULL, FULL]


def test_a_server_that_runs_tries_each_time(host: Host) -> None:
    host.postgresql("ready   ")
    host.pgbackrest(103, until=1010)
    assert [host.archive().returncode for _ in "abc"] == [103] * 3
    assert host.tried == [RUNS] * 3


@pytest.mark.parametrize("state", ["starting", "standby ", ""])
def test_one_that_does_not_serve_yet_does_not(host: Host, state: str) -> None:
    host.postgresql("ready   ")
    host.pgbackrest(103, until=1010)
    host.archive()
    host.postgresql(state)
    assert host.archive().returncode == 1
    assert host.tried == [RUNS]


def test_one_that_is_being_stopped_tries_once_or_not_at_all_and_whoever_takes_over_does_not_wait(host: Host) -> None:
    """PostgreSQL's archiver ends at once by a code above 125, and tries three times, a second apart, by any other."""
    host.postgresql("stopping")
    host.pgbackrest(103)
    assert host.archive().returncode == 126 and host.tried == [FULL]
    host.note.write_text("1000\n")
    host.at(1599)
    assert host.archive().returncode == 126 and host.tried == [FULL]
    host.at(1600)
    host.pgbackrest(0)
    assert host.archive().returncode == 0 and host.tried == [FULL, FULL]


@pytest.mark.parametrize("ends", ["is being stopped", "was killed"])
def test_a_try_that_lasts_ends_with_the_server(host: Host, ends: str) -> None:
    """Who takes over waits for the first, and the other can't be started again while its archiver is there."""
    server = subprocess.Popen(["sleep", "60"])
    host.postgresql("ready   ", server.pid)
    (host.place / "bin/pgbackrest").write_text(f"#!/bin/sh\necho $$ >{host.place}/tries\nexec sleep 60\n")
    with ThreadPoolExecutor() as pool:
        archived = pool.submit(host.archive)
        wait_for((host.place / "tries").exists)
        time.sleep(1.5)
        assert not archived.done()
        if ends == "was killed":
            server.kill()
            server.wait()
        else:
            host.postgresql("stopping", server.pid)
        assert archived.result(timeout=30).returncode == 126
    wait_for(lambda: not Path("/proc", (host.place / "tries").read_text().strip()).exists())
    assert not host.note.exists()  # nothing is said of the repository by it
    server.kill()
    server.wait()


def test_nor_does_one_that_crashed_and_left_its_file(host: Host) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    host.postgresql("ready   ", gone.pid)
    host.note.write_text("999\n")
    assert host.archive().returncode == 1 and host.tried == []
    (host.place / "data/postmaster.pid").write_text(f"{os.getpid()}\n/data\n")  # cut short
    assert host.archive().returncode == 1 and host.tried == []


@pytest.mark.parametrize("left", ["", "\n", "garbage\n", "2000\n", "-5\n", "12 34\n"])
def test_a_note_that_says_nothing_keeps_nobody_from_trying(host: Host, left: str) -> None:
    """Cut short, or of a time that is to come: of a host that was started since."""
    host.note.write_text(left)
    assert host.archive().returncode == 0
    assert host.tried == [FULL]


def test_a_failure_that_is_told_at_once_is_none_of_a_silent_repository(host: Host) -> None:
    host.pgbackrest(44, until=1000)
    assert [host.archive().returncode for _ in "ab"] == [44, 44]
    assert not host.note.exists()


def test_where_no_note_can_be_left_it_fails_as_pgbackrest_does(host: Host) -> None:
    (host.place / "run").rmdir()
    host.pgbackrest(103, until=1010)
    done = [host.archive() for _ in "ab"]
    assert [one.returncode for one in done] == [103, 103] and host.tried == [FULL, FULL]


def test_what_a_replica_hands_in_is_sent_itself(host: Host) -> None:
    """It is in no queue: pgBackRest's archiving in the background takes from there alone."""
    host.postgresql("ready   ")
    assert host.archive(PGQUORUM_HANDS_IN="yes").returncode == 0
    assert host.tried == [f"--stanza=shop --no-archive-async archive-push {WAL}"]
