"""A drill's result to test with."""

from __future__ import annotations

import os
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
    "bad_blocks": 0, "exposed_seconds": 12.3,
    "compared": {"with": "db3", "tables": 276, "rows": 186_643, "left_out": 0, "differences": [], "seconds": 2.2},
}  # fmt: skip


def backrest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A pgbackrest that says so."""
    bin = tmp_path / "bin"
    bin.mkdir(exist_ok=True)
    (bin / "pgbackrest").write_text(f"#!/bin/sh\n{script}\n")
    (bin / "pgbackrest").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin}:{os.environ['PATH']}")
