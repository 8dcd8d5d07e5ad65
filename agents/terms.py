"""How long whoever leads has done so, by which a guard (guard.py) gives up no leader soon after the one before."""

from __future__ import annotations

# A member that has led for less is waited for; and so is the next one after one was given up.
YOUNG_SECONDS, AGAIN_SECONDS = 60.0, 600.0


class Terms:
    """How long whoever leads has done so, and when one was given up, as this host has seen it. Times are monotonic seconds."""

    def __init__(self, since: float) -> None:
        self._term, self._since = 0, since
        self._yielded, self._again = -1, since

    def see(self, term: int, yielded: int, now: float) -> None:
        """`yielded` is the term that was given up last, 0 for none."""
        if term != self._term:
            self._term, self._since = term, now
        if yielded != self._yielded:
            self._yielded, self._again = yielded, now + (AGAIN_SECONDS if yielded else 0.0)

    def refusal(self, now: float) -> str:
        """Why the one that leads has to be waited for; empty where it need not."""
        if now - self._since < YOUNG_SECONDS:
            return f"it has led for less than {YOUNG_SECONDS:g} s"
        if now < self._again:
            return f"a leader was given up less than {AGAIN_SECONDS:g} s ago"
        return ""
