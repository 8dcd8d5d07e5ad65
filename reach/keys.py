"""What to log in with: private keys in files, and those an ssh-agent has. Nobody is ever asked for a passphrase."""

from __future__ import annotations

import base64
import socket
from binascii import Error as NoBase64
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.agent import AgentSSH
from paramiko.auth_strategy import AuthSource, AuthStrategy, InMemoryPrivateKey
from paramiko.pkey import UnknownKeyType

from cluster.errors import ClusterError

from .configuration import Target, Way

AGENT_SECONDS = 30
OPENSSH = b"-----BEGIN OPENSSH PRIVATE KEY-----"
MAGIC = b"openssh-key-v1\0"


class KeyProblem(ClusterError):
    """The key that a setting names can't be used."""


class _LockedKey(Exception):
    """A private key with a passphrase."""


@dataclass(frozen=True)
class Keyring:
    """The keys to log in with by what a person calls them, in the order to try them; the files of those with a passphrase
    that no agent has; why the agent has none.
    """

    keys: dict[str, paramiko.PKey]
    locked: tuple[Path, ...]
    silence: str


class Agent(AgentSSH):
    """The agent behind one socket: paramiko's own knows only that of the environment. Raises OSError or SSHException."""

    def __init__(self, path: str) -> None:
        super().__init__()
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(AGENT_SECONDS)
        connection.connect(path)
        self._connect(connection)  # type: ignore[attr-defined]


class InOrder(AuthStrategy):
    """Tries the keys of a keyring one after the other."""

    def __init__(self, user: str, ring: Keyring) -> None:
        super().__init__(paramiko.SSHConfig())
        self._sources = [InMemoryPrivateKey(user, key) for key in ring.keys.values()]

    def get_sources(self) -> Iterator[AuthSource]:
        yield from self._sources


def keyring(way: Way, target: Target) -> Keyring:
    """The keys for a target. Raises KeyProblem when `ssh_key` can't be used; what only SSH's configuration names is left out."""
    offered, silence = _offered(target.agent)
    by_public = {key.asbytes(): key for key in offered}
    keys: dict[str, paramiko.PKey] = {}
    locked: list[Path] = []
    for path in target.keys:
        try:
            keys[str(path)] = _load(path)
        except _LockedKey:
            if (public := _public(path)) in by_public:
                keys[str(path)] = by_public[public]
            elif way.ssh_key:
                raise KeyProblem(
                    f"the key {path} (ssh_key) has a passphrase, which nobody is asked for, and"
                    f" {silence or 'the ssh-agent has it not'}: ssh-add {path}"
                ) from None
            else:
                locked.append(path)
        except FileNotFoundError:
            if way.ssh_key:
                raise KeyProblem(f"there is no file {path} (ssh_key)") from None
        except OSError as error:
            if way.ssh_key:
                raise KeyProblem(f"the key {path} (ssh_key) can't be read: {error.strerror}") from None
        except (ValueError, UnsupportedAlgorithm, UnknownKeyType, paramiko.SSHException):
            # As for ssh, a public key says which one of the agent's is meant.
            if (public := _public(path)) in by_public:
                keys[str(path)] = by_public[public]
            elif way.ssh_key:
                raise KeyProblem(f"{path} (ssh_key) is no private key that can be used") from None
    if not target.only_these_keys:
        tried = {key.asbytes() for key in keys.values()}
        keys |= {f"the agent's {key.fingerprint}": key for key in offered if key.asbytes() not in tried}
    return Keyring(keys, tuple(locked), silence)


def _offered(path: str | None) -> tuple[list[paramiko.PKey], str]:
    """The keys of the agent behind a socket, and why there are none."""
    if path is None:
        return [], "there is no ssh-agent (SSH_AUTH_SOCK, or IdentityAgent in SSH's configuration)"
    try:
        keys = list(Agent(path).get_keys())
    except (OSError, paramiko.SSHException) as error:
        return [], f"the ssh-agent at {path} does not answer ({getattr(error, 'strerror', None) or error})"
    for key in keys:
        if getattr(key, "inner_key", None) is None:
            # Of a kind that paramiko does not know, such as on a hardware token: it would fail at the lack of this.
            key.public_blob = None
    return list(keys), ""


def _load(path: Path) -> paramiko.PKey:
    """The private key of a file, with the certificate beside it. Raises _LockedKey, and what paramiko raises."""
    try:
        return paramiko.PKey.from_path(path)
    except (TypeError, paramiko.PasswordRequiredException):  # the first is cryptography's
        raise _LockedKey from None


def _public(path: Path) -> bytes | None:
    """The public half of the key of a file, which no passphrase protects: beside it, in it, or the file itself."""
    beside = path.with_name(f"{path.name}.pub")
    with suppress(OSError, ValueError, IndexError, NoBase64, paramiko.SSHException):
        text = path.read_bytes().strip()
        if text.startswith(OPENSSH):
            body = base64.b64decode(b"".join(text.splitlines()[1:-1]))
            message = paramiko.Message(body.removeprefix(MAGIC))
            for _ in ("cipher", "kdf", "its options"):
                message.get_binary()
            message.get_int()  # how many keys
            return message.get_binary()
        if text.startswith(b"-----"):
            text = beside.read_bytes()
        return base64.b64decode(text.split()[1], validate=True)
    return None
