"""What should come of a fault: predicted before it is injected, and what the trial is judged by. Pure; durations in seconds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum

# How much later writes through pools go on: PgBouncer tries again a second after a connection of its own has failed
# (server_login_retry, templates/pgbouncer), and those that it opens then all have to log in.
POOLED_SECONDS = 3.0
# What a trial takes beside its fault: writers that warm up, healing, and a replica that streams again. As in docs/soaks.
AROUND_SECONDS = 20


class Effect(Enum):
    """What writers should see of a fault."""

    FAILS_OVER = "fails over"  # another host becomes the primary, and writes go on there
    KEEPS_RUNNING = "keeps running"  # the primary stays
    STOPS = "stops writes until healed"  # nobody may take writes: better none than two
    ANY = "any of these"  # healed at a random moment: only what holds in every case is judged


@dataclass(frozen=True)
class Prediction:
    """`within`: the longest write gap there should be; where writes stop until healed, counted from the end of healing.

    `hold`: how long the fault lasts before it is healed, where nothing else ends the wait. `may_lose`: the durability that
    was chosen allows acknowledged writes to be lost by this. `phases`: for steps of what follows, by key (KEYS in
    day2/trials/timeline.py), the earliest and latest second after the fault. `why`: one sentence for a person.
    `unnoticed`: clients of pools wait, and none of their writes fails.
    `unread`: another one, why reads may find no server, and until when; empty where they always should.
    """

    effect: Effect
    within: float
    why: str
    hold: float = 0.0
    may_lose: bool = False
    phases: dict[str, tuple[float, float]] | None = None
    unread: str = ""
    unnoticed: bool = False

    @property
    def trial_seconds(self) -> float:
        """About how long a trial takes, from its writers' first write until the cluster is healthy again."""
        return self.hold + self.within + AROUND_SECONDS

    def pooled(self) -> Prediction:
        """The same for writers that come through pools."""
        if self.unnoticed:
            return self
        return replace(self, within=self.within + POOLED_SECONDS, why=f"{self.why}; then PgBouncer connects anew")

    def describe(self) -> str:
        """`fails over within 22.5 s`."""
        if self.effect is Effect.STOPS:
            return f"{self.effect.value}, then goes on within {self.within:.1f} s"
        if self.effect is Effect.ANY:
            return "is healthy again after healing, and nothing is lost"
        return f"{self.effect.value}, writes stop for {self.within:.1f} s at most"
