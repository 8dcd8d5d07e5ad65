"""SSH to the cluster's hosts: many at once, host keys checked; a host that does not answer is an answer."""

from __future__ import annotations

import logging
import shlex
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import paramiko
from fabric import Config, Connection
from paramiko.ssh_exception import NoValidConnectionsError

from cluster.errors import ClusterError
from cluster.topology import Host

CONNECT_SECONDS = 5
# A peer that is gone without a word is noticed by unanswered keepalives, not by waiting for ever.
KEEPALIVE_SECONDS = 5

# What goes wrong is told in an Answer; paramiko would also print tracebacks of its threads.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Answer:
    """What a command on a host said. `code` is None when the host could not be asked; `problem` then says why.

    `at` is the operator's time.time() when the answer was complete.
    """

    host: str
    code: int | None
    output: str = ""
    problem: str = ""
    at: float = field(default_factory=time.time)

    @property
    def ok(self) -> bool:
        return self.code == 0


class Fleet:
    """SSH connections to hosts, opened when first used and kept open until the `with` block ends. Commands run as root.

    `connect_seconds` limits each of the steps of connecting: TCP, SSH's banner, login.
    """

    def __init__(self, hosts: Iterable[Host], connect_seconds: int = CONNECT_SECONDS) -> None:
        self.hosts = {host.name: host for host in hosts}
        self._seconds = connect_seconds
        self._connections: dict[str, Connection] = {}
        self._locks = {name: threading.Lock() for name in self.hosts}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes every connection, and thereby ends what still runs in its channels' foreground."""
        for connection in self._connections.values():
            connection.client.close()
        self._connections.clear()

    def run(self, host: str, command: str, stdin: str = "", seconds: float = 30) -> Answer:
        """Runs `command` (a shell command line) with `stdin` as its input. `seconds` limits each wait for output."""
        channel = None
        try:
            channel = self.start(host, command)
            channel.settimeout(seconds)
            channel.sendall(stdin.encode())
            channel.shutdown_write()
            output = channel.makefile("rb").read().decode(errors="replace")
            problem = channel.makefile_stderr("rb").read().decode(errors="replace").strip()
            if not channel.status_event.wait(seconds):
                raise TimeoutError
            code = channel.recv_exit_status()
            if code < 0:
                raise EOFError("it ended before the command did")
            if code and problem.startswith("sudo: "):
                return Answer(
                    host, None, problem=f"{self._connections[host].user} has no sudo without a password there ({problem})"
                )
            return Answer(host, code, output, problem)
        except TimeoutError:
            return Answer(host, None, problem=f"no answer within {seconds:g} s")
        except UnreachableError as error:
            return Answer(host, None, problem=str(error))
        except (OSError, EOFError, paramiko.SSHException) as error:
            return Answer(host, None, problem=f"the connection broke ({error or type(error).__name__})")
        finally:
            if channel is not None:
                channel.close()

    def run_all(self, commands: Mapping[str, str], stdin: str = "", seconds: float = 30) -> dict[str, Answer]:
        """Runs a command on each host at the same time: host name to command in, host name to answer out."""
        if not commands:
            return {}
        with ThreadPoolExecutor(len(commands)) as pool:
            answers = pool.map(lambda item: self.run(item[0], item[1], stdin, seconds), commands.items())
            return {answer.host: answer for answer in answers}

    def start(self, host: str, command: str) -> paramiko.Channel:
        """Starts `command` and returns its channel, with the input still open. Raises UnreachableError."""
        channel = self._session(host)
        if self._connections[host].user != "root":
            command = f"sudo -n -- sh -c {shlex.quote(command)}"
        try:
            channel.exec_command(command)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise UnreachableError(f"unreachable: the SSH connection broke ({error})") from None
        return channel

    def dial(self, host: str, address: str, port: int) -> paramiko.Channel:
        """A TCP connection to `address` and `port` that `host` makes. Raises UnreachableError."""
        with self._locks[host]:
            connection = self._connections.get(host)
            if connection is None or not connection.is_connected:
                connection = self._connections[host] = connect(self.hosts[host], self._seconds)
        try:
            target, origin = (address, port), ("127.0.0.1", 0)
            channel: paramiko.Channel = connection.transport.open_channel("direct-tcpip", target, origin, timeout=self._seconds)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise UnreachableError(f"{address} port {port} can't be reached from {host} ({error})") from None
        return channel

    def _session(self, name: str) -> paramiko.Channel:
        """A new session, over the connection there is, or a new one where that is gone: the host may have been rebooted."""
        with self._locks[name]:
            with suppress(KeyError, OSError, EOFError, paramiko.SSHException):
                return self._on(self._connections[name])
            connection = self._connections[name] = connect(self.hosts[name], self._seconds)
        try:
            return self._on(connection)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise UnreachableError(f"unreachable: no SSH session ({error})") from None

    def _on(self, connection: Connection) -> paramiko.Channel:
        channel: paramiko.Channel = connection.transport.open_session(timeout=self._seconds)
        return channel


