"""The control group of one host: what tells whether its power is on, and what ends all of it at once."""

import os
import time
from contextlib import suppress
from pathlib import Path

from lab.command import LabError

NAME = "pgquorum-lab"
# Seconds that killed processes may take to be gone.
KILL_DEADLINE = 10.0


class Cgroup:
    """A cgroup v2 for one host of one lab. It may not exist; then nothing runs in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, lab: str, host: str) -> "Cgroup":
        """The cgroup of a host. Raises LabError if this machine has no cgroup v2 mounted."""
        return cls(base() / lab / host)

    def populated(self) -> bool:
        """Whether any process lives in it."""
        try:
            return "populated 1" in (self.path / "cgroup.events").read_text()
        except FileNotFoundError:
            return False

    def pids(self) -> list[int]:
        """Every process in it, at any depth."""
        found = []
        for directory, _, _ in os.walk(self.path):
            try:
                found += [int(pid) for pid in Path(directory, "cgroup.procs").read_text().split()]
            except OSError:
                continue  # it went away meanwhile
        return found

    def renew(self) -> None:
        """Put an empty new one in its place: one that was killed once also kills processes of the next boot."""
        self.remove()
        while not self.path.exists():
            with suppress(FileNotFoundError):  # another lab has just removed the empty parent of both
                self.path.mkdir(parents=True)

    def kill(self) -> None:
        """End every process in it with one write, and return when none is left. Raises LabError after 10 s."""
        if not self.path.exists():
            return
        switch = self.path / "cgroup.kill"
        if not switch.exists():
            raise LabError("a lab needs Linux 5.14 or newer: this kernel cannot end a whole cgroup at once (cgroup.kill)")
        switch.write_text("1")
        deadline = time.monotonic() + KILL_DEADLINE
        while self.populated():
            if time.monotonic() > deadline:
                raise LabError(f"killed {KILL_DEADLINE:g} s ago and still there: processes {self.pids()} of {self.path}")
            time.sleep(0.001)

    def remove(self) -> None:
        """Remove it, and the groups above it that are empty then."""
        for directory, _, _ in os.walk(self.path, topdown=False):
            Path(directory).rmdir()
        for above in (self.path.parent, self.path.parent.parent):
            try:
                above.rmdir()
            except OSError:
                return


def base() -> Path:
    """The cgroup that has one for each lab."""
    return mount_point(Path("/proc/self/mountinfo").read_text()) / NAME


def mount_point(mountinfo: str) -> Path:
    """Where cgroup v2 is mounted, given /proc/self/mountinfo. Raises LabError if nowhere."""
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(" - ")
        if source.startswith("cgroup2 "):
            return Path(mount.split()[4])
    raise LabError("no cgroup v2 is mounted on this machine; mount one anywhere: mount -t cgroup2 cgroup2 DIRECTORY")
