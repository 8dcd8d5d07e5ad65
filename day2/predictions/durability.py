"""What an acknowledged write survives on the cluster as it runs: what faults are predicted by. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Durability:
    """`name`: of group_data's `durability`. `waits`: writes wait while no replica is there, rather than go on without.
    `replicas`: how many there are when all is well."""

    name: str
    waits: bool
    replicas: int

    @property
    def asynchronous(self) -> bool:
        """Whether no write waits for a replica."""
        return self.name == "asynchronous"

    @property
    def of_all(self) -> bool:
        """Whether writes wait for every replica."""
        return self.name == "all"

    def stops(self, left: int) -> bool:
        """Whether writes stop for good where `left` replicas are left."""
        return not self.asynchronous and self.waits and left == 0
