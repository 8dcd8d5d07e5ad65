"""What the machine remembers of its labs, and the locks that keep two commands from working on the same thing."""

import dataclasses
import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from lab.command import LabError
from lab.spec import LabSpec

LABS = Path("/var/lib/pgquorum-lab")
IMAGES = Path("/var/cache/pgquorum-lab")
LOCKS = Path("/run/lock")


@dataclass(frozen=True)
class State:
    """One lab: what it is, which checkout it belongs to, and the images that its disks lie over, by suite."""

    spec: LabSpec
    owner: Path
    images: dict[str, str]

    def save(self) -> None:
        """Write it to the lab's directory, whole or not at all."""
        folder = directory(self.spec.name)
        folder.mkdir(parents=True, exist_ok=True)
        spec = dataclasses.asdict(self.spec)
        # Not in `spec`: an older checkout, which does not know it, would take the lab for none, and its image for one to remove.
        backup = spec.pop("backup")
        known = {"spec": spec, "backup": backup, "owner": str(self.owner), "images": self.images}
        text = json.dumps(known, indent=2)
        write_whole(folder / "state.json", text + "\n", 0o644)


def directory(lab: str) -> Path:
    """Where a lab's disks and state are."""
    return LABS / lab


def load(lab: str) -> State | None:
    """The state of a lab; None if there is no such lab, or what is left of it cannot be read as one."""
    try:
        raw = json.loads((directory(lab) / "state.json").read_text())
        spec = LabSpec(**raw["spec"], backup=raw.get("backup", False))
        images = raw["images"] if "images" in raw else {spec.suite: raw["image"]}  # 0.1.0 knew labs of one release alone
        return State(spec, Path(raw["owner"]), {suite: str(images[suite]) for suite in spec.suites})
    except (FileNotFoundError, ValueError, KeyError, TypeError, LabError):
        return None


def labs() -> list[str]:
    """The names of all labs that have a directory."""
    return sorted(path.name for path in LABS.iterdir() if path.is_dir()) if LABS.is_dir() else []


def write_whole(path: Path, text: str, mode: int) -> None:
    """Write a file so that nobody ever sees half of it, or sees it with another mode."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
    draft.rename(path)


@contextmanager
def locked(what: str, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of that name. Says so if another command holds it, and waits for it."""
    with _lock_file(what) as file:
        if not _try_lock(file):
            say(f"another command is at work on {what}: waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def at_work(what: str) -> bool:
    """Whether another command holds the lock of that name now."""
    with _lock_file(what) as file:
        return not _try_lock(file)


def _lock_file(what: str) -> TextIO:
    return (LOCKS / f"pgquorum-lab.{what.replace(' ', '-')}").open("a")


def _try_lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
