"""What a restore has noted in etcd, and what it asks single hosts for before it begins."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any

from agents.sent import shipped
from cluster import paths
from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.hosts.ssh import Fleet

LOST_SECONDS = 120
NOTE = "restore"  # the one that is under way
LAST = "restored"  # the last that came to its end


def key(cluster: Cluster, name: str) -> str:
    """The key of a note of ours."""
    return f"/pgquorum/{cluster.name}/{name}"


def etcd(fleet: Fleet, cluster: Cluster, command: str) -> str:
    """What an etcdctl command says at the first member that answers. Raises ClusterError."""
    said = "no etcd member answers"
    for host in cluster.etcd_hosts:
        endpoint = f"https://{host.url_address}:{cluster.etcd.client_port}"
        answer = fleet.run(host.name, f"{paths.etcdctl(endpoint)} {command}")
        if answer.ok:
            return answer.output
        said = f"{host.name}: etcd refuses: {answer.problem or answer.code}"
    raise ClusterError(f"{said} (`invoke status`)")


def notes(fleet: Fleet, cluster: Cluster) -> dict[str, str]:
    """All that we have noted in etcd, by name. Raises ClusterError."""
    prefix = key(cluster, "")
    found = json.loads(etcd(fleet, cluster, f"get --prefix {prefix} --write-out=json")).get("kvs", [])
    return {_decoded(one["key"]).removeprefix(prefix): _decoded(one["value"]) for one in found}


def lost(
    fleet: Fleet, cluster: Cluster, host: str, timeline: int, time: datetime | None, where: str | None
) -> dict[str, Any] | None:
    """What agents/sent/lost.py tells on the primary's host; None where it can't be seen."""
    postgres = cluster.postgres
    spec = {
        "binaries": paths.postgres_binaries(postgres.version),
        "wal": f"{postgres.data_directory}/pg_wal",
        "timeline": timeline,
    }
    command, source = shipped("lost", {})
    since = {"time": time.timestamp()} if time else {"lsn": where}
    answer = fleet.run(host, command, source + json.dumps(spec | since), LOST_SECONDS)
    return dict(json.loads(answer.output)) if answer.ok else None


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode(errors="replace")
