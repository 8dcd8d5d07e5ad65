"""Patroni's REST API, asked from the host it runs on, with that host's certificate and the cluster's password."""

from __future__ import annotations

import json
from typing import Any

from agents.sent import shipped
from cluster import paths
from cluster.errors import ClusterError
from cluster.topology import Cluster
from health.questions import tls

from .ssh import Fleet

USER = "patroni"  # as in templates/patroni/secrets.yml.j2


class Patroni:
    """`password` is the vault's `rest_api`. It travels as input of a program on the host, never in an argument."""

    def __init__(self, fleet: Fleet, cluster: Cluster, password: str) -> None:
        self._fleet, self._cluster, self._password = fleet, cluster, password

    def send(self, host: str, method: str, path: str, body: Any = None, seconds: int = 60) -> str:
        """The text of a good answer (2xx). Raises ClusterError with Patroni's own words for any other."""
        address = self._cluster.host(host).url_address
        argument = {
            "url": f"{address}:{self._cluster.postgres.patroni_port}",
            "tls": tls(paths.PATRONI_TLS),
            "method": method,
            "path": path,
            "body": body,
            "seconds": seconds,
        }
        command, source = shipped("request", argument)
        answer = self._fleet.run(host, command, f"{source}{USER}:{self._password}\n", seconds + 10)
        if not answer.ok:
            raise ClusterError(f"{host}: {answer.problem}")
        reply = json.loads(answer.output)
        if not 200 <= reply["status"] < 300:
            raise ClusterError(f"Patroni on {host} refuses {method} {path}: {reply['text']}")
        return str(reply["text"])
