"""Ends a run: a Refusal before anything is touched, a stop in an operation that must not go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pyinfra import host
from pyinfra.api import DeployError, StringCommand

# Why operations have stopped, by host: told when the run ends.
_stopped: dict[str, list[str]] = {}
# What the lock's holder said, by host, where somebody else has the lock.
_locked_out: dict[str, str] = {}


class Refusal(DeployError):
    """Stops the run. It is the user's to mend: pyinfra, which tells where in the code an error arose, finds no place."""

    __traceback__ = property(lambda self: None, lambda self, value: None)


def refusal(heading: str, problems: Iterable[str] = ()) -> Refusal:
    """A Refusal with one line a problem."""
    return Refusal("\n".join([heading, *(f"  - {problem}" for problem in problems)]))


def stop(heading: str, problems: Iterable[str] = ()) -> Iterator[StringCommand]:
    """To `yield from` in an operation that must not go on: fails as a command does, which ends the run with these words.

    An exception would end it too, but with a traceback.
    """
    _stopped[host.name] = [heading, *(f"  {problem}" for problem in problems)]
    yield StringCommand("false")


def why_stopped(name: str) -> list[str]:
    """The words with which an operation has stopped on a host; none where none has."""
    return _stopped.get(name, [])


def lock_out(answer: str) -> Iterator[StringCommand]:
    """As `stop`, where the cluster's lock is not to be had: `answer` is the first line of who should hold it."""
    _locked_out[host.name] = answer
    yield StringCommand("false")


def locked_out(names: Iterable[str]) -> dict[str, list[str]]:
    """Those of the named hosts on which the lock was not to be had, by what was answered there."""
    found: dict[str, list[str]] = {}
    for name in names:
        if name in _locked_out:
            found.setdefault(_locked_out[name], []).append(name)
    return found
