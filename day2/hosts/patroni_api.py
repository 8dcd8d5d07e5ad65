"""Patroni's REST API, asked from the host it runs on, with that host's certificate and the cluster's password."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import paramiko

from agents.sent import shipped
from cluster import paths
from cluster.errors import ClusterError
from cluster.topology import Cluster
from health.questions import tls

from .ssh import LOST, Fleet, UnreachableError

USER = "patroni"  # as in templates/patroni/secrets.yml.j2


class PatroniApi:
    """`password` is the vault's `rest_api`. It travels as input of a program on the host, never in an argument."""

    def __init__(self, fleet: Fleet, cluster: Cluster, password: str) -> None:
        self._fleet, self._cluster, self._password = fleet, cluster, password

    def send(self, host: str, method: str, path: str, body: Any = None, seconds: int = 60) -> str:
        """The text of a good answer (2xx). Raises ClusterError with Patroni's own words for any other."""
        command, source = self._program(host, method, path, body, seconds)
        answer = self._fleet.run(host, command, f"{source}{self._credentials}", seconds + 10)
        if not answer.ok:
            raise ClusterError(f"{host}: {answer.problem}")
        return _good(host, f"{method} {path}", answer.output)

    @contextmanager
    def prepared(self, host: str, method: str, path: str, body: Any = None, seconds: int = 60) -> Iterator[Request]:
        """The same, for a moment in which it has to be quick: the program on the host runs, and waits for its last line of input.
        Raises ClusterError."""
        command, source = self._program(host, method, path, body, seconds)
        try:
            with closing(self._fleet.start(host, command)) as channel:
                channel.settimeout(seconds + 10)
                channel.sendall(source.encode())
                yield Request(channel, self._credentials, host, f"{method} {path}")
        except UnreachableError as error:
            raise ClusterError(f"{host}: {error}") from None

    def _program(self, host: str, method: str, path: str, body: Any, seconds: int) -> tuple[str, str]:
        address = self._cluster.host(host).url_address
        argument = {
            "url": f"{address}:{self._cluster.postgres.patroni_port}",
            "tls": tls(paths.PATRONI_TLS),
            "method": method,
            "path": path,
            "body": body,
            "seconds": seconds,
        }
        return shipped("request", argument)

    @property
    def _credentials(self) -> str:
        return f"{USER}:{self._password}\n"


class Request:
    """A request that is ready to be sent."""

    def __init__(self, channel: paramiko.Channel, credentials: str, host: str, what: str) -> None:
        self._channel, self._credentials, self._host, self._what = channel, credentials, host, what

    def send(self) -> None:
        """Raises ClusterError where the host is not there any more."""
        try:
            self._channel.sendall(self._credentials.encode())
        except LOST as error:
            raise ClusterError(f"{self._host}: the connection broke ({error or type(error).__name__})") from None

    @property
    def answered(self) -> bool:
        return bool(self._channel.exit_status_ready())

    def result(self) -> str:
        """Waits for the answer, as `Patroni.send` does."""
        try:
            output = self._channel.makefile("rb").read().decode(errors="replace")
            problem = self._channel.makefile_stderr("rb").read().decode(errors="replace").strip()
        except LOST as error:
            raise ClusterError(f"{self._host}: the connection broke ({error or type(error).__name__})") from None
        if not output:
            raise ClusterError(f"{self._host}: {problem or 'no answer'}")
        return _good(self._host, self._what, output)


def _good(host: str, what: str, output: str) -> str:
    reply = json.loads(output)
    if not 200 <= reply["status"] < 300:
        raise ClusterError(f"Patroni on {host} refuses {what}: {reply['text']}")
    return str(reply["text"])
