"""The SSH connections that pyinfra has opened."""

from __future__ import annotations

import socket

from pyinfra.api import State


def send_at_once(state: State) -> None:
    """Turns off what makes a small packet wait until the one before is acknowledged (Nagle's algorithm).

    Against it a host that delays its acknowledgements adds about 80 ms to every command, and a deploy is hundreds of them.
    """
    for one in state.active_hosts:
        transport = one.connector.client.get_transport() if getattr(one.connector, "client", None) else None
        if transport and hasattr(transport.sock, "setsockopt"):  # what leads through another host has none
            transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
