"""A verdict of a rule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .catalogue import CATALOGUE, Level


@dataclass(frozen=True)
class Finding:
    """One verdict: by which rule, what it is about (a host or a subject), what is so, and if that is bad, what to do.

    `rule` is an id of catalogue.py, `subject.condition`, and says that this condition holds. When all is well it is the subject
    alone, such as `etcd`: then none of the conditions of that subject was found where this verdict looked.
    """

    level: Level
    rule: str
    about: str
    text: str

    def __str__(self) -> str:
        """For a person, in one sentence that ends with the rule: `db1: its disk is full (disks.full)`."""
        return f"{self.about}: {self.text} ({self.rule})"


def finding(rule: str, about: str, text: str) -> Finding:
    """A condition of the catalogue that holds, with the level it has there. Raises KeyError for an id that is not in it."""
    return Finding(CATALOGUE[rule].level, rule, about, text)


def ok(subject: str, about: str, text: str) -> Finding:
    """That nothing is wrong with a subject."""
    return Finding("ok", subject, about, text)


def healthy(found: Iterable[Finding]) -> bool:
    """A cluster is healthy when no finding is a problem."""
    return not any(f.level == "problem" for f in found)
