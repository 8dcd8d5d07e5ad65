"""Commands without a host: what they see is a view, and what they would do is noted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import views

from health.view import ClusterView


def cut_off(monkeypatch: pytest.MonkeyPatch, command: ModuleType, view: ClusterView | None = None, **more: Any) -> None:
    """Puts into a command's module, in place of all in it that connects, what needs no host; and what else is given by name."""
    seen = view or views.view()
    parts = {
        "Fleet": lambda *hosts: nullcontext(),
        "Patroni": lambda *connection: None,
        "changing": lambda cluster, doing, dry=False: nullcontext((None, None, seen)),
        "observe": lambda fleet, cluster: seen,
        "observe_once": lambda cluster: seen,
        "open_vault": lambda cluster: SimpleNamespace(password=lambda name: "none"),
        "operator_lock": SimpleNamespace(held=lambda *doing: nullcontext()),
        "probe_through": lambda *way, **options: nullcontext({}),
    }
    for name, part in parts.items():
        if hasattr(command, name):
            monkeypatch.setattr(command, name, part)
    for name, part in more.items():
        monkeypatch.setattr(command, name, part)


class RecordingActions:
    """Notes in `calls` which actions were asked for, in order, and does none."""

    def __init__(self, view: ClusterView | None = None) -> None:
        self._view = view or views.view()
        self.calls: list[str] = []
        self.known: frozenset[tuple[str, str]] = frozenset()

    def view(self) -> ClusterView:
        return self._view

    def check_interrupted(self) -> None:
        """Nobody does interrupt."""

    def refuse_busy(self, host: str, view: ClusterView) -> None:
        """Nobody is."""

    @contextmanager
    def drained(self, host: str, *, until_noticed: bool = False, rebooted: bool = False) -> Iterator[None]:
        self.calls.append(f"drain {host}")
        yield
        self.calls.append(f"ready {host}")

    def await_healthy(self, also: Callable[[ClusterView], bool] = lambda view: True, host: str = "") -> None:
        self.calls.append("await_healthy" if also(self._view) else "await_healthy, in vain")

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *words, **named: self.calls.append(
            " ".join([name, *map(str, words), *(f"{k}={v}" for k, v in named.items())])
        )
