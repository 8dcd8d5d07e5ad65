"""The report as files in a directory: for a program, for a browser, and to read as it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from cluster.errors import ClusterError
from day2.trials.result import Proof
from day2.ui.console import to_json

from .document import document
from .terminal import text


def write(directory: Path, proof: Proof) -> list[Path]:
    """Writes report.json, report.html and report.txt, and returns their paths. Raises ClusterError where it can't."""
    from .html import page

    # JSON first: should a chart fail, the figures are kept.
    forms: tuple[tuple[str, Callable[[Proof], str]], ...] = (("report.json", _json), ("report.txt", text), ("report.html", page))
    return [put(directory / name, form(proof)) for name, form in forms]


def keep(directory: Path, proof: Proof) -> Path:
    """Writes report.json alone, at once. Raises ClusterError where it can't: call it before there is anything to lose."""
    return put(directory / "report.json", _json(proof))


def _json(proof: Proof) -> str:
    return to_json(document(proof)) + "\n"


def put(path: Path, content: str) -> Path:
    """Writes a file in one step: whoever reads sees the old one or the new one."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            beside.write_text(content, encoding="utf-8")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise ClusterError(f"{path} can't be written: {error.strerror}") from None
    return path
