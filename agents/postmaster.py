"""The server that runs on a data directory."""

from __future__ import annotations

import os
from pathlib import Path


def postmaster(data: Path) -> tuple[int, int] | None:
    """Of the process that runs on a data directory, its number and a descriptor that is readable when it has ended; None while
    there is none."""
    try:
        pid = int((data / "postmaster.pid").read_text().split()[0])
        descriptor = os.pidfd_open(pid)
    except (OSError, ValueError, IndexError):
        return None
    try:
        # The file may have been left by a crash, and its number belong to some other process by now.
        if Path(f"/proc/{pid}/cwd").readlink() == data.resolve():
            return pid, descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None
