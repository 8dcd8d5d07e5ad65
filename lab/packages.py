"""The packages that hosts of a stable release get from elsewhere: repositories made once for a release, kept like its image.

What a lab of such a release needs of them is laid into its image, so that a deploy walks the way it walks on people's servers:
a source is added, its key is checked, what is not wanted is kept back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.command import run
from lab.making import ALONE, delete
from lab.state import IMAGES

SCRIPT = Path(__file__).with_name("packages.sh")
# Where they are on a host.
ON_HOST = "/srv/lab"
TOOLS = "build-essential,ca-certificates,fakeroot,gnupg"


@dataclass(frozen=True)
class Stable:
    """A stable release: what the PostgreSQL project appends to versions for it, what hosts may install of its own besides what
    the newest PostgreSQL needs, what `runs` on it as a later release has it, and that release, whose etcd is taken."""

    mark: str
    own: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    later: str = "forky"


STABLE = {
    "bookworm": Stable("pgdg12+1"),  # its C library is too old for forky's pgBackRest
    "trixie": Stable("pgdg13+1", own=("postgresql-17", "postgresql-client-17"), runs=("pgbackrest", "libxml2-16", "pgbouncer")),
}


def name(suite: str) -> str | None:
    """What the repositories for a suite are called: by everything that decides what is in them. None for one without."""
    if suite not in STABLE:
        return None
    stable = STABLE[suite]
    made_by = repr((stable.mark, stable.later, stable.runs, SCRIPT.read_text(), TOOLS))
    return f"packages-{suite}-{hashlib.sha256(made_by.encode()).hexdigest()[:12]}"


def path(suite: str) -> Path | None:
    """Where they are on this machine, as they are to be on a host."""
    called = name(suite)
    return IMAGES / called if called else None


def ensure(suite: str, mirror: str | None, say: Callable[[str], None]) -> None:
    """Make the repositories for a suite unless they are there. The caller holds the lock of the suite's image.

    Raises LabError if they can't be made.
    """
    target = path(suite)
    if target is None or target.is_dir():
        return
    say(f"building packages for {suite} (once; seven minutes on two cores)")
    draft = IMAGES / f"unfinished-packages-{suite}"
    delete(draft)
    draft.mkdir(parents=True)
    stable = STABLE[suite]
    arguments = " ".join((suite, stable.mark, stable.later, *stable.runs))
    command = [
        "mmdebstrap", "--mode=root", "--variant=minbase", "--format=null", f"--include={TOOLS}",
        '--aptopt=APT::Install-Recommends "false"', "--dpkgopt=force-unsafe-io",
        "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
        f"--customize-hook=upload {SCRIPT} /packages.sh",
        f'--customize-hook=chroot "$1" sh /packages.sh {arguments}',
        f"--customize-hook=sync-out {ON_HOST} {draft}",
        suite, "/dev/null", *([mirror] if mirror else []),
    ]  # fmt: skip
    try:
        run("env", f"TMPDIR={IMAGES}", *ALONE, *command)
        draft.rename(target)
        for old in sorted(IMAGES.glob(f"packages-{suite}-*")):  # images have their own copies
            if old != target:
                delete(old)
    finally:
        delete(draft)
