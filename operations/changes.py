"""What a deploy says of what it changes: before it does (--dry), while it does, and in the end.

pyinfra's own output has a line for each operation on each host, and tables of them all; most of them change nothing. With -v
it is there. Without, only warnings, errors and what operations say of themselves get through.

pyinfra_cli, which changes the sockets of its process when it is imported, is imported where it is needed: not by a test.
"""

from __future__ import annotations

import atexit
import logging
import sys
from typing import Any

import gevent
from pyinfra import logger
from pyinfra.api import State
from pyinfra.api.state import BaseStateCallback, StateStage

# An operation that takes longer says that it goes on: somebody waits for it.
SLOW_SECONDS = 3
_slow: dict[str, gevent.Greenlet] = {}

# Of each operation its name, and the hosts on which it changes something.
Operations = list[tuple[str, list[str]]]


def tell_changes_only() -> None:
    """From now on pyinfra itself says nothing of what goes well."""
    import pyinfra_cli.cli

    logger.addFilter(_worth_telling)
    pyinfra_cli.cli.print_meta = lambda state: _say(proposed(_planned(state), _left_out(state)))


def tell_changes(state: State) -> None:
    """Says what a run changes: while it goes on, where pyinfra itself does not, and when it has come to its end."""
    if _worth_telling in logger.filters:
        state.add_callback_handler(Telling())
    ended = StateStage.Disconnect
    atexit.register(lambda: _say(changes(_done(state), _left_out(state))) if state.current_stage == ended else None)


def _worth_telling(record: logging.LogRecord) -> bool:
    """Whether a record is a warning, an error, or what an operation says by host.log()."""
    return record.levelno > logging.INFO or record.funcName == "log"


class Telling(BaseStateCallback):
    """Says of each operation where it has changed something, once all hosts are through with it."""

    @staticmethod
    def operation_start(state: State, op_hash: str) -> None:
        (name,) = state.get_op_meta(op_hash).names
        _slow[op_hash] = gevent.spawn_later(SLOW_SECONDS, _say, [f"  {name} ..."])

    @staticmethod
    def operation_end(state: State, op_hash: str) -> None:
        _slow.pop(op_hash).kill()
        _say(_lines(_done(state, op_hash)))


def proposed(operations: Operations, left_out: list[str]) -> list[str]:
    """What would be changed, an operation a line; `left_out` are the hosts that were not looked at."""
    lines = _lines(operations)
    return ["would be changed:", *lines] if lines else [f"nothing would be changed: {_as_settings_say(left_out)}"]


def changes(operations: Operations, left_out: list[str]) -> list[str]:
    """How much was changed, and by which operations, a host a line."""
    by_host: dict[str, list[str]] = {}
    for operation, hosts in operations:
        for name in hosts:
            by_host.setdefault(name, []).append(operation)
    if not by_host:
        return [f"nothing was changed: {_as_settings_say(left_out)}"]
    return ["changed:", *(f"  {name}: {len(done)}: {', '.join(done)}" for name, done in sorted(by_host.items()))]


def _as_settings_say(left_out: list[str]) -> str:
    looked_at = f"what was looked at, not {', '.join(left_out)}," if left_out else "all"
    return f"{looked_at} is as the settings say"


def _left_out(state: State) -> list[str]:
    """The hosts that --limit or --exclude has left out."""
    return sorted(host.name for host in state.inventory if not state.is_host_in_limit(host))


def _lines(operations: Operations) -> list[str]:
    return [f"  {name}: {', '.join(hosts)}" for name, hosts in operations if hosts]


def _planned(state: State) -> Operations:
    from pyinfra_cli.prints import build_plan_json

    return [(operation["name"], operation["hosts_with_change"]) for operation in build_plan_json(state)]


def _done(state: State, op_hash: str = "") -> Operations:
    """The operations that were run, each with the hosts where it changed something; of `op_hash` alone where one is given."""
    from pyinfra_cli.prints import build_results_json

    results: list[dict[str, Any]] = build_results_json(state)["operations"]
    return [(one["name"], one["success"]) for one in results if op_hash in ("", one["op_hash"])]


def _say(lines: list[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr)
