"""A copy of the cluster's data out of the repository, and a PostgreSQL that runs on it for its own user alone.

What `pgbackrest restore` is told, and what the server is started with, for whoever restores beside the living cluster. The data
comes with the cluster's own configuration, its subscriptions and what its extensions do by themselves: none of that is let run.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agents.libpq import environment

LOOK_SECONDS = 0.5
STOP_SECONDS = 600
MOST_LINES = 12  # of what a program says that has failed
# What a recovered server must have as many of as the one that wrote the log: of pg_controldata's lines, by parameter.
AS_IT_WAS = {
    "max_prepared_transactions": "max_prepared_xacts setting",
    "max_locks_per_transaction": "max_locks_per_xact setting",
}


class RecoveryError(Exception):
    """Why there is no copy, or no server on it: words for a person."""


@dataclass(frozen=True)
class Target:
    """The moment that is recovered to, on a timeline: an LSN, of which everything before is there and nothing from it on; or a
    `value` of a `kind` as `invoke restore` has them (time, lsn, name); or, without any, the end of the archive."""

    lsn: str = ""
    timeline: str = "latest"
    kind: str = ""
    value: str = ""

    def options(self) -> list[str]:
        """As pgBackRest takes it."""
        if self.value:
            return self._of(self.kind, self.value)
        if self.lsn:
            return self._of("lsn", self.lsn)
        return ["--type=default", f"--target-timeline={self.timeline}"]

    def _of(self, kind: str, value: str) -> list[str]:
        # Exclusive: recovery stops before the first record that begins there. Records that a server has replayed end where
        # the next one begins, so this is what it had when it said pg_last_wal_replay_lsn().
        exclusive = ["--target-exclusive"] if kind == "lsn" else []
        end = ["--target-action=promote", f"--target-timeline={self.timeline}"]
        return [f"--type={kind}", f"--target={value}", *exclusive, *end]


@dataclass(frozen=True)
class Place:
    """Where a copy is made: `data` does not exist yet, `tablespaces` is for those that the cluster has elsewhere; `sockets` is
    short, and nobody else's."""

    data: Path
    tablespaces: Path
    sockets: Path
    port: int


def restore_options(place: Place, backup: str, target: Target, processes: int) -> list[str]:
    """What pgBackRest's restore of a backup (its label) is told, into a place of its own from which nothing is archived."""
    return [
        f"--pg1-path={place.data}", f"--set={backup}", *target.options(), "--archive-mode=off",
        f"--tablespace-map-all={place.tablespaces}", f"--process-max={processes}",
    ]  # fmt: skip


def restore_environment(place: Place) -> dict[str, str]:
    """What it is told besides. A restore empties the directory in which the archiving of a living server notes what is done; as
    an option it would get into the restore_command, where it is an error."""
    return {**os.environ, "PGBACKREST_SPOOL_PATH": str(place.sockets)}


def careful(restore_command: str) -> str:
    """pgBackRest's archive-get so that recovery ends where it says that a file is not there (exit code 1), and fails with it
    where it can't say. PostgreSQL takes any code up to 125 for the end of the log, and would promote."""
    return f"{restore_command} || {{ test $? = 1 && exit 1; exit 255; }}"


def restore_command(settings: str) -> str:
    """The one that pgBackRest's restore has written into these settings (postgresql.auto.conf); empty for none."""
    found = re.findall(r"(?m)^restore_command = '((?:[^']|'')*)'$", settings)
    return found[-1].replace("''", "'") if found else ""


def parameters(place: Place, control: str) -> dict[str, str]:
    """What the server on the copy is started with, on its command line: so it goes before postgresql.auto.conf, which is the
    cluster's. `control` is what pg_controldata says."""
    said = dict(re.findall(r"(?m)^([^:\n]+):\s+(.*)$", control))
    return {
        "config_file": str(place.sockets / "postgresql.conf"),
        "hba_file": str(place.sockets / "pg_hba.conf"),
        "ident_file": str(place.sockets / "pg_ident.conf"),
        "external_pid_file": "",
        # Nobody gets in but this user, and nothing gets out.
        "listen_addresses": "",
        "port": str(place.port),
        "unix_socket_directories": str(place.sockets),
        "unix_socket_permissions": "0700",
        "ssl": "off",
        "archive_mode": "off",
        "primary_conninfo": "",
        "primary_slot_name": "",
        "synchronous_standby_names": "",
        "max_wal_senders": "0",
        "max_logical_replication_workers": "0",  # a subscription of the cluster's would take changes from its publisher
        "sync_replication_slots": "off",
        "shared_preload_libraries": "",
        "session_preload_libraries": "",
        "local_preload_libraries": "",
        "event_triggers": "off",
        "autovacuum": "off",
        # Else recovery asks for as many connections as the cluster has.
        "hot_standby": "off",
        "max_connections": "30",
        **{name: said[line] for name, line in AS_IT_WAS.items() if line in said},
        # What a host in use has to spare; and nothing of this outlives a power cut.
        "shared_buffers": "128MB",
        "huge_pages": "off",
        "fsync": "off",
        "full_page_writes": "off",
        "logging_collector": "off",
        "log_destination": "stderr",
        "log_min_messages": "warning",
        "lc_messages": "C",
    }


