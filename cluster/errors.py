"""The errors a user can cause, and the words that tell them what would be right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ClusterError(Exception):
    """Something the user can mend. Its text is complete: it is shown without a traceback."""


class SettingsError(ClusterError):
    """One or more settings are wrong, or whatever else `what` is.

    `problems` holds one sentence each, naming the setting, the value and what would be right.
    """

    def __init__(self, problems: Iterable[str], what: str = "setting") -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        heading = f"one {what} is wrong" if count == 1 else f"{count} {what}s are wrong"
        super().__init__("\n".join([f"{heading}, nothing was touched:", *(f"  - {p}" for p in self.problems)]))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` for the known word nearest to `word`, or an empty string."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""
