"""The client that all our programs on hosts have in common, against a server that is real."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from https_servers import serving

from agents import https


def test_a_body_makes_a_post_and_none_a_get(tmp_path: Path) -> None:
    with serving(tmp_path, (200, '{"a": 1}'), (200, "[]"), (200, "2")) as server:
        tls = https.tls_context(**server.tls)
        assert https.ask(server.address, "/a", None, tls, 20) == {"a": 1}
        assert https.ask(server.address, "/b", {}, tls, 20) == []
        assert https.ask(server.address, "/c", b"{}{}", tls, None) == 2
    assert server.asked == [("GET", "/a", "", None), ("POST", "/b", "{}", None), ("POST", "/c", "{}{}", None)]


def test_a_method_and_headers_are_sent_as_they_are_given(tmp_path: Path) -> None:
    with serving(tmp_path, (200, "done")) as server:
        tls, headers = https.tls_context(**server.tls), {"Authorization": "Basic x"}
        with https.request(server.address, "/config", {}, tls, 20, method="PATCH", headers=headers) as answer:
            assert answer.read() == b"done"
    assert server.asked == [("PATCH", "/config", "{}", "Basic x")]


def test_another_status_than_200_is_an_error_with_the_words_of_the_server(tmp_path: Path) -> None:
    words = "x" * 2000
    with serving(tmp_path, (412, f" {words}\n")) as server, pytest.raises(https.StatusError) as error:
        https.ask(server.address, "/", None, https.tls_context(**server.tls), 20)
    assert (error.value.status, error.value.text) == (412, words)
    assert str(error.value) == f"{server.address} says 412: {words[:500]}"


def test_a_server_of_somebody_else_s_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with serving(tmp_path) as server, serving(tmp_path / "other") as other, pytest.raises(ssl.SSLCertVerificationError):
        https.ask(server.address, "/", None, https.tls_context(**other.tls), 20)


@contextmanager
def saying(folder: Path, parts: Sequence[bytes | float]) -> Iterator[Callable[[float], object]]:
    """Asks, with a number of seconds for each wait, a server that says these bytes, with pauses of so many seconds."""
    with serving(folder) as files:
        pass
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.tls["cert"], files.tls["key"])
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
                secured.recv(1000)
                for part in parts:
                    secured.sendall(part) if isinstance(part, bytes) else time.sleep(part)

        thread = threading.Thread(target=serve)
        thread.start()
        address, tls = f"127.0.0.1:{listening.getsockname()[1]}", https.tls_context(**files.tls)
        yield lambda seconds: https.ask(address, "/", None, tls, seconds)
        thread.join()


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        (b"", ConnectionResetError, "ended the connection without an answer"),
        (b"hello\r\n", ValueError, "does not speak HTTP"),
        (b"HTTP/1.1 OK\r\n\r\n", ValueError, "does not speak HTTP"),
    ],
)
def test_an_answer_that_is_none_is_an_error(tmp_path: Path, said: bytes, error: type[Exception], words: str) -> None:
    with saying(tmp_path, [said]) as ask, pytest.raises(error, match=words):
        ask(20)


def test_an_answer_that_comes_in_parts_is_read_to_its_end(tmp_path: Path) -> None:
    with saying(tmp_path, [b"HTTP/1.0 200 OK\r\n", 0.01, b"A: b\r\n\r\n", 0.2, b"[1,", 0.05, b" 2]"]) as ask:
        assert ask(20) == [1, 2]


def test_who_says_nothing_more_is_not_waited_for_longer_than_told(tmp_path: Path) -> None:
    with saying(tmp_path, [b"HTTP/1.0 200 OK\r\n\r\n[1,", 1.0, b" 2]"]) as ask, pytest.raises(TimeoutError):
        ask(0.1)


def test_what_takes_long_to_import_is_not_imported_by_the_gate() -> None:
    """Each hundredth of a second is one more without a primary."""
    listing = "import sys; from agents import promotion_gate; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-c", listing], capture_output=True, text=True, check=True)
    assert not {"http.client", "email", "urllib.request", "asyncio", "subprocess"} & set(done.stdout.split())