class PrivateServer:
    """PostgreSQL on a copy. Its programs are in `binaries`; what it says goes to `log`."""

    def __init__(self, binaries: str, place: Place) -> None:
        self._binaries, self.place = binaries, place
        self.log = place.data.with_name("postgresql.log")
        self._process: subprocess.Popen[bytes] | None = None

    def program(self, name: str) -> str:
        return f"{self._binaries}/{name}"

    def connection(self, database: str = "postgres") -> dict[str, str]:
        """libpq's environment for it."""
        return environment(str(self.place.sockets), self.place.port, database)

    def start(self) -> None:
        """Starts it; it recovers first. Raises RecoveryError."""
        sockets = self.place.sockets
        for name, text in (("postgresql.conf", ""), ("pg_ident.conf", ""), ("pg_hba.conf", "local all all trust\n")):
            (sockets / name).write_text(text)
        control = run([self.program("pg_controldata"), "-D", str(self.place.data)])
        found = restore_command((self.place.data / "postgresql.auto.conf").read_text(encoding="utf-8"))
        reads = {"restore_command": careful(found)} if found else {}
        options = [f"--{name}={value}" for name, value in {**parameters(self.place, control), **reads}.items()]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self.program("postgres"), "-D", str(self.place.data), *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.place.data,
            )  # fmt: skip

    def await_recovered(self) -> None:
        """Returns when it answers, out of recovery, however long that takes. Raises RecoveryError when it has ended."""
        assert self._process
        while self._process.poll() is None:
            # Its own word, before anybody is let in; psql would write into the log each time that it is refused.
            if self._status() == "ready" and self.ask("select not pg_is_in_recovery()") == "t":
                return
            time.sleep(LOOK_SECONDS)
        raise RecoveryError(f"PostgreSQL does not start on the copy: {self.last_words()}")

    def _status(self) -> str:
        """The line of postmaster.pid that says starting, stopping, ready or standby."""
        try:
            lines = (self.place.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return ""
        return lines[7].strip() if len(lines) > 7 else ""

    def ask(self, statement: str, database: str = "postgres") -> str:
        """psql's answer, a line for each row. Raises RecoveryError."""
        return run([self.program("psql"), "-XAtqw", "-v", "ON_ERROR_STOP=1", "-c", statement], env=self.connection(database))

    def await_end(self) -> None:
        """Returns when it has ended, whoever has ended it."""
        assert self._process
        self._process.wait()

    def stop(self) -> None:
        """Stops it, so that all is written. Raises RecoveryError when it does not."""
        if self._process is None or self._process.poll() is not None:
            return
        run([self.program("pg_ctl"), "-D", str(self.place.data), "-m", "fast", "-t", str(STOP_SECONDS), "-w", "-s", "stop"])
        self._process.wait(STOP_SECONDS)

    def recovered_to(self) -> str:
        """Where the log of the cluster ends and that of the copy begins, as its promotion has noted it."""
        histories = sorted((self.place.data / "pg_wal").glob("*.history"))
        lines = [line for line in histories[-1].read_text().splitlines() if line.strip()] if histories else []
        return lines[-1].split()[1] if lines else ""

    def last_words(self) -> str:
        """Why it has ended, in its own words."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        telling = [line for line in lines if re.search(r"(FATAL|PANIC|ERROR):", line)] or lines
        words = (re.sub(r"^.*?((FATAL|PANIC|ERROR):)", r"\1", line).strip() for line in telling[-3:])
        return " / ".join(words) or "it says nothing"


def run(command: Sequence[str], env: dict[str, str] | None = None) -> str:
    """What a program prints. Raises RecoveryError with its own words when it fails."""
    code, out, err = outcome(command, env)
    if code:
        lines = [line.strip() for line in (err or out).splitlines() if line.strip() and not line.startswith("WARN:")]
        words = " / ".join(lines[:MOST_LINES])
        raise RecoveryError(f"{Path(command[0]).name} has failed: {words or f'exit code {code}'}")
    return out.strip()


def outcome(command: Sequence[str], env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """The exit code of a program, and what it has written. Raises RecoveryError where it can't be run."""
    try:
        done = subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    except OSError as error:
        raise RecoveryError(f"{command[0]} can't be run: {error.strerror}") from None
    return done.returncode, done.stdout, done.stderr
