"""How a run ends that fails: with the reason as the last thing that is said.

pyinfra itself would end with how many percent of the hosts have failed, and on a terminal ask whether to go on without them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from gevent.hub import Hub
from pyinfra.api import State
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.state import StateStage

from cluster import lock

from .connections import why_lost, why_unreached
from .refusal import Refusal, locked_out, refusal, why_stopped

# Of what a command wrote before it failed.
LAST_LINES = 3
# What systemd itself writes into the journal of a unit, and with which words it begins.
OF_SYSTEMD = re.compile(r"^\S+ \S+ systemd\[1\]: (?P<begins>Starting |Started |Reloading )?")


def end_in_words() -> None:
    """From now on, the first failure of any host ends the run with the reason."""
    # Of a question that a host does not answer while an operation runs: gevent would print where in the code that ended.
    Hub.NOT_ERROR = (*Hub.NOT_ERROR, Refusal)
    original: Callable[..., None] = State.fail_hosts

    def fail_hosts(state: State, hosts_to_fail: set[Any], activated_count: int | None = None) -> None:
        state.should_raise_failed_hosts = None  # nobody is asked whether a cluster may be left half deployed
        try:
            original(state, hosts_to_fail, activated_count)
        except PyinfraError:
            raise reason(state, sorted(hosts_to_fail, key=lambda one: one.name)) from None

    State.fail_hosts = fail_hosts  # type: ignore[method-assign]


def reason(state: State, failed: list[Any]) -> Refusal:
    """What to end with when `failed` hosts have."""
    if state.current_stage == StateStage.Connect:
        return unreached([one.name for one in failed])
    if answers := locked_out(one.name for one in failed):  # there is nothing to be mended
        return refusal("\n".join(lock.refusal(", ".join(hosts), answer) for answer, hosts in answers.items()))
    operations = {name for one in failed if (name := _failed_operation(state, one)[0])}
    where = f" at '{' and '.join(sorted(operations))}'" if operations else ""
    lines = [f"{one.name}: {line}" for one in failed for line in _said(state, one)]
    return refusal(f"the deploy stopped{where}; when it is mended, the same command goes on from there:", lines)


def unreached(names: list[str]) -> Refusal:
    """What to end with when the named hosts could not be reached: each reason once, with its hosts."""
    reasons: dict[str, list[str]] = {}
    for name in names:
        reasons.setdefault(why_unreached(name), []).append(name)
    heading = f"{', '.join(names)} can't be reached: nothing was changed. Mend it, or leave it out with --exclude"
    return refusal(heading, [f"{', '.join(hosts)}: {why}" for why, hosts in reasons.items() if why])


def _said(state: State, one: Any) -> Iterator[str]:
    """Why a host failed, a line each."""
    told = why_stopped(one.name) or why_lost(one.name) or last_words(_failed_operation(state, one)[1])
    yield from told or ["what it said stands above"]


def last_words(lines: list[str]) -> list[str]:
    """The last of what a command wrote before it failed. Where that is the journal of a unit, what its program has written since
    it was started last: systemd's own words behind it, that it saw it fail, are no reason."""
    found = [OF_SYSTEMD.match(line) for line in lines]
    begun = max((number for number, one in enumerate(found) if one and one["begins"]), default=len(lines))
    own = [line for line, one in list(zip(lines, found, strict=True))[begun:] if not one]
    return (own or lines)[-LAST_LINES:]


def _failed_operation(state: State, one: Any) -> tuple[str, list[str]]:
    """The name of the operation that failed on a host, and what its commands wrote to standard error."""
    for identity in one.op_hash_order:
        done = state.get_op_data_for_host(one, identity).operation_meta
        if done.is_complete() and done.did_error():
            (name,) = list(state.get_op_meta(identity).names)[:1] or [""]
            return name, [line for line in done.stderr_lines if line.strip()]
    return "", []
