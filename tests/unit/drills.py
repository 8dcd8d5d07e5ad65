"""A drill's result to test with."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from agents import drill_files

RESULT: dict[str, Any] = {
    "format": drill_files.FORMAT, "cluster": "shop", "host": "keep1", "id": "1", "backup": "20261129-070434F", "type": "full",
    "repository": "local",
    "began": 1_000_000.0, "ended": 1_000_100.0, "passed": True, "failures": [], "size": 61_550_307, "restore_seconds": 3.8,
    "rate": 16_000_000, "recovery_seconds": 0.6, "rto": 4.4, "target": "0/9000108", "timeline": "1", "archived_to": None,
    "recovered_to": "0/9000108", "newest_transaction": None,
    "amcheck_seconds": 1.3, "amcheck_complaints": [], "checksums_seconds": 0.2, "blocks": 7506,
    "bad_blocks": 0, "rpo": 12.3,
    "compared": {"with": "db3", "tables": 276, "rows": 186_643, "left_out": 0, "differences": [], "seconds": 2.2},
}  # fmt: skip


def backrest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A pgbackrest that says so."""
    bin = tmp_path / "bin"
    bin.mkdir(exist_ok=True)
    (bin / "pgbackrest").write_text(f"#!/bin/sh\n{script}\n")
    (bin / "pgbackrest").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin}:{os.environ['PATH']}")


def archive(files: Iterable[str], histories: Mapping[int, tuple[str, float]], place: str) -> str:
    """What a pgbackrest says, as branches of a shell's `case`, of the files of the log in a directory of the archive, and of its
    histories: number to text, and when that got there."""
    names = [f"{name}-{'a' * 40}.zst" for name in files]
    top = {name[:16]: {"type": "path"} for name in names}
    top |= {f"{number:08X}.history": {"type": "file", "time": at} for number, (_, at) in histories.items()}
    found = ["*lock-path*\\ repo-*) echo 'ERROR: [031]: option lock-path not valid' >&2; exit 31;;"]
    found += [f"*repo-ls\\ {place}) echo {shlex.quote(json.dumps(top))};;"]
    for directory in {name[:16] for name in names}:
        there = {name: {"type": "file", "time": 1} for name in names if name.startswith(directory)}
        found.append(f"*repo-ls\\ {place}/{directory}) echo {shlex.quote(json.dumps(there))};;")
    found += [f"*repo-get\\ {place}/{number:08X}.history) echo {shlex.quote(text)};;" for number, (text, _) in histories.items()]
    return " ".join(found)
