"""The protocol of protocol.py, in whatever order Hypothesis thinks of: nobody is promoted without every acknowledged write.

`make prove` takes more examples (PGQUORUM_EXAMPLES); what a test run takes is always the same.
"""

from __future__ import annotations

import logging
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from protocol import Variant, World

EXAMPLES = int(os.environ.get("PGQUORUM_EXAMPLES", "0"))


class Machine(RuleBasedStateMachine):
    """Most rules take several steps that often follow each other, and half of the time stop after any of them: so a few dozen
    rules are several terms of a cluster. What was begun is continued, if at all, by a later rule."""

    hosts = 3
    variant = Variant()

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.hosts, self.variant)

    @invariant()
    def whoever_was_promoted_had_every_acknowledged_write(self) -> None:
        assert not self.world.lost

    @invariant()
    def no_former_primary_acknowledges(self) -> None:
        assert self.variant.zombie or not self.world.split

    def chosen(self, data: st.DataObject, *steps: str) -> str | None:
        """A server for which one of these steps is possible."""
        servers = [name for name in self.world.servers if any(self.world.can(one, name) for one in steps)]
        return data.draw(st.sampled_from(servers)) if servers else None

    def go(self, data: st.DataObject, *steps: tuple[str, str | None]) -> None:
        """These steps in their order, without those that are not possible, and maybe not to the end."""
        until = data.draw(st.sampled_from((len(steps), *range(len(steps)))))
        for step, server in steps[: until if data.draw(st.booleans()) else len(steps)]:
            if server and self.world.can(step, server):
                getattr(self.world, step)(server)

    def round(self, data: st.DataObject) -> list[tuple[str, str | None]]:
        """Of the primary's Patroni."""
        primary = self.chosen(data, "look")
        return [(step, primary) for step in ("look", "apply", "apply", "apply", "write_history")]

    @rule(data=st.data())
    def serve(self, data: st.DataObject) -> None:
        """A write, and one replica that catches up and says so."""
        primary, replica = self.chosen(data, "write"), self.chosen(data, "receive", "report", "cut")
        self.go(data, ("write", primary), *[("receive", replica)] * 4, ("report", replica))

    @rule(data=st.data(), how=st.sampled_from(["crash", "cut", "leave"]))
    def depart(self, data: st.DataObject, how: str) -> None:
        self.go(data, (how, self.chosen(data, how)), *self.round(data))

    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        name = self.chosen(data, "restart", "demote", "follow")
        steps = ("restart", "demote", "follow", "receive", "receive", "receive", "receive", "report")
        self.go(data, *((step, name) for step in steps), *self.round(data))

    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        primary = self.chosen(data, "measure", "see", "judge", "confirm")
        self.go(data, *((step, primary) for step in ("measure", "see", "measure", "judge", "confirm")))

    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        if self.world.etcd.leader:
            self.world.expire(self.world.etcd.leader)
        name = self.chosen(data, "take", "read", "ask", "decide", "promote")
        self.go(data, *((step, name) for step in ("take", "read", "ask", "decide", "promote")))

    @rule(data=st.data())
    def any_step(self, data: st.DataObject) -> None:
        kinds = ("replication", "network", "failure", "patroni", "agent", "failover", "gate", "etcd")
        if possible := self.world.possible(data.draw(st.sampled_from(kinds))):
            step, server = data.draw(st.sampled_from(possible))
            getattr(self.world, step)(server)


def search(hosts: int, variant: Variant, examples: int, steps: int = 40) -> None:
    machine = type("Machine", (Machine,), {"hosts": hosts, "variant": variant})
    profile = settings(
        max_examples=EXAMPLES or examples,
        stateful_step_count=steps,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=profile)


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    """The resolver warns of every state that it repairs."""
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("hosts", "variant"),
    [
        (3, Variant()),
        (3, Variant(strict=True)),
        (3, Variant(zombie=True)),
        (5, Variant()),
        (5, Variant(wanted=2)),
        (5, Variant(wanted=2, zombie=True)),
    ],
    ids=str,
)
def test_whoever_is_promoted_has_every_acknowledged_write(hosts: int, variant: Variant) -> None:
    search(hosts, variant, 60)
