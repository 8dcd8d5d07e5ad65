"""What pgBackRest is told in a restore, and what PostgreSQL says of it. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from cluster.timelines import position

from .arrival import Arrival
from .plan import Restore


def reading(restore: Restore) -> str:
    """What archive-get is told of where to read: of all repositories, but where one is read as it was at a moment, or one can't
    be read at all."""
    return "".join(f" {shlex.quote(one)}" for one in restore.options) if restore.as_of or restore.away else ""


def arrived(server: Mapping[str, Any]) -> Arrival:
    """Where a server is that was promoted at the end of a recovery, from what it says."""
    rows = [line.split(None, 2) for line in server["history"].splitlines() if line.strip()]
    last = rows[-1] if rows else ["0", "0/0", ""]
    timeline = int(server["timeline"], 16)
    return Arrival(timeline, position(last[1]), last[2].strip() if len(last) > 2 else "", server["last"])


def last_words(lines: list[str]) -> str:
    return " ".join(lines[-3:])[-500:] or "its journal says nothing"


def why(lines: list[str]) -> str:
    """What PostgreSQL said of its end: that it was fatal, and how far it had come."""
    telling = [line for line in lines if "FATAL" in line or "last completed transaction" in line or "PANIC" in line]
    return " ".join(telling)[-700:] or last_words(lines)
