"""What holds the phases of a deploy together: the lock, the barriers, and saving new secrets."""

from __future__ import annotations

from collections.abc import Generator
from typing import IO, Any

import gevent
from pyinfra import host, state
from pyinfra.api import StringCommand, operation

from cluster import lock
from cluster.errors import ClusterError
from cluster.survey import survey_command

from .context import Run
from .refusal import lock_out, stop
from .survey import Survey

ANSWER_SECONDS = 20
# The channels that hold the lock: they live until this process ends.
_held: list[tuple[Any, ...]] = []


@operation()
def barrier() -> Generator[StringCommand]:
    """Ends a phase: no host goes on before all have come here.

    pyinfra orders operations of disjoint groups by their lines and would start PostgreSQL on one group while another still
    lacks etcd. An operation that every host calls ties the orders together. It does nothing and counts as no change.
    """
    yield from ()


@operation()
def take_lock(run: Run) -> Generator[StringCommand]:
    """Keeps everybody else from changing this cluster until this process ends (cluster/lock.py)."""
    if not state.is_executing or host.connector_cls.__name__ != "SSHConnector":
        return
    answer = _hold_lock("deploy")
    if answer != lock.HELD:
        yield from lock_out(answer)


@operation()
def confirm(run: Run) -> Generator[StringCommand]:
    """With the lock held: stops when another run has deployed between this run's survey and its lock, else keeps new secrets.

    Secrets made for hosts that were blank a minute ago must not be laid over those of a cluster that lives now, nor what this
    version writes over what a newer one has just written.
    """
    if not state.is_executing:
        return
    survey = host.get_fact(Survey, command=survey_command(run.cluster))
    before = run.surveys[host.name]
    if survey is not None and (survey.marker, survey.layout) != (before.marker, before.layout):
        yield from stop("another run has deployed here meanwhile: run again")
        return
    try:
        run.vault.save()
    except ClusterError as error:
        yield from stop(str(error))


def _hold_lock(doing: str) -> str:
    """Opens the channel that holds the lock on this host; returns the holder's first line."""
    command = lock.holder_command(lock.owner(doing))
    if host.data.get("_sudo"):
        command = f"sudo -n {command}"
    connector: Any = host.connector  # the one for SSH, which has paramiko's client
    stdin, stdout, _ = connector.client.exec_command(command, timeout=ANSWER_SECONDS)
    try:
        answer: str = stdout.readline().strip()
    except TimeoutError:
        return "no answer"
    if answer == lock.HELD:
        _held.append((stdin, stdout, gevent.spawn(_heartbeat, stdin)))
    return answer


def _heartbeat(stdin: IO[str]) -> None:
    while True:
        gevent.sleep(lock.HEARTBEAT_SECONDS)
        stdin.write("\n")
        stdin.flush()
