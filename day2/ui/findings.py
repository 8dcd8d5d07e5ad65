"""How findings look to a person."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape

from health.finding import Finding

COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


def show_findings(out: Console, found: Iterable[Finding]) -> None:
    """One line each: level, subject, text."""
    for finding in found:
        colour = COLOURS[finding.level]
        text = f"[{colour}]{finding.level:8}[/] [bold]{escape(finding.about)}[/]: {escape(finding.text)}"
        out.print(text, soft_wrap=True)
