"""How much load there is in a trial, and where it goes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from cluster.errors import ClusterError

from .sessions import PATIENT

MOST_WRITERS = 100


class Endpoints(NamedTuple):
    """Where applications connect: libpq's parameters."""

    writes: dict[str, str]
    reads: dict[str, str]


@dataclass(frozen=True)
class LoadProfile:
    """How many write and read, each writer with a `pause` (seconds) after a write, with the probe role's password; `via` which
    host they go to HAProxy (None: straight), or `pooled` to the pools before it; `by_address`, to whichever proxy host has the
    virtual address. `planned`: nothing is to fail, so they wait for a new connection as long as most drivers do. Raises
    ClusterError for what can't be right."""

    password: str = field(repr=False)
    writers: int
    readers: int = 2
    pause: float = 0.0
    via: str | None = None
    pooled: bool = False
    by_address: bool = False
    planned: bool = False

    @property
    def patience(self) -> dict[str, int]:
        """What their connections have instead of what is usual, in libpq's words."""
        return PATIENT if self.planned else {}

    def __post_init__(self) -> None:
        for name, least in (("writers", 1), ("readers", 0)):
            if not least <= getattr(self, name) <= MOST_WRITERS:
                raise ClusterError(f"--{name} {getattr(self, name)}: should be from {least} to {MOST_WRITERS}")
