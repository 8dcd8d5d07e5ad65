"""What `--watch` does: one screen after the other, in place."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.console import RenderableType
from rich.live import Live

from cluster.errors import ClusterError

from .console import console

WATCH_SECONDS = 1.0


def refuse_both(*, watch: bool, as_json: bool) -> None:
    """Raises ClusterError for the two together: one is for eyes, the other for programs."""
    if watch and as_json:
        raise ClusterError("--watch refreshes a screen until Ctrl-C, --json prints one document: choose one of them")


def watch(screens: Iterable[RenderableType]) -> None:
    """Shows the screens until there are no more, or until Ctrl-C, which is the caller's to take."""
    with Live(console=console(), auto_refresh=False) as live:
        for screen in screens:
            live.update(screen, refresh=True)
            time.sleep(WATCH_SECONDS)
