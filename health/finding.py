"""A verdict of a rule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One verdict: what it is about (a host or a subject), what is so, and if that is bad, what to do."""

    level: Level
    about: str
    text: str


def ok(about: str, text: str) -> Finding:
    return Finding("ok", about, text)


def warning(about: str, text: str) -> Finding:
    return Finding("warning", about, text)


def problem(about: str, text: str) -> Finding:
    return Finding("problem", about, text)


def healthy(found: tuple[Finding, ...]) -> bool:
    """A cluster is healthy when no finding is a problem."""
    return not any(f.level == "problem" for f in found)
