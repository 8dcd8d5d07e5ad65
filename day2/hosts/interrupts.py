"""Ctrl-C for tasks that have something to undo: noted at once, acted on only at points where nothing is half done."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

STEP_SECONDS = 0.1


class Interrupts:
    """While the block runs, Ctrl-C, termination and a closed terminal only set a flag, and say so through `say`.

    `check` and the waits here raise KeyboardInterrupt when it is set; what undoes things calls neither and is not disturbed.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._before: dict[int, Any] = {}
        self.asked = False

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._say("still undoing, please wait" if self.asked else "interrupted: undoing what was set")
        self.asked = True

    def check(self) -> None:
        """Raises KeyboardInterrupt if it was asked for."""
        if self.asked:
            raise KeyboardInterrupt

    def sleep(self, seconds: float) -> None:
        """Sleeps, unless interrupted."""
        self.wait(lambda: False, time.monotonic() + seconds)

    def wait(self, condition: Callable[[], bool], until: float) -> bool:
        """Waits for a condition until the monotonic time `until`; whether it came true. Raises KeyboardInterrupt."""
        while True:
            self.check()
            if condition():
                return True
            if time.monotonic() >= until:
                return False
            time.sleep(min(STEP_SECONDS, max(0.0, until - time.monotonic())))
