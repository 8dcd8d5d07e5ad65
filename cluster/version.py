"""The version of this tool: the one of this checkout, and the ones that hosts note in their markers (paths.MARKER).

A host notes the version that deployed it last. One without a note was deployed before there were notes, so by an older one.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from .errors import ClusterError

FILE = Path(__file__).parent.parent / "pyproject.toml"


class Version(NamedTuple):
    """`major.minor.patch`, compared number by number."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return ".".join(map(str, self))


# The last one that left no note on hosts, and the first that did.
UNNOTED, FIRST_NOTED = Version(0, 1, 0), Version(0, 2, 0)


def parse(text: object) -> Version:
    """The version that a text is. Raises ValueError with what would be right."""
    found = re.fullmatch(r"([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,9})", str(text))
    if not found:
        raise ValueError("should be a version such as '0.2.0'")
    return Version(*map(int, found.groups()))


@cache
def own(file: Path = FILE) -> Version:
    """The version of this checkout. Raises ClusterError when its pyproject.toml has none."""
    try:
        return parse(tomllib.loads(file.read_text(encoding="utf-8"))["project"]["version"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        lacks = "can't be read" if isinstance(error, OSError) else 'has no version under [project], such as version = "0.2.0"'
        raise ClusterError(f"{file} {lacks}: it is a part of the checkout, `git checkout {file.name}` brings it back") from None


def told(noted: Mapping[str, str | None]) -> str:
    """Who was deployed by what, for a person: `0.2.0 (db1, db2), 0.3.0 (db3)`. `noted` are the notes of hosts by name."""
    groups: dict[str, list[str]] = {}
    for name, note in sorted(noted.items()):
        groups.setdefault(note or f"a version before {FIRST_NOTED}", []).append(name)
    return ", ".join(f"{version} ({', '.join(names)})" for version, names in groups.items())
