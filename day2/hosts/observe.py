"""Takes a ClusterView: one SSH round trip to every host at the same time."""

from __future__ import annotations

import time
from collections.abc import Iterable

from agents.sent import shipped
from cluster.topology import Cluster, Host
from health.questions import questions
from health.reading import host_view, no_answer
from health.view import ClusterView, HostView

from .ssh import CommandResult, Fleet

# A host that answers does so in well under a second; the others must not keep a status waiting for long.
CONNECT_SECONDS = 2
ANSWER_SECONDS = 6


def observe_once(cluster: Cluster) -> ClusterView:
    """A view over connections made for it alone. A host that does not answer is part of the view, not an error."""
    with Fleet(cluster.hosts, CONNECT_SECONDS) as fleet:
        return observe(fleet, cluster)


def observe(fleet: Fleet, cluster: Cluster, hosts: Iterable[Host] | None = None) -> ClusterView:
    """A view over a fleet's connections: of all hosts, or of those that are named."""
    began = time.monotonic()
    commands = {}
    source = ""
    for host in cluster.hosts if hosts is None else hosts:
        commands[host.name], source = shipped("collector", questions(cluster, host))
    answers = fleet.run_all(commands, source, ANSWER_SECONDS)
    seen = {name: view_of(answer) for name, answer in sorted(answers.items())}
    return ClusterView(seen, time.monotonic() - began)


def view_of(answer: CommandResult) -> HostView:
    """What a collector's answer says."""
    if answer.ok:
        return host_view(answer.host, answer.output, answer.at)
    why = answer.problem if answer.code is None else f"what was asked of it failed: {answer.problem or answer.code}"
    return no_answer(answer.host, why)
