"""By which keys an SSH server is known, asked of it as RFC 4253 has it, without a program of OpenSSH's.

A server shows its key in its answer to the first message of a key exchange, before anything is encrypted. So none is completed: a
point that everybody knows is sent for our half of it, and no secret comes of that. That the server has the private half of the
key as well, whoever logs in there finds out.
"""

from __future__ import annotations

import os
import socket
import struct

KEXINIT, ECDH_INIT, ECDH_REPLY, DISCONNECT = 20, 30, 31, 1
IGNORED = (2, 4)  # IGNORE, DEBUG
MOST_BYTES, MOST_LINES = 65536, 50  # of a packet, and of what a server may say before it names its version
# Ways to exchange keys, and of each a point for our half: the one that everything begins from on that curve.
_X25519 = bytes([9, *[0] * 31])
_P256 = bytes.fromhex(
    "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
)
EXCHANGES = {"curve25519-sha256": _X25519, "curve25519-sha256@libssh.org": _X25519, "ecdh-sha2-nistp256": _P256}
# Of several names for one kind of key the first that a server has.
KINDS = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256",),
    ("ecdsa-sha2-nistp384",),
    ("ecdsa-sha2-nistp521",),
    ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"),
)


def host_keys(server: str, port: int, seconds: float) -> dict[str, bytes]:
    """The keys of a server, by their kind, as known_hosts has both. Raises OSError where it does not answer, and ValueError where
    what it says is not understood."""
    found = {}
    with _Asked(server, port, seconds) as asked:
        offered = asked.algorithms[1]
    for names in KINDS:
        algorithm = next((name for name in names if name in offered), None)
        if algorithm:
            with _Asked(server, port, seconds) as asked:
                key = asked.key(algorithm)
            found[_string(key, 0)[0].decode("ascii")] = key
    return found


class _Asked:
    """A connection to a server, which has said what it can: `algorithms` are the lists of its first message, in its order."""

    def __init__(self, server: str, port: int, seconds: float) -> None:
        self._socket = socket.create_connection((server, port), seconds)
        self._stream = self._socket.makefile("rb")
        try:
            self._socket.sendall(b"SSH-2.0-pgquorum\r\n")
            lines = (self._stream.readline(1024) for _ in range(MOST_LINES))
            if not any(line.startswith(b"SSH-2.0-") for line in lines):
                raise ValueError("it does not speak SSH")
            self.algorithms = _lists(self._message(KEXINIT)[17:])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> _Asked:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def key(self, algorithm: str) -> bytes:
        """The server's key for an algorithm that it has."""
        exchange = next((name for name in EXCHANGES if name in self.algorithms[0]), None)
        if exchange is None:
            raise ValueError(f"it exchanges keys by {', '.join(self.algorithms[0])} alone")
        # Whatever follows is never come to: so the rest is what the server has.
        ours = [[exchange], [algorithm], *self.algorithms[2:]]
        lists = b"".join(struct.pack(">I", len(text)) + text for text in (",".join(one).encode() for one in ours))
        self._send(bytes([KEXINIT]) + os.urandom(16) + lists + bytes(5))
        point = EXCHANGES[exchange]
        self._send(bytes([ECDH_INIT]) + struct.pack(">I", len(point)) + point)
        return _string(self._message(ECDH_REPLY), 1)[0]

    def _send(self, payload: bytes) -> None:
        padding = 8 - (5 + len(payload)) % 8
        padding += 8 if padding < 4 else 0
        self._socket.sendall(struct.pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding))

    def _message(self, wanted: int) -> bytes:
        """The next message, which has to be of that number."""
        while True:
            length, padding = struct.unpack(">IB", self._read(5))
            if not padding < length <= MOST_BYTES:
                raise ValueError("what it says is no SSH")
            payload = self._read(length - 1)[: length - 1 - padding]
            if payload[:1] == bytes([wanted]):
                return payload
            if payload[:1] == bytes([DISCONNECT]):
                raise ValueError(f"it ends the connection: {_string(payload, 5)[0].decode(errors='replace')}")
            if not payload or payload[0] not in IGNORED:
                raise ValueError(f"it answers with message {payload[:1].hex() or 'none'}")

    def _read(self, count: int) -> bytes:
        found = self._stream.read(count)
        if len(found) < count:
            raise ConnectionError("it ended the connection")
        return found


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    """A string as SSH writes it, and where it ends."""
    (length,) = struct.unpack_from(">I", data, at)
    end = at + 4 + length
    if end > len(data):
        raise ValueError("what it says is cut short")
    return data[at + 4 : end], end


def _lists(data: bytes) -> list[list[str]]:
    """The ten lists of names of a server's first message."""
    found, at = [], 0
    for _ in range(10):
        text, at = _string(data, at)
        found.append(text.decode("ascii").split(","))
    return found
