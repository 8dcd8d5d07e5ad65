"""A server that speaks HTTPS with certificates of its own, and says what it is told to."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from cluster.certificates import Wanted, make_authority, make_certificate


@dataclass
class Server:
    """`address` as host:port; `tls`: the files to be known by there; `answers`: status and text of each answer to come; `asked`:
    method, path, body and login of each request that came."""

    address: str
    tls: dict[str, str]
    answers: list[tuple[int, str]]
    asked: list[tuple[str, str, str, str | None]] = field(default_factory=list)


@contextmanager
def serving(folder: Path, *answers: tuple[int, str]) -> Iterator[Server]:
    """A server for the block; it lets in whoever has the certificate of `folder` only."""
    tls = {name: str(folder / file) for name, file in (("ca", "ca.crt"), ("cert", "server.crt"), ("key", "server.key"))}
    authority = make_authority("tests")
    pair = make_certificate(Wanted("server", ("127.0.0.1",), 10, frozenset(("server", "client"))), authority)
    for name, content in (("ca", authority.certificate), ("cert", pair.certificate), ("key", pair.key)):
        Path(tls[name]).write_bytes(content)

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            told.asked.append((self.command, self.path, body, self.headers["Authorization"]))
            status, text = told.answers.pop(0)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

        do_GET = do_POST = do_PATCH = answer  # noqa: N815 - as http.server calls them

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls["ca"])
    context.load_cert_chain(tls["cert"], tls["key"])
    context.verify_mode = ssl.CERT_REQUIRED
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        told = Server(f"127.0.0.1:{server.server_port}", tls, list(answers))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield told
        server.shutdown()
        thread.join()