class UnreachableError(ClusterError):
    """A host that can't be reached by SSH. The text says why, and where it can be mended, how."""


def connect(host: Host, seconds: int) -> Connection:
    """An open connection to `host`. Raises UnreachableError."""
    s = host.settings
    known = Path(s.ssh_known_hosts_file).expanduser() if s.ssh_known_hosts_file else None
    kwargs: dict[str, Any] = {"banner_timeout": seconds, "auth_timeout": seconds}
    if s.ssh_key:
        kwargs |= {"key_filename": str(Path(s.ssh_key).expanduser()), "look_for_keys": False}
    try:
        # A configuration of its own: one that several threads share is sometimes read while it is put together.
        config = Config(runtime_ssh_path=str(Path(s.ssh_config_file).expanduser()) if s.ssh_config_file else None)
        connection = Connection(
            host.ssh_hostname, s.ssh_user, s.ssh_port, connect_timeout=seconds, connect_kwargs=kwargs, config=config
        )
    except (OSError, paramiko.ConfigParseError) as error:
        file = s.ssh_config_file or "~/.ssh/config"
        raise UnreachableError(f"unreachable: SSH's configuration {file} can't be read ({error})") from None
    try:
        # Fabric itself would add unknown keys silently.
        connection.client.load_system_host_keys(str(known) if known else None)
        connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        connection.open()
    except (OSError, EOFError, paramiko.SSHException) as error:
        connection.client.close()
        raise UnreachableError(f"unreachable: {_why(error, host, connection, known)}") from None
    connection.transport.set_keepalive(KEEPALIVE_SECONDS)
    # Else every command waits some 80 ms: for the acknowledgement of its first packet, which the host delays.
    if hasattr(connection.transport.sock, "setsockopt"):  # what leads through another host has none
        connection.transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _why(error: Exception, host: Host, connection: Connection, known: Path | None) -> str:
    """One sentence for what paramiko raised while connecting."""
    s = host.settings
    where = f"{connection.host} port {connection.port}"
    known_hosts = known or "~/.ssh/known_hosts"
    match error:
        case paramiko.BadHostKeyException():
            return (
                f"{where} shows another host key than {known_hosts} has for it. If the host was reinstalled, take its"
                " old line out of that file; otherwise somebody may be in between"
            )
        case FileNotFoundError():
            return f"there is no file {error.filename} (ssh_key or ssh_known_hosts_file of {host.name})"
        case paramiko.PasswordRequiredException():
            return f"the key {s.ssh_key} has a passphrase: add it to your ssh-agent"
        case paramiko.AuthenticationException():
            return f"{where} refuses to log in {connection.user!r} (ssh_user, ssh_key of {host.name})"
        case paramiko.SSHException() if "not found in known_hosts" in str(error):
            return f"the host key of {where} is not in {known_hosts}: check it and add it (ssh-keyscan prints it)"
        case TimeoutError():
            return f"{where} does not answer"
        case NoValidConnectionsError():
            said = ", ".join({str(getattr(one, "strerror", one)) for one in error.errors.values()})
            return f"{where}: {said}"
        case paramiko.SSHException() if "private key" in str(error):
            return f"{s.ssh_key} (ssh_key of {host.name}) is no private key that can be read: {error}"
        case _:
            return f"{where}: {getattr(error, 'strerror', None) or error or type(error).__name__}"
