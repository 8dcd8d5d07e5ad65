"""One JSON request over HTTPS, as HTTP/1.0: the answer ends where the connection does.

Not http.client, which takes a tenth of a second to be imported: that would be a tenth of each failover.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO


class StatusError(Exception):
    """An answer other than 200. The text has what the server says."""


@contextmanager
def request(server: str, path: str, body: object, tls: ssl.SSLContext, seconds: float) -> Iterator[BinaryIO]:
    """The content of the answer of `server` (host:port, IPv6 in brackets) to a GET, or with a `body` to a POST of it as JSON.

    `seconds` for each wait: for the connection, and for each part of the answer. Raises OSError, StatusError, and ValueError
    for what is no HTTP.
    """
    host, _, port = server.rpartition(":")
    content = b"" if body is None else json.dumps(body).encode()
    head = f"{'POST' if content else 'GET'} {path} HTTP/1.0\r\nHost: {server}\r\nContent-Length: {len(content)}\r\n\r\n"
    name = host.strip("[]")
    with (
        socket.create_connection((name, int(port)), seconds) as plain,
        tls.wrap_socket(plain, server_hostname=name) as secured,
        secured.makefile("rb") as answer,
    ):
        secured.sendall(head.encode() + content)
        version, _, rest = answer.readline().decode(errors="replace").partition(" ")
        if not version.startswith("HTTP/"):
            raise ValueError(f"{server} does not speak HTTP")
        status = rest.split()[0] if rest.strip() else ""
        while answer.readline().strip():
            pass  # no header tells anything that is needed
        if status != "200":
            raise StatusError(f"{server} says {status}: {answer.read(500).decode(errors='replace').strip()}")
        yield answer


def ask(server: str, path: str, body: object, tls: ssl.SSLContext, seconds: float) -> Any:
    """The answer, which is JSON. Raises as `request` does, and ValueError for what is no JSON."""
    with request(server, path, body, tls, seconds) as answer:
        return json.loads(answer.read())
