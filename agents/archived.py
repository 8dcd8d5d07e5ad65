"""Which files of the write-ahead log an archive of pgBackRest's has, in few words.

There a file is called `<its name>-<a checksum>.zst`, in a directory that is called like the first 16 digits of its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

FILE = re.compile(r"([0-9A-F]{16})([0-9A-F]{8})-[0-9a-f]{40}(\.[a-z0-9]+)?")


def stretches(files: Iterable[tuple[str, float]]) -> dict[str, list[tuple[int, int, float]]]:
    """From names as they are there, each with a time (seconds since 1970): by the first 16 digits, what follows each other
    without a gap, as the last 8 digits of the first and of the last, and the time of the last. What is no whole file of the log
    is left out."""
    found: dict[str, dict[int, float]] = {}
    for name, at in files:
        if match := FILE.fullmatch(name):
            found.setdefault(match[1], {})[int(match[2], 16)] = at
    return {prefix: _joined(numbers) for prefix, numbers in sorted(found.items())}


def _joined(numbers: dict[int, float]) -> list[tuple[int, int, float]]:
    joined: list[tuple[int, int, float]] = []
    for number, at in sorted(numbers.items()):
        if joined and joined[-1][1] == number - 1:
            joined[-1] = (joined[-1][0], number, at)
        else:
            joined.append((number, number, at))
    return joined


def since(place: Path, name: str) -> dict[str, list[tuple[int, int, float]]]:
    """The stretches in a directory of an archive, from the part of the log on that the file `name` is in. Raises OSError."""
    directories = [one for one in place.iterdir() if re.fullmatch(r"[0-9A-F]{16}", one.name) and one.name[8:] >= name[8:16]]
    # The newest first: whatever is seen, what comes before it was there by then.
    newest_first = sorted(directories, key=lambda one: one.name[8:], reverse=True)
    return stretches(found for directory in newest_first for found in _files(directory))


def _files(directory: Path) -> Iterator[tuple[str, float]]:
    for file in directory.iterdir():
        with suppress(FileNotFoundError):  # it has just expired
            yield file.name, file.stat().st_mtime
