"""How far the log of the PostgreSQL on this host goes, and on which timeline: what it would send to another, in its own words."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from agents.specification import DATABASE, Specification

ASK_SECONDS = 2.0


@dataclass(frozen=True)
class Look:
    """This host's PostgreSQL: whether it takes writes, its timeline, how far its log is on disk, and when it was started."""

    primary: bool
    timeline: int
    lsn: int
    started: int


class Server:
    """The PostgreSQL on this host."""

    def __init__(self, specification: Specification) -> None:
        words = f"host={specification.sockets} port={specification.port} dbname={DATABASE} replication=database"
        started = "(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint"
        self._command = [
            # It talks to a server that may be anybody's by now, and needs none of this program's rights.
            "/usr/bin/setpriv", "--ambient-caps=-all", "--inh-caps=-all",
            specification.psql, "-XAtqw", f"{words} application_name=pgquorum-guard",
            "-c", f"SELECT pg_is_in_recovery(), {started}", "-c", "IDENTIFY_SYSTEM",
        ]  # fmt: skip

    def look(self) -> Look | None:
        """None when it does not answer. Timeline and position are those that belong together: what this server would send."""
        try:
            done = subprocess.run(self._command, capture_output=True, text=True, timeout=ASK_SECONDS, check=True)
            return understood(done.stdout)
        except (OSError, ValueError, subprocess.SubprocessError):
            return None


def understood(said: str) -> Look:
    """Raises ValueError."""
    (recovery, started), (_, timeline, lsn, *_) = (line.split("|") for line in said.splitlines())
    high, _, low = lsn.partition("/")
    return Look(recovery == "f", int(timeline), (int(high, 16) << 32) + int(low, 16), int(started))
