"""Asks before anything is changed: do repositories elsewhere answer and take the key, can all be read on, is none in use?"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pyinfra.api import State, StringCommand

from agents.sent import shipped
from cluster import backup_port
from cluster.stores import asked_of, cipher_problems, used_command, wrong
from cluster.survey import HostSurvey
from cluster.topology import Cluster

from . import pgbackrest
from .context import Run
from .survey import ask_all


def store_problems(state: State, run: Run) -> list[str]:
    """What is wrong with them, a sentence each. One that is as it was deployed is not asked: rules tell of that. Raises
    ClusterError where a key is missing."""
    stores = asked_of(run.cluster, run.vault)
    if not stores:
        return []

    def ask(one: Any) -> list[str]:
        files = {item.path: item.digest for item in pgbackrest.about_repositories(run)}
        command, source = shipped("store", {})
        # Through its input, as the keys are in it. Not a fact: pyinfra prints what those are given.
        given = source + json.dumps({"stores": stores, "files": files})
        worked, output = one.run_shell_command(StringCommand(command), _stdin=given, _sudo=one.data.get("_sudo", False))
        if not worked and "not found" in output.stderr:
            return []  # a host without Python yet: pgBackRest will tell
        return list(wrong(output.stdout, output.stderr))

    keepers = {host.name for host in run.cluster.backup_hosts}
    answers = ask_all(state, [one for one in state.active_hosts if one.name in keepers], ask)
    return [f"{name}: {sentence}" for name, sentences in answers.items() for sentence in sentences]


def broken_off(state: State, cluster: Cluster, surveys: Mapping[str, HostSurvey]) -> list[str]:
    """Which backups and drills of hosts that live a restart of pgBackRest would break off, for which the settings ask."""
    command = backup_port.command(cluster.backup.port)
    living = {host.name for host in cluster.pgbackrest_hosts if surveys.get(host.name, HostSurvey()).belongs_to}

    def ask(one: Any) -> list[str]:
        _, output = one.run_shell_command(StringCommand(command), _sudo=one.data.get("_sudo", False))
        return output.stdout_lines  # type: ignore[no-any-return]

    answers = ask_all(state, [one for one in state.active_hosts if one.name in living], ask)
    return list(backup_port.problems(cluster.backup.port, answers))


def encrypted_otherwise(state: State, cluster: Cluster, directory: str) -> list[str]:
    """Why the password of backups, which is another one now, can't be; nothing where nothing is encrypted with the former one."""
    command = used_command(cluster)

    def ask(one: Any) -> list[str]:
        _, output = one.run_shell_command(StringCommand(command), _sudo=one.data.get("_sudo", False))
        return output.stdout_lines  # type: ignore[no-any-return]

    keepers = {host.name for host in cluster.backup_hosts}
    answers = ask_all(state, [one for one in state.active_hosts if one.name in keepers], ask)
    return list(cipher_problems(cluster, directory, answers))
