"""Which keys an SSH server is known by, as another implementation of SSH has them; and what no such server says."""

from __future__ import annotations

import io
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import paramiko
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from agents import ssh_keys

VERSION = b"SSH-2.0-other\r\n"
SECONDS = 30


def ed25519() -> paramiko.PKey:
    text = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    return paramiko.Ed25519Key.from_private_key(io.StringIO(text))


@contextmanager
def listening(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """A port at which each connection is served by that."""
    server = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            serve(connection)

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
        server.close()


def paramikos(*keys: paramiko.PKey, kex: tuple[str, ...] = ()) -> Callable[[socket.socket], None]:
    """A server that has these keys, and where they are named these ways to exchange keys alone."""

    def serve(connection: socket.socket) -> None:
        transport = paramiko.Transport(connection)
        for key in keys:
            transport.add_server_key(key)
        if kex:
            transport.get_security_options().kex = kex
        transport.start_server(event=threading.Event(), server=paramiko.ServerInterface())

    return serve


def saying(*words: bytes) -> Callable[[socket.socket], None]:
    """A server that says this to everybody, and ends the connection when the client does."""

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.sendall(b"".join(words))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass

    return serve


def packet(payload: bytes) -> bytes:
    return struct.pack(">IB", len(payload) + 5, 4) + payload + bytes(4)


def string(text: bytes) -> bytes:
    return struct.pack(">I", len(text)) + text


def first(exchanges: bytes = b"curve25519-sha256", keys: bytes = b"ssh-ed25519") -> bytes:
    """A server's first message."""
    rest = string(b"none") * 8
    return packet(bytes([ssh_keys.KEXINIT]) + bytes(16) + string(exchanges) + string(keys) + rest + bytes(5))


def asked(port: int) -> dict[str, bytes]:
    return ssh_keys.host_keys("127.0.0.1", port, SECONDS)


def test_the_keys_are_all_that_the_server_has_one_of_each_kind() -> None:
    keys = (ed25519(), paramiko.ECDSAKey.generate(bits=256), paramiko.RSAKey.generate(2048))
    with listening(paramikos(*keys)) as port:
        assert asked(port) == {key.get_name(): key.asbytes() for key in keys}


def test_a_server_that_exchanges_keys_on_the_other_curve_is_asked_by_that() -> None:
    key = ed25519()
    with listening(paramikos(key, kex=("diffie-hellman-group14-sha256", "ecdh-sha2-nistp256"))) as port:
        assert asked(port) == {"ssh-ed25519": key.asbytes()}


def test_one_that_has_neither_is_refused_with_what_it_has() -> None:
    with (
        listening(paramikos(ed25519(), kex=("diffie-hellman-group14-sha256",))) as port,
        pytest.raises(ValueError, match=r"exchanges keys by .*diffie-hellman-group14-sha256.* alone"),
    ):
        asked(port)


def test_lines_before_the_version_and_messages_that_mean_nothing_are_passed_over() -> None:
    reply = packet(bytes([ssh_keys.ECDH_REPLY]) + string(string(b"ssh-ed25519") + string(b"k" * 32)))
    words = (b"Welcome\r\n", VERSION, packet(b"\x02 what for"), first(), packet(b"\x04\x00"), reply)
    with listening(saying(*words)) as port:
        assert asked(port) == {"ssh-ed25519": string(b"ssh-ed25519") + string(b"k" * 32)}


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), "does not speak SSH"),
        ((b"x\r\n" * (ssh_keys.MOST_LINES + 1), VERSION, first()), "does not speak SSH"),
        ((VERSION, packet(bytes([1]) + struct.pack(">I", 2) + string(b"go away"))), "it ends the connection: go away"),
        ((VERSION, packet(b"\x15")), "it answers with message 15"),
        ((VERSION, struct.pack(">IB", 2**31, 4)), "no SSH"),
        ((VERSION, struct.pack(">IB", 4, 4)), "no SSH"),
        ((VERSION, packet(bytes([ssh_keys.KEXINIT]) + bytes(16) + struct.pack(">I", 99) + b"short")), "cut short"),
    ],
)
def test_what_is_not_understood_is_refused(words: tuple[bytes, ...], refusal: str) -> None:
    with listening(saying(*words)) as port, pytest.raises(ValueError, match=refusal):
        asked(port)


@pytest.mark.parametrize("words", [(VERSION,), (VERSION, first()), (VERSION, first()[:20])])
def test_a_server_that_ends_the_connection_does_not_answer(words: tuple[bytes, ...]) -> None:
    with listening(saying(*words)) as port, pytest.raises(OSError, match="it ended the connection"):
        asked(port)
