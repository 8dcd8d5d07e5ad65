"""What happens to the cluster of protocol.py, in pieces large enough that a few dozen of them are several terms.

A move takes steps that often follow each other, and half of the time stops after any of them. What was begun is continued, if at
all, by a later move. `pick` decides whatever is to be decided: a test's Hypothesis, or a random number.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from protocol import Variant, World

Pick = Callable[[Sequence[Any]], Any]
Steps = list[tuple[str, str | None]]
KINDS = ("replication", "network", "failure", "patroni", "agent", "failover", "gate", "etcd")


class Moves:
    def __init__(self, world: World, pick: Pick) -> None:
        self.world = world
        self.pick = pick
        self.taken: list[tuple[str, str]] = []

    def one(self, step: str, server: str) -> None:
        self.taken.append((step, server))
        getattr(self.world, step)(server)

    def chosen(self, *steps: str) -> str | None:
        """A server for which one of these steps is possible."""
        servers = [name for name in self.world.servers if any(self.world.can(step, name) for step in steps)]
        return self.pick(servers) if servers else None

    def go(self, steps: Steps) -> None:
        """These steps in their order, without those that are not possible, and maybe not to the end."""
        until = self.pick([len(steps)] * len(steps) + list(range(1, len(steps) + 1)))
        for step, server in steps[:until]:
            if server and self.world.can(step, server):
                self.one(step, server)

    def round(self) -> Steps:
        """Of the primary's Patroni."""
        primary = self.chosen("look")
        return [(step, primary) for step in ("look", "apply", "apply", "apply", "write_history")]

    def serve(self) -> None:
        """A write, and one replica that catches up and says so."""
        primary, replica = self.chosen("write"), self.chosen("cut")
        self.go([("write", primary), *[("receive", replica)] * 4, ("report", replica)])

    def depart(self) -> None:
        how = self.pick(("crash", "cut", "leave"))
        self.go([(how, self.chosen("cut")), *self.round()])

    def arrive(self) -> None:
        name = self.chosen("restart", "demote", "catch_up", "follow")
        steps = ("restart", "demote", "catch_up", "follow", *["receive"] * 4, "report")
        self.go([(step, name) for step in steps] + self.round())

    def confirm(self) -> None:
        primary = self.chosen("measure", "see", "judge", "confirm")
        self.go([(step, primary) for step in ("measure", "see", "measure", "judge", "confirm")])

    def succeed(self) -> None:
        """The leader's key goes, and somebody tries to be the next."""
        leader, name = self.world.etcd.leader, self.chosen("receive", "follow", "read", "ask", "decide", "promote", "take")
        self.go([("expire", leader), *((step, name) for step in ("take", "read", "ask", "decide", "promote"))])

    def carry_on(self) -> None:
        """Whoever had stopped half way goes on."""
        steps = ("apply", "apply", "ask", "decide", "promote", "judge", "confirm")
        name = self.chosen(*steps)
        self.go([(step, name) for step in steps])

    def any_step(self) -> None:
        if possible := self.world.possible(self.pick(KINDS)):
            self.one(*self.pick(possible))


MOVES = (Moves.serve, Moves.depart, Moves.arrive, Moves.confirm, Moves.succeed, Moves.carry_on, Moves.any_step)


def walk(seed: int, hosts: int, variant: Variant, length: int = 30) -> tuple[World, list[tuple[str, str]]]:
    """Moves at random; ends early when a write is lost. Returns the world, and the steps that led there."""
    pick = random.Random(seed).choice
    moves = Moves(World(hosts, variant), pick)
    for _ in range(length):
        pick(MOVES)(moves)
        if wrong(moves.world):
            break
    return moves.world, moves.taken


def wrong(world: World) -> bool:
    return bool(world.lost or (world.split and not world.variant.zombie))
