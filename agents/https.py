"""One request over HTTPS, as HTTP/1.0: the answer ends where the connection does. The one client of all our programs on hosts.

Not http.client, which takes a tenth of a second to be imported: that would be a tenth of each failover.
"""

from __future__ import annotations

import io
import json
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

MOST_BYTES = 65536  # of what a server says of an error
# How often it looks whether there is something to acknowledge, and how many times: the kernel would do so after 40 ms by itself.
ACKNOWLEDGE_SECONDS = 0.002
ACKNOWLEDGE_TIMES = 20


class StatusError(Exception):
    """An answer other than 200: its `status`, and in `text` what the server says."""

    def __init__(self, server: str, status: int, text: str) -> None:
        super().__init__(f"{server} says {status}: {text[:500]}")
        self.status, self.text = status, text


def tls_context(ca: str, cert: str, key: str) -> ssl.SSLContext:
    """What a connection needs to know the server by `ca`, and to be known by `cert` with `key`: files of PEM. Raises OSError."""
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(cert, key)
    return context


@contextmanager
def request(
    server: str,
    path: str,
    body: object,
    tls: ssl.SSLContext,
    seconds: float | None,
    *,
    method: str = "",
    headers: Mapping[str, str] = {},
) -> Iterator[BinaryIO]:
    """The content of the answer of `server` (host:port, IPv6 in brackets) to a GET, or with a `body` to a POST, if there is no
    other `method`. The body is sent as JSON; bytes are sent as they are, None is none.

    `seconds` for each wait: for the connection, and for each part of the answer; None for as long as it takes. Raises OSError,
    StatusError, and ValueError for what is no HTTP.
    """
    host, _, port = server.rpartition(":")
    content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    lines = {"Host": server, "Content-Length": str(len(content)), **headers}
    head = f"{method or ('POST' if content else 'GET')} {path} HTTP/1.0\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
    name = host.strip("[]")
    with (
        socket.create_connection((name, int(port)), seconds) as plain,
        tls.wrap_socket(plain, server_hostname=name) as secured,
        io.BufferedReader(_Prompt(secured, seconds)) as answer,
    ):
        secured.sendall(head.encode() + content)
        status = _status(server, answer.readline().decode(errors="replace"))
        while answer.readline().strip():
            pass  # no header tells anything that is needed
        if status != 200:
            raise StatusError(server, status, answer.read(MOST_BYTES).decode(errors="replace").strip())
        yield answer


class _Prompt(io.RawIOBase):
    """What comes over a connection, each part of it acknowledged at once.

    A server that sends its answer in several parts, as Patroni's does, waits with the second one until the first is acknowledged
    (Nagle's algorithm), and this side's kernel waits for something to send along with that: 40 ms, and so much of a failover.
    """

    def __init__(self, connection: ssl.SSLSocket, seconds: float | None) -> None:
        self._connection, self._seconds = connection, seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(ACKNOWLEDGE_SECONDS)
        for _ in range(ACKNOWLEDGE_TIMES):
            with suppress(TimeoutError):
                return self._connection.recv_into(buffer)
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self._connection.settimeout(self._seconds)
        return self._connection.recv_into(buffer)


def _status(server: str, line: str) -> int:
    """The status in the first line of an answer."""
    if not line:
        raise ConnectionResetError(f"{server} ended the connection without an answer")
    version, _, rest = line.partition(" ")
    if not (version.startswith("HTTP/") and rest[:3].isdecimal()):
        raise ValueError(f"{server} does not speak HTTP")
    return int(rest[:3])


def ask(server: str, path: str, body: object, tls: ssl.SSLContext, seconds: float | None) -> Any:
    """The answer, which is JSON. Raises as `request` does, and ValueError for what is no JSON."""
    with request(server, path, body, tls, seconds) as answer:
        return json.loads(answer.read())
