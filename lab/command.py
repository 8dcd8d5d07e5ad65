"""Running commands on the machine that carries the lab, and the one error type of the package."""

import subprocess
from collections.abc import Sequence

# Lines of a failed command's output that a message shows.
LAST_WORDS = 15


class LabError(Exception):
    """What went wrong and what to do about it, in one sentence meant for the user. No traceback is needed."""


def run(*argv: str, stdin: str | None = None) -> str:
    """Run a command to its end and return its standard output. Raises LabError with what it said if it fails."""
    done = attempt(*argv, stdin=stdin)
    if done.returncode:
        words = (done.stderr or done.stdout).strip().splitlines()[-LAST_WORDS:] or [f"exit code {done.returncode}"]
        raise LabError(f"`{shown(argv)}` failed: " + "\n  ".join(words))
    return done.stdout


def attempt(*argv: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command whose failure is an answer. Raises LabError only if the program is not there."""
    try:
        return subprocess.run(argv, input=stdin or "", capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise LabError(f"{argv[0]} is not on this machine; `invoke lab.up` installs what a lab needs") from None


def shown(argv: Sequence[str], limit: int = 160) -> str:
    """A command line as text for a message, cut to `limit` characters."""
    line = " ".join(argv)
    return line if len(line) <= limit else line[: limit - 1] + "…"
