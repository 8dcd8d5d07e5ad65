"""Asks the servers that run, before anything is changed, how many sessions they take.

What is raised in the settings holds when PostgreSQL has been restarted. Until then limits that are made of it have to leave room
in what there is: one role could else take all, and nobody would get in any more.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from pyinfra.api import State, StringCommand

from cluster.topology import Cluster, Sessions

from .context import warn
from .databases import psql
from .survey import ask_all

QUERY = (
    "select current_setting('max_connections'), current_setting('max_connections')::int"
    " - current_setting('superuser_reserved_connections')::int - current_setting('reserved_connections')::int"
)


def as_it_runs(state: State, cluster: Cluster, names: Collection[str]) -> Cluster:
    """The cluster with the room that there is until PostgreSQL on the named hosts has been restarted; the user is told where that
    is less than the settings say. One that does not answer will start with the settings."""
    command = psql(cluster.postgres.port, "-At", "-F", " ", "-c", QUERY)

    def ask(one: Any) -> Sessions | None:
        _, output = one.run_shell_command(StringCommand(f"{command} 2>/dev/null"), _sudo=one.data.get("_sudo", False))
        said = output.stdout.split()
        return Sessions(*map(int, said)) if len(said) == 2 else None

    answers = ask_all(state, [one for one in state.active_hosts if one.name in names], ask)
    less = {
        name: said
        for name, said in answers.items()
        if said and (said.all < cluster.sessions or said.for_applications < cluster.for_applications)
    }
    if not less:
        return cluster
    fewest = Sessions(min(one.all for one in less.values()), min(one.for_applications for one in less.values()))
    warn(
        f"PostgreSQL on {', '.join(sorted(less))} has {fewest.for_applications} connections for applications until `invoke"
        f" rolling-restart` (or as long as ALTER SYSTEM says so there), and {cluster.for_applications} after it: what is made of"
        " that (limits of roles without a connection_limit, pools, the packet filter, HAProxy) keeps to what there is; deploy"
        " again after the restart"
    )
    return replace(cluster, running=fewest)
