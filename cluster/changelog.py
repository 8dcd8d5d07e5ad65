"""CHANGELOG.md, and what a deploy quotes from it when the hosts were deployed by another version. Pure, but for reading the file.

Its form: `## VERSION`, the latest first; under each the SECTIONS as `### HEADING`, in lists. An item that goes on is indented.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .version import UNNOTED, Version, parse, told

FILE = Path(__file__).parent.parent / "CHANGELOG.md"
OWNER, HOSTS, RENAMED = SECTIONS = ("What an owner must know", "On hosts", "Renamed settings")


@dataclass(frozen=True)
class Release:
    """One version: the items of each section, by its heading."""

    version: Version
    sections: dict[str, list[str]] = field(default_factory=dict)


def releases(text: str) -> list[Release]:
    """The versions that the text of a changelog has, in its order. What is not of the form is left out."""
    found: list[Release] = []
    items: list[str] = []
    for line in text.splitlines():
        if heading := re.fullmatch(r"## (\d+\.\d+\.\d+)", line):
            found.append(Release(parse(heading[1])))
            items = []
        elif found and line.startswith("### "):
            items = found[-1].sections.setdefault(line.removeprefix("### "), [])
        elif line.startswith("- "):
            items.append(line.removeprefix("- "))
        elif items and line.startswith("  "):
            items[-1] += f" {line.strip()}"
    return found


def read(file: Path = FILE) -> list[Release]:
    """The versions of the changelog; none when it can't be read, which is no reason not to deploy."""
    try:
        return releases(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []


def announcement(noted: Mapping[str, str | None], checkout: Version, known: Iterable[Release]) -> list[str]:
    """What to say before a deploy to hosts of the cluster that were not deployed by this version; nothing when all were.

    `noted` are the notes of the hosts by name, all of them versions or None.
    """
    others = {name: note for name, note in noted.items() if note != str(checkout)}
    if not others:
        return []
    versions = [parse(note) if note else UNNOTED for note in others.values()]
    passed = sorted((release for release in known if min(versions) < release.version <= checkout), key=lambda r: r.version)
    changes = [f"  {release.version}: {item}" for release in passed for item in release.sections.get(HOSTS, [])]
    lines = [f"hosts were deployed by {told(others)}, this is {checkout}:"]
    if min(versions) < checkout:
        lines += changes or ["  CHANGELOG.md does not say what that changes on them"]
    if max(versions) > checkout:
        lines.append(f"  what {max(versions)} has put there stays there where {checkout} does not know it")
    return [*lines, "  --dry --diff shows each file before it is written; CHANGELOG.md has what an owner must know"]
