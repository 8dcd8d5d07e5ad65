"""Takes the ClusterView that the tasks take, too: from every host of this run, all asked at once."""

from __future__ import annotations

import time
from typing import Any

import gevent
from pyinfra import inventory, state
from pyinfra.api import StringCommand

from agents.sent import shipped
from cluster.topology import Cluster
from health.questions import questions
from health.reading import host_view, no_answer
from health.view import ClusterView, HostView


def observe(cluster: Cluster) -> ClusterView:
    """What the hosts of this run say; the others are left out."""
    began = time.monotonic()
    asked = {one.name: gevent.spawn(_ask, one, cluster) for one in inventory if one in state.active_hosts}
    gevent.joinall(asked.values(), raise_error=True)
    hosts = {name: job.value for name, job in asked.items()}
    left_out = {host.name: no_answer(host.name, "left out of this run") for host in cluster.hosts if host.name not in hosts}
    return ClusterView(dict(sorted({**hosts, **left_out}.items())), time.monotonic() - began, frozenset(left_out))


def _ask(one: Any, cluster: Cluster) -> HostView:
    command, source = shipped("collector", questions(cluster, cluster.host(one.name)))
    worked, output = one.run_shell_command(StringCommand(command), _stdin=source, _sudo=one.data.get("_sudo", False))
    if not worked:
        return no_answer(one.name, f"what was asked of it failed: {output.stderr}")
    return host_view(one.name, output.stdout, time.time())
