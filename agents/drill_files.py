"""What a drill reads and what it leaves: what the deploy has written for its host, what an operator asks for, and the results."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from cluster.drill import Contents, contents_of

FORMAT = "pgquorum drill 1"
MOST_RESULTS = 100  # files are kept, the newest
DAY = 86_400.0
ORDER_SECONDS = 600  # between an order and its drill lies no more than the time of a command


@dataclass(frozen=True)
class Plan:
    """What the deploy has written for this host: `directory` is for the copy and the results, `config` pgBackRest's file and
    `include` the directory of what is read with it, `runtime` a directory that ends with the unit; `repositories`: by name, the
    number by which pgBackRest knows each. `proven_days`: `status` complains of one in which no backup was proven for so long."""

    cluster: str
    host: str
    binaries: str
    directory: str
    config: str
    include: str
    runtime: str
    repositories: dict[str, int] = field(default_factory=dict)
    proven_days: int | None = None

    @property
    def backrest(self) -> list[str]:
        """pgBackRest, which is not to be in the way of a backup's lock."""
        return [*self.reading, f"--lock-path={self.runtime}"]

    @property
    def reading(self) -> list[str]:
        """The same for repo-ls and repo-get, which know of no lock."""
        named = [f"--config={self.config}", f"--config-include-path={self.include}"]
        return ["pgbackrest", f"--stanza={self.cluster}", *named, "--log-level-console=off", "--log-level-stderr=warn"]

    @classmethod
    def read(cls, file: str) -> Plan:
        """Raises OSError, and ValueError or TypeError for a file that is none of the deploy's."""
        return cls(**json.loads(Path(file).read_text(encoding="utf-8")))

    @property
    def copy(self) -> Path:
        return Path(self.directory) / "copy"

    @property
    def results(self) -> Path:
        return Path(self.directory) / "results"

    @property
    def order(self) -> Path:
        return Path(self.directory) / "order.json"


@dataclass(frozen=True)
class Order:
    """What is asked for. Without a label: the newest backup of the repository; without a position: to the end of the archive;
    without contents: compared with nobody.

    `replica` is whose `contents` these are, at `lsn` on `timeline`; `marker` the run of two rows of the probe's, the first before
    that moment and the second after it.
    """

    id: str = ""
    backup: str = ""
    repository: str = ""
    lsn: str = ""
    timeline: str = "latest"
    replica: str = ""
    contents: Contents | None = None
    marker: str = ""


@dataclass
class Result:
    """What came of a drill: moments are seconds since 1970, durations seconds, sizes bytes. docs/json.md explains each."""

    cluster: str
    host: str
    id: str
    backup: str = ""
    type: str = ""
    repository: str = ""
    began: float = 0.0
    ended: float = 0.0
    passed: bool = False
    failures: list[str] = field(default_factory=list)
    size: int | None = None
    restore_seconds: float | None = None
    rate: float | None = None
    recovery_seconds: float | None = None
    rto: float | None = None
    target: str | None = None
    timeline: str | None = None
    archived_to: str | None = None  # the last file that was archived when this began
    recovered_to: str | None = None
    newest_transaction: str | None = None
    amcheck_seconds: float | None = None
    amcheck_complaints: list[str] | None = None
    checksums_seconds: float | None = None
    blocks: int | None = None
    bad_blocks: int | None = None
    compared: dict[str, Any] | None = None
    # What `invoke backup.drill` knows of the cluster's side, and adds.
    paused_seconds: float | None = None
    rpo: float | None = None


def take_order(plan: Plan) -> Order:
    """What `invoke backup.drill` has left, once. One that nobody has begun a drill for is no order any more."""
    try:
        age = time.time() - plan.order.stat().st_mtime
        text = plan.order.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Order()
    plan.order.unlink()
    if age > ORDER_SECONDS:
        return Order()
    said = json.loads(text)
    contents = None if said.get("contents") is None else contents_of(said["contents"])
    return Order(**{**said, "contents": contents})


def keep(plan: Plan, result: Result) -> None:
    """Writes the result in one step, and lets go of the oldest."""
    plan.results.mkdir(mode=0o700, exist_ok=True)
    file = plan.results / f"{int(result.began)}-{result.backup or 'none'}.json"
    half = file.with_suffix(".half")
    half.write_text(json.dumps({"format": FORMAT, **asdict(result)}, indent=2) + "\n", encoding="utf-8")
    half.replace(file)
    for old in sorted(plan.results.glob("*.json"))[:-MOST_RESULTS]:
        old.unlink()


def turns(plan: Plan, now: float) -> list[tuple[str, bool]]:
    """The repositories by name, the one of which the last drill is the longest ago first; and whether one is due in this run of
    the timer's: of the first, and of each other one of which the last is so long ago that it would be too long by its turn. An
    empty name is the only one there is."""
    last = dict.fromkeys(plan.repositories or {"": 1}, 0.0)
    for file in plan.results.glob("*.json") if plan.results.is_dir() else ():
        said = json.loads(file.read_text(encoding="utf-8"))
        name = said.get("repository", "")
        if name in last:
            last[name] = max(last[name], float(said["ended"]))
    # Half of it: what is younger than that now is drilled in time if there are as many drills in the other half.
    most = None if plan.proven_days is None else plan.proven_days * DAY / 2
    longest_ago_first = sorted(last, key=lambda name: last[name])
    return [(name, not n or (most is not None and now - last[name] > most)) for n, name in enumerate(longest_ago_first)]
