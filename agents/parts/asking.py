"""How the parts ask: a program, and a file that anybody may have written."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

SECONDS = 1.2  # for one answer
MOST_OF_A_NOTE = 65_536  # bytes


def run(*command: str, given: str = "") -> str:
    """What a program prints, given this as its input. Raises OSError with its first line where it fails."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=SECONDS + 1, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise OSError(said[0] if said else f"{command[0]} exited with {done.returncode}")
    return done.stdout


def note(path: Path) -> Any:
    """What stands in a file of JSON that a service's user wrote. Raises OSError and ValueError."""
    return json.loads(plain(path))


def plain(path: Path) -> str:
    """What stands in a file that a service's user wrote. It could have put anything there: of a plain file so much is read as a
    note may have, and nothing else. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, encoding="utf-8") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no plain file")
        return file.read(MOST_OF_A_NOTE)
