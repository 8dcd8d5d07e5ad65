"""Asks the servers that run, before anything is changed, whether slots of the settings are there as other ones."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from pyinfra.api import State, StringCommand

from cluster.databases import SLOTS_QUERY, slot_problems
from cluster.topology import Cluster

from .databases import psql
from .survey import ask_all


def problems(state: State, cluster: Cluster, names: Collection[str]) -> list[str]:
    """What is wrong with slots on the named hosts, a sentence each; nothing of one whose PostgreSQL does not answer."""
    command = psql(cluster.postgres.port, "-At", "-c", " ".join(SLOTS_QUERY.split()))

    def ask(one: Any) -> list[str]:
        _, output = one.run_shell_command(StringCommand(f"{command} 2>/dev/null"), _sudo=one.data.get("_sudo", False))
        return list(slot_problems(cluster, json.loads(output.stdout or "[]")))

    hosts = [one for one in state.active_hosts if one.name in names] if cluster.postgres.slots else []
    return [f"{name}: {sentence}" for name, sentences in ask_all(state, hosts, ask).items() for sentence in sentences]
