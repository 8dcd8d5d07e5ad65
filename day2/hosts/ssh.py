"""SSH to the cluster's hosts: many at once, host keys checked; a host that does not answer is an answer."""

from __future__ import annotations

import shlex
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

import paramiko
from fabric import Config, Connection

from cluster.sudo import denial
from cluster.topology import Host
from reach import connecting as reach
from reach.configuration import Way
from reach.connecting import LOST as LOST  # for whoever takes a Fleet
from reach.connecting import UnreachableError as UnreachableError
from reach.login_shell import for_any_shell

CONNECT_SECONDS = 5
# A peer that is gone without a word is noticed by unanswered keepalives, not by waiting for ever.
KEEPALIVE_SECONDS = 5


@dataclass(frozen=True)
class CommandResult:
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

    def run(self, host: str, command: str, stdin: str = "", seconds: float = 30) -> CommandResult:
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
            if code and (why := self.denial(host, problem)):
                return CommandResult(host, None, problem=why)
            return CommandResult(host, code, output, problem)
        except TimeoutError:
            return CommandResult(host, None, problem=f"no answer within {seconds:g} s")
        except UnreachableError as error:
            return CommandResult(host, None, problem=str(error))
        except LOST as error:
            return CommandResult(host, None, problem=f"the connection broke ({error or type(error).__name__})")
        finally:
            if channel is not None:
                channel.close()

    def run_all(self, commands: Mapping[str, str], stdin: str = "", seconds: float = 30) -> dict[str, CommandResult]:
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
            channel.exec_command(for_any_shell(command))
        except LOST as error:
            raise UnreachableError(f"unreachable: the SSH connection broke ({error})") from None
        return channel

    def denial(self, host: str, problem: str) -> str | None:
        """Why sudo refuses on a host that is connected, from what a command there wrote to standard error."""
        user = self._connections[host].user
        return denial(user, problem) if user != "root" else None

    def dial(self, host: str, address: str, port: int) -> paramiko.Channel:
        """A TCP connection to `address` and `port` that `host` makes. Raises UnreachableError."""
        with self._locks[host]:
            connection = self._connections.get(host)
            if connection is None or not connection.is_connected:
                connection = self._connections[host] = connect(self.hosts[host], self._seconds)
        try:
            target, origin = (address, port), ("127.0.0.1", 0)
            channel: paramiko.Channel = connection.transport.open_channel("direct-tcpip", target, origin, timeout=self._seconds)
        except LOST as error:
            raise UnreachableError(f"{address} port {port} can't be reached from {host} ({error})") from None
        return channel

    def _session(self, name: str) -> paramiko.Channel:
        """A new session, over the connection there is, or a new one where that is gone: the host may have been rebooted."""
        with self._locks[name]:
            with suppress(KeyError, *LOST):
                return self._on(self._connections[name])
            connection = self._connections[name] = connect(self.hosts[name], self._seconds)
        try:
            return self._on(connection)
        except LOST as error:
            raise UnreachableError(f"unreachable: no SSH session ({error})") from None

    def _on(self, connection: Connection) -> paramiko.Channel:
        channel: paramiko.Channel = connection.transport.open_session(timeout=self._seconds)
        return channel


def connect(host: Host, seconds: int) -> Connection:
    """An open connection to `host`. Raises UnreachableError."""
    s = host.settings
    way = Way(host.ssh_hostname, s.ssh_user, s.ssh_port, s.ssh_key, s.ssh_config_file, s.ssh_known_hosts_file)
    client = reach.connect(way, seconds)
    # Whom and where is decided: Fabric is not to read SSH's configuration once more, in its own way.
    connection = Connection(host.ssh_hostname, client.user, config=Config(ssh_config=paramiko.SSHConfig()))
    connection.client, connection.transport = client, client.transport
    connection.transport.set_keepalive(KEEPALIVE_SECONDS)
    # Else every command waits some 80 ms: for the acknowledgement of its first packet, which the host delays.
    if hasattr(connection.transport.sock, "setsockopt"):  # what leads through another host has none
        connection.transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
