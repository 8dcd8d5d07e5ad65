"""The client's way to HAProxy: straight, or for an operator who reaches the hosts by SSH only, through one of them."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

from paramiko import Channel

from cluster.errors import ClusterError
from cluster.topology import Cluster

from . import dsn
from .ssh import LOST, Fleet, UnreachableError

HERE = "127.0.0.1"
CHUNK_BYTES = 65536


@contextmanager
def probe_through(
    fleet: Fleet,
    cluster: Cluster,
    hop: str | None,
    *,
    read_only: bool = False,
    pooled: bool = False,
    by_address: bool = False,
    lost: Collection[str] = (),
) -> Iterator[dict[str, str]]:
    """libpq's parameters of the probe, which hold while the block lasts: by tunnels over the SSH connection to `hop`, or
    straight where that is None. TLS is verified end to end all the same: the name asked for is HAProxy's.

    Raises ClusterError for a hop that is unknown, does not answer, or is one of the hosts that are going to be `lost`.
    """
    values = dsn.probe(cluster, read_only=read_only, pooled=pooled, by_address=by_address)
    if hop is None:
        yield values
        return
    if cluster.host(hop, "--from").name in lost:
        raise ClusterError(f"--from {hop}: is one of the hosts that the test strikes: choose another")
    if not (answer := fleet.run(hop, "true")).ok:
        raise ClusterError(f"--from {hop}: {answer.problem or 'no command can be run there'}")
    port = dsn.port(cluster, read_only=read_only, pooled=pooled)
    with ExitStack() as tunnels:
        there = [address for _, address in dsn.places(cluster, by_address=by_address)]
        ports = [tunnels.enter_context(tunnel(partial(fleet.dial, hop, address, port))) for address in there]
        yield values | {"hostaddr": ",".join(HERE for _ in ports), "port": ",".join(str(one) for one in ports)}


@contextmanager
def tunnel(dial: Callable[[], Channel]) -> Iterator[int]:
    """A port here, for as long as the block lasts: whoever connects to it talks to the other end of a new `dial()`.

    Fabric's own forwarding takes connections only some time after it has returned, and none any more after the first one
    that the far end has refused: neither will do for clients that measure an outage.
    """
    with _Listener(dial) as listener:
        threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield int(listener.server_address[1])
        finally:
            listener.shutdown()


class _Listener(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128  # all writers at once, after a failover

    def __init__(self, dial: Callable[[], Channel]) -> None:
        self.dial = dial
        super().__init__((HERE, 0), _Session)


class _Session(socketserver.BaseRequestHandler):
    """One connection, carried both ways until either end closes it. One that can't be made is closed: so is the client told.

    Each way has a thread that waits in recv(). Waiting for both in select() would be fatal: paramiko then wakes it through a
    pipe, and its thread for the whole SSH connection dies when that pipe is closed at the moment that data arrives.
    """

    server: _Listener
    request: socket.socket

    def handle(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with suppress(UnreachableError, OSError, EOFError):
            with self.server.dial() as channel:
                back = threading.Thread(target=self._back, args=(channel,), daemon=True)
                back.start()
                _carry(self.request, channel)
            back.join()  # the channel is closed now, which ends its recv()

    def _back(self, channel: Channel) -> None:
        _carry(channel, self.request)
        with suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)


def _carry(source: socket.socket | Channel, target: socket.socket | Channel) -> None:
    """Everything from one end to the other, until either is closed."""
    with suppress(*LOST):
        while said := source.recv(CHUNK_BYTES):
            target.sendall(said)
