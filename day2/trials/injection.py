"""A fault from its injection to its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Self

from cluster.errors import ClusterError
from day2.faults.fault import Fault, NotInjectedError

HEAL_SECONDS, HEAL_AGAIN_SECONDS = 60, 3


class Injection:
    """A fault and its end: healed when the block is left, if not before. All times are monotonic."""

    def __init__(self, fault: Fault, say: Callable[[str], None]) -> None:
        self._fault, self._say = fault, say
        self.began = self.ended = 0.0
        self.heal_started: float | None = None
        self.heal_finished: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.began:
            self.heal()

    def inject(self) -> None:
        """From here on the fault counts as there, even if injecting it fails half way."""
        self.began = time.monotonic()
        try:
            self._fault.inject()
        except NotInjectedError:
            self.began = 0.0
            raise
        self.ended = time.monotonic()

    def heal(self) -> None:
        """Heals the fault, once; tries again for a while, for what it takes may be out of order for a moment, too."""
        if self.heal_finished is not None:
            return
        if self.heal_started is None:
            self.heal_started = time.monotonic()
            if self._fault.needs_healing:
                self._say(f"healing {', '.join(host.name for host in self._fault.hosts)}")
        while True:
            try:
                self._fault.heal()
                break
            except ClusterError as error:
                if time.monotonic() > self.heal_started + HEAL_SECONDS:
                    raise ClusterError(f"{self._fault.name} could not be healed, and may still be there: {error}") from None
                time.sleep(HEAL_AGAIN_SECONDS)
        self.heal_finished = time.monotonic()
