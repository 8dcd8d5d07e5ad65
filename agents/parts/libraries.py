"""Which programs on a host still run with libraries that were replaced after they had been started."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

PROCESSES = Path("/proc")
UNIT = re.compile(r"/([^/\n]+\.service)(?:/|$)", re.MULTILINE)
# The kernel's words for a file that is mapped and is not there any more; while dpkg replaces it, it has another name.
GONE = re.compile(r"/([^/\n]+\.so[^/\n]*?)(?:\.dpkg-\w+)? \(deleted\)$", re.MULTILINE)


def libraries(spec: dict[str, Any]) -> dict[str, list[str]]:
    """By unit, of those that are named, the libraries that are not the installed ones."""
    return replaced(spec["units"])


def replaced(units: Collection[str]) -> dict[str, list[str]]:
    """One process of each program of a unit's is looked at, the first one."""
    found: dict[str, set[str]] = {}
    seen = set()
    for process in sorted((one for one in PROCESSES.iterdir() if one.name.isdigit()), key=lambda one: int(one.name)):
        try:
            unit = UNIT.search((process / "cgroup").read_text())
            if unit is None or unit[1] not in units:
                continue
            program = unit[1], (process / "exe").readlink()
            if program in seen:
                continue
            seen.add(program)
            gone = set(GONE.findall((process / "maps").read_text(errors="replace")))
        except OSError:  # it has ended
            continue
        if gone:
            found.setdefault(unit[1], set()).update(gone)
    return {unit: sorted(names) for unit, names in sorted(found.items())}
