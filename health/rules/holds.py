"""Who lets clients wait at a proxy, as far as that is known."""

from __future__ import annotations

import json

from ..view import HostView


def holder(host: HostView) -> str:
    """` (root@ops, since ...)`, to be put behind what waits; empty where it is not noted, as for somebody at a console."""
    try:
        by = json.loads(host.hold or "")
        return f" ({by['who']}, since {by['since']})"
    except (ValueError, KeyError, TypeError):
        return ""
