"""What Patroni says on a host."""

from __future__ import annotations

from typing import Any

from agents.parts.servers import Server


def patroni(spec: dict[str, Any]) -> Any:
    return Server(spec).ask("/patroni")
