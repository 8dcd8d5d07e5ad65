"""One look at every host before anything is touched."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

import gevent
from pyinfra.api import FactBase, State, StringCommand
from pyinfra.context import ctx_host, ctx_state

from agents.sent import shipped
from cluster import preloaded
from cluster.dynamic_config import postgres_parameters
from cluster.shared import dial_command
from cluster.survey import HostSurvey, parse_survey, survey_command
from cluster.topology import Cluster
from health.preflight import HostProbe, parse_probe, probe_question
from health.questions import judge_question
from health.reading import refusals


class Survey(FactBase[HostSurvey]):
    """A HostSurvey of the host."""

    def command(self, command: str) -> str:
        return command

    def process(self, output: list[str]) -> HostSurvey:
        return parse_survey(output, time.time())


def survey_hosts(state: State, cluster: Cluster) -> dict[str, HostSurvey]:
    """The survey of every host of this run by name."""
    answers = ask_all(state, state.active_hosts, lambda one: one.get_fact(Survey, command=survey_command(cluster)))
    return {name: survey or HostSurvey(uid=-1) for name, survey in answers.items()}


def probe_hosts(state: State, cluster: Cluster, names: set[str]) -> dict[str, HostProbe]:
    """What the probe of the preflight saw on the named hosts; those where it can't run (no python3 yet) are left out."""

    def probe(one: Any) -> HostProbe | None:
        command, source = shipped("probe", probe_question(cluster, cluster.host(one.name)))
        _, output = one.run_shell_command(StringCommand(command), _stdin=source, _sudo=one.data._sudo)
        try:
            return parse_probe(cluster, cluster.host(one.name), output.stdout)
        except ValueError:
            return None

    answers = ask_all(state, [one for one in state.active_hosts if one.name in names], probe)
    return {name: seen for name, seen in answers.items() if seen}


def answering(state: State, cluster: Cluster, names: Collection[str]) -> set[str]:
    """Those of the named hosts, which this run leaves out, that answer any of its hosts."""

    def dial(one: Any) -> list[str]:
        command = dial_command(cluster, cluster.host(one.name), names)
        return one.run_shell_command(StringCommand(command))[1].stdout_lines if command else []

    return {name for answers in ask_all(state, state.active_hosts, dial).values() for name in answers} & set(names)


def judge_hosts(state: State, cluster: Cluster, names: set[str]) -> list[str]:
    """Why PostgreSQL would not start with the cluster's parameters on the named hosts, which have its program and data."""
    answers = ask_all(state, [one for one in state.active_hosts if one.name in names], lambda one: judge_host(one, cluster))
    return [f"{name}: {sentence}" for name, sentences in answers.items() for sentence in sentences]


def judge_host(one: Any, cluster: Cluster) -> list[str]:
    """The same for one host, without its name."""
    command, source = shipped("judge", judge_question(cluster))
    given = f"{source}{json.dumps(postgres_parameters(cluster))}\n"
    _, output = one.run_shell_command(StringCommand(command), _stdin=given, _sudo=one.data.get("_sudo", False))
    missing = one.run_shell_command(StringCommand(files))[1].stdout_lines if (files := preloaded.command(cluster)) else []
    return [*refusals(output.stdout if output.stdout.strip() else output.stderr), *preloaded.problems(cluster, missing)]


def ask_all(state: State, hosts: Iterable[Any], question: Callable[[Any], Any]) -> dict[str, Any]:
    """The answers of hosts that are all asked at once, by name."""

    def ask(one: Any) -> Any:
        with ctx_state.use(state), ctx_host.use(one):
            return question(one)

    # Not from pyinfra's own pool: whoever calls this already holds a place in it.
    asked = {one.name: gevent.spawn(ask, one) for one in sorted(hosts, key=lambda h: h.name)}
    gevent.joinall(asked.values(), raise_error=True)
    return {name: greenlet.value for name, greenlet in asked.items()}
