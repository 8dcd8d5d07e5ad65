"""The tunnel of `--from`: it takes connections from the beginning, many at once, and lives on when one can't be made."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from day2.hosts.ssh import UnreachableError
from day2.hosts.tunnel import HERE, tunnel


class Near(socket.socket):
    """The near end of a connection, like a channel of SSH: closing it ends a recv() that waits."""

    def close(self) -> None:
        with suppress(OSError):
            self.shutdown(socket.SHUT_RDWR)
        super().close()


def pair() -> tuple[Near, socket.socket]:
    near, far = socket.socketpair()
    return Near(fileno=near.detach()), far


def echo() -> Near:
    """A connection whose far end says everything again, in capitals."""
    near, far = pair()

    def answer() -> None:
        with far:
            while said := far.recv(100):
                far.sendall(said.upper())

    threading.Thread(target=answer, daemon=True).start()
    return near


def ask(port: int) -> bytes:
    with socket.create_connection((HERE, port), 5) as client:
        client.sendall(b"hello")
        return client.recv(100)


def test_clients_are_answered_at_once_and_all_at_the_same_time() -> None:
    for _ in range(20):
        with tunnel(echo) as port:
            assert ask(port) == b"HELLO"
    with tunnel(echo) as port, ThreadPoolExecutor(50) as clients:
        assert set(clients.map(ask, [port] * 50)) == {b"HELLO"}


@pytest.mark.parametrize("error", [UnreachableError("port 5000 can't be reached"), OSError("gone"), EOFError()])
def test_a_connection_that_cannot_be_made_is_closed_and_the_next_one_is_made(error: Exception) -> None:
    dials: list[Callable[[], socket.socket]] = [lambda: (_ for _ in ()).throw(error), echo]
    with tunnel(lambda: dials.pop(0)()) as port:
        with socket.create_connection((HERE, port), 5) as client:
            assert client.recv(100) == b""
        assert ask(port) == b"HELLO"


def test_what_either_end_closes_is_closed_for_the_other() -> None:
    near, far = pair()
    with tunnel(lambda: near) as port, socket.create_connection((HERE, port), 5) as client:
        far.close()
        assert client.recv(100) == b""


def test_the_port_ends_with_the_block() -> None:
    with tunnel(echo) as port:
        pass
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HERE, port), 5)
