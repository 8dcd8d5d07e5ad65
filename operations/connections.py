"""The deploy's SSH connections: opened as the tasks open theirs, prompt, and watched.

pyinfra's own connector asks for passphrases, ends in a traceback for a key file that is not there, leaves connections the
kernel's defaults, and a lost one without a word.
"""

from __future__ import annotations

import shlex
import socket
from typing import Any

from pyinfra import host
from pyinfra.api import State
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.state import BaseStateCallback
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.sshuserclient.client import get_missing_host_key_policy

from reach.configuration import Way
from reach.connecting import Client, UnreachableError, connect

# A host without a sign of life for so long is gone and the run ends: by default it would wait for a quarter of an hour and
# longer. That a command takes its time is no reason: the kernel of its host answers.
GONE_SECONDS = 30
PROBE_SECONDS = 5
ANSWER_SECONDS = 20
OPTIONS = [
    # A second small packet would wait until the first is acknowledged, which hosts delay: 80 ms more for every command.
    (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", PROBE_SECONDS),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", PROBE_SECONDS),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", GONE_SECONDS // PROBE_SECONDS - 1),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", GONE_SECONDS * 1000),
]
# Why hosts could not be reached, by name, and those whose connection was lost: told when the run ends.
_unreached: dict[str, str] = {}
_lost: set[str] = set()
LOST = "the connection was lost: once the host can be reached, the same command goes on"


def reach_as_tasks_do() -> None:
    """From now on, pyinfra's connections are those of reach/."""
    SSHConnector.connect = _connect  # type: ignore[assignment, method-assign]


def _connect(connector: Any) -> None:
    try:
        connector.client = _client(connector)
    except UnreachableError as error:
        _unreached[connector.host.name] = str(error).removeprefix("unreachable: ")
        raise ConnectError("unreachable") from None  # pyinfra tells this of each host; the run ends with why


def _client(connector: Any) -> Client:
    """A connection of its own to a host of pyinfra's. Raises UnreachableError."""
    data = connector.data
    way = Way(
        data["ssh_hostname"] or connector.host.name,
        data["ssh_user"],
        int(data["ssh_port"]) if data["ssh_port"] else None,
        data["ssh_key"],
        data["ssh_config_file"],
        data["ssh_known_hosts_file"],
    )
    # pyinfra's own default is to take whatever key a host shows at first: whoever is in between would get the host's secrets.
    policy = get_missing_host_key_policy(connector.host.data.get("ssh_strict_host_key_checking") or "yes")
    return connect(way, connector.state.config.CONNECT_TIMEOUT, policy)


def new_connection(command: str) -> str:
    """Runs a command on the host that an operation is at, as root, over a connection that is opened for it. Returns why it could
    not; nothing when it has succeeded."""
    sudo = "sudo -n " if host.data.get("_sudo") else ""
    try:
        with _client(host.connector) as client:
            return client.why_failed(f"{sudo}sh -c {shlex.quote(command)}", ANSWER_SECONDS)
    except UnreachableError as error:
        return str(error).removeprefix("unreachable: ")


def why_unreached(name: str) -> str:
    """The words with which a host could not be reached; empty where it could."""
    return _unreached.get(name, "")


def why_lost(name: str) -> list[str]:
    """What there is to say of a host whose connection was lost; nothing of any other."""
    return [LOST] if name in _lost else []


def tune(state: State) -> None:
    """Lets every command be sent at once, and a host that is gone be noticed within GONE_SECONDS and told of."""
    for one in state.active_hosts:
        sock: Any = getattr(_transport(one), "sock", None)
        if hasattr(sock, "setsockopt"):  # what leads through another host has none
            for level, name, value in OPTIONS:
                if hasattr(socket, name):  # not every system has each of them
                    sock.setsockopt(level, getattr(socket, name), value)
    state.add_callback_handler(LostConnections())


class LostConnections(BaseStateCallback):
    """Notes of a host whose operation has failed that its connection was lost, where that is why."""

    @staticmethod
    def operation_host_error(state: State, host: Any, op_hash: str, retry_count: int = 0, max_retries: int = 0) -> None:
        transport = _transport(host)
        if transport and not transport.is_active():
            _lost.add(host.name)


def logged_in_as(one: Any) -> str | None:
    """The user that a host of pyinfra's was logged in to as, which SSH's configuration may say; None where there is no SSH."""
    transport = _transport(one)
    return transport.get_username() if transport else None


def _transport(one: Any) -> Any:
    """paramiko's transport of a host of pyinfra's; None where there is no SSH, as on the fake hosts of tests."""
    client = getattr(one.connector, "client", None)
    return client.get_transport() if client else None
