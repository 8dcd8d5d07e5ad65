"""Servers of the cluster on this host that are asked over HTTPS."""

from __future__ import annotations

from typing import Any

from agents import https
from agents.parts.asking import SECONDS


class Server:
    """One server of this cluster, asked with this host's certificate."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._server, self._tls = spec["url"], https.tls_context(**spec["tls"])

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Its answer, which is JSON. Raises OSError when it is none, or no good one."""
        try:
            return https.ask(self._server, path, body, self._tls, SECONDS)
        except https.StatusError as error:
            raise OSError(f"{path} says {error.status}: {error.text[:200]}") from None
