"""What can be seen of keepalived on a host: whether the virtual address is there. (Its own word is what it believes.)"""

from __future__ import annotations

from typing import Any

from agents.parts.asking import run


def keepalived(spec: dict[str, Any]) -> dict[str, Any]:
    """The interfaces that have the address."""
    shown = run("ip", "-oneline", "address", "show", "to", spec["address"])
    return {"interfaces": [line.split()[1] for line in shown.splitlines()]}
