"""A clone: the cluster as it was at a moment, restored beside it for a look at the past, with a PostgreSQL on it for nobody else.

Run by pgquorum-backup-clone.service, which `invoke backup.clone` begins, on the host that keeps the backups and as their user. It
stays until it is stopped; whoever removes the clone deletes its directory then. `about.json` in there says what it is of, and how
far it is.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from agents.drill import NEWEST, PORT, say
from agents.drill_files import Plan
from agents.recovery import Place, PrivateServer, RecoveryError, Target, restore_environment, restore_options, run

FORMAT = "pgquorum clone 1"


@dataclass
class About:
    """What is asked for: `to`, as it was typed, and what PostgreSQL is told of that (`kind`, `value`); the `backup` (its label)
    of which repository, and the `timeline`. `began`, `ready`: seconds since 1970, the second when the server answers. `newest`:
    when the last transaction was committed that is there. `problem`: why there is no server."""

    to: str
    kind: str
    value: str
    backup: str
    repository: str
    timeline: str
    began: float
    ready: float | None = None
    newest: str | None = None
    problem: str = ""


def place_of(plan: Plan) -> Path:
    """The directory of a clone on the host."""
    return Path(plan.directory) / "clone"


def main(plan: Plan) -> int:
    """0 when it was stopped, 1 where there is no clone, which is noted."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    file = place_of(plan) / "about.json"
    said = json.loads(file.read_text(encoding="utf-8"))
    said.pop("format")
    about = replace(About(**said), problem="")
    with suppress(KeyboardInterrupt):
        try:
            make(plan, about, file)
        except (RecoveryError, OSError) as error:
            say(f"ERROR: {error}")
            note(file, replace(about, problem=str(error)))
            return 1
    return 0


def make(plan: Plan, about: About, file: Path) -> None:
    """Makes it, and raises RecoveryError when its server has ended, or there is none; then nothing of the data is left."""
    # As systemd has made it for this unit: short, and nobody else's.
    place = Place(file.parent / "data", file.parent / "tablespaces", Path(os.environ["RUNTIME_DIRECTORY"]), PORT)
    for directory in (place.data, place.tablespaces):
        directory.mkdir(mode=0o700)  # what is there already is of one that has ended
    try:
        restore(plan, about, file, place)
    except (RecoveryError, OSError):
        # Before it is noted: it may have been for want of room, which archiving needs on the same disk.
        for directory in (place.data, place.tablespaces):
            shutil.rmtree(directory)
        raise


def restore(plan: Plan, about: About, file: Path, place: Place) -> None:
    """Restores and recovers it. Raises RecoveryError when its server has ended, or there is none."""
    target = Target(timeline=about.timeline, kind=about.kind, value=about.value)
    number = plan.repositories[about.repository]
    backrest = replace(plan, runtime=str(place.sockets)).backrest
    say(f"restoring {about.backup}")
    processes = max(1, (os.cpu_count() or 1) // 2)
    options = restore_options(place, about.backup, target, processes)
    run([*backrest, f"--repo={number}", *options, "restore"], restore_environment(place))
    say(f"recovering to {about.to}")
    server = PrivateServer(plan.binaries, place)
    try:
        server.start()
        server.await_recovered()
        note(file, replace(about, ready=time.time(), newest=server.ask(NEWEST) or None))
        say(f"PostgreSQL answers, at {about.to}")
        server.await_end()
    finally:
        server.stop()
    raise RecoveryError(f"its PostgreSQL has ended: {server.last_words()}")


def note(file: Path, about: About) -> None:
    """Writes it in one step."""
    half = file.with_suffix(".half")
    half.write_text(json.dumps(document(about), indent=2) + "\n", encoding="utf-8")
    half.replace(file)


def document(about: About) -> dict[str, Any]:
    return {"format": FORMAT, **asdict(about)}
