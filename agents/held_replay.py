"""The contents of a replica at one position of the log: its replay stands still while they are read, and goes on after.

It goes on receiving and acknowledging meanwhile. Patroni lets a replay go on that is paused, in its next round, because that is
how it takes a parameter that the primary has changed. So the process that replays is stopped while it is paused, where it holds
nothing, and only then the pause is taken back: it stands still, and nobody has a reason to do something about it.

Whatever this program comes to, `go_on` follows: as the last of its unit's commands, where it is killed, too. It ends by itself
when whoever asks is gone, when the time is over, and when the replica is needed: it has lost its primary, is to be promoted, or
is being stopped.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from agents.contents import ContentsError, contents
from agents.libpq import environment
from agents.specification import Specification

LOOK_SECONDS = 0.1
TRIES = 20  # to stop it before Patroni lets it go on
# Of the limit, for what is to be done before the contents are read and after.
SHARE_FOR_CONTENTS = 0.8
STATE = "select json_build_array(pg_get_wal_replay_pause_state(), pg_last_wal_replay_lsn()::text, pg_is_in_recovery())"
STARTUP = "select pid from pg_stat_activity where backend_type = 'startup'"
RESUME = "select pg_wal_replay_resume() where pg_is_in_recovery()"


class Replica:
    """The PostgreSQL on this host."""

    def __init__(self, specification: Specification) -> None:
        self.psql = specification.psql
        self.data = Path(specification.wal).parent
        self.environment = environment(specification.sockets, specification.port)

    def ask(self, statement: str) -> str:
        """Raises ContentsError."""
        command = [self.psql, "-XAtqw", "-v", "ON_ERROR_STOP=1", "-c", statement]
        done = subprocess.run(
            command, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ContentsError(" ".join(done.stderr.split()) or f"psql exits with {done.returncode}")
        return done.stdout.strip()

    def state(self) -> tuple[str, str]:
        """Whether replay is paused, in PostgreSQL's word, and what was replayed last. Raises ContentsError."""
        state, lsn, recovering = json.loads(self.ask(STATE))
        if not recovering:
            raise ContentsError("it is no replica any more")
        return str(state), str(lsn)

    def await_replayed(self, lsn: str, until: float) -> None:
        """Raises ContentsError when it has not replayed so much by the monotonic time `until`."""
        while self.ask(f"select pg_last_wal_replay_lsn() >= '{lsn}'::pg_lsn") != "t":
            if time.monotonic() > until:
                raise ContentsError(f"it has not replayed {lsn} in time")
            time.sleep(LOOK_SECONDS)

    def hold(self) -> str:
        """Has the replay stand still; what was replayed last. Raises ContentsError."""
        pid = int(self.ask(STARTUP))
        for _ in range(TRIES):
            self.ask("select pg_wal_replay_pause()")
            if self.state()[0] == "paused":
                os.kill(pid, signal.SIGSTOP)
                state, lsn = self.state()
                if state == "paused":  # and was so all the time: it was stopped where it waits, and holds no lock
                    self.ask(RESUME)
                    return lsn
                os.kill(pid, signal.SIGCONT)
            time.sleep(LOOK_SECONDS)
        raise ContentsError("its replay could not be paused")

    def needed(self) -> str:
        """Why the replica must go on, read from files alone; empty while it need not."""
        if (self.data / "promote").exists():
            return "it is to be promoted"
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except OSError:
            return "it was stopped"
        if len(lines) > 7 and lines[7].strip() == "stopping":
            return "it is being stopped"
        if not any(b"walreceiver" in words for _, words in self.children(int(lines[0]))):
            return "it has lost its primary"
        return ""

    def children(self, postmaster: int) -> Iterator[tuple[int, bytes]]:
        """PostgreSQL's processes: their ids and what they call themselves."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == postmaster:
                    yield int(process.name), (process / "cmdline").read_bytes()
            except (OSError, ValueError, IndexError):  # it has just ended
                continue

    def go_on(self) -> None:
        """Lets the replay go on, whatever it was kept by."""
        try:
            postmaster = int((self.data / "postmaster.pid").read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return
        for pid, words in self.children(postmaster):
            if b"startup" in words:
                os.kill(pid, signal.SIGCONT)


def held(replica: Replica, after: str, seconds: float) -> dict[str, object]:
    """The contents of a replica that has replayed `after`, as a document. Raises ContentsError."""
    until = time.monotonic() + seconds
    if replica.state()[0] != "not paused":
        raise ContentsError("its replay is paused already")
    replica.await_replayed(after, until)
    began = time.monotonic()
    try:
        lsn = replica.hold()
        end_when_needed(replica)
        timeline = replica.ask("select received_tli from pg_stat_wal_receiver")
        found = contents(replica.psql, replica.environment, seconds=(until - time.monotonic()) * SHARE_FOR_CONTENTS)
        if replica.state()[1] != lsn:
            raise ContentsError("its replay has gone on meanwhile")
    finally:
        replica.go_on()
    return {"lsn": lsn, "timeline": timeline, "paused_seconds": round(time.monotonic() - began, 3), "contents": found}


def end_when_needed(replica: Replica) -> None:
    """From now on lets the replay go on, and ends this process, as soon as the replica is needed."""

    def watch() -> None:
        while not (why := replica.needed()):
            time.sleep(LOOK_SECONDS)
        replica.go_on()
        print(f"its replay goes on: {why}", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def end_with_input() -> None:
    """Ends this process, in its own way, when whoever asked is gone."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1024):  # not the buffered one, which would be locked when this process ends
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended before it came to its end"))
    threading.Thread(target=watch, daemon=True).start()


def main(specification: Specification, arguments: Sequence[str]) -> int:
    """`arguments`: the position that must have been replayed, and for how many seconds at most the replay stands still; or none,
    to let it go on."""
    replica = Replica(specification)
    if not arguments:
        replica.go_on()
        return 0
    after, seconds = arguments
    end_with_input()
    try:
        print(json.dumps(held(replica, after, float(seconds))), flush=True)
    except ContentsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
