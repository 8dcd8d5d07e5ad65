"""How findings look to a person."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape

from cluster.printable import on_one_line
from health.finding import Finding

COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


def show_findings(out: Console, found: Iterable[Finding]) -> None:
    """One line each: level, subject, text, and the id of the rule."""
    for one in found:
        colour = COLOURS[one.level]
        text = f"[{colour}]{one.level:8}[/] [bold]{escape(on_one_line(one.about))}[/]: {escape(on_one_line(one.text))}"
        out.print(f"{text} [dim]({one.rule})[/]", soft_wrap=True)
