"""What the archive of a cluster holds, in each repository: `pgbackrest info`, and the history of each timeline. Runs on the host
that keeps them.

The input is a JSON object with `stanza`, `user` and `repositories`, by name the options by which pgBackRest reads that one. The
answer is one by the same names. Of each: `info`; `histories`, each number of a timeline to the text of its history file and when
that got there (seconds since 1970); and `files`, which files there are (agents/archived.py). Or `problem`, in pgBackRest's words.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from subprocess import PIPE
from typing import Any

from agents import archived

# For all that one repository is asked. A store gives the names of a thousand objects at a time, and a large archive has hundreds
# of thousands: what it has decides where a restore goes, and nobody waits for a screen.
SECONDS = 900
UNSEEN = 99  # pgBackRest's code for a repository that it can't read


def pgbackrest(spec: dict[str, Any], *words: str) -> str:
    """What it prints. Raises OSError, and TimeoutExpired where it has not come to an end at `until`, and then has none of it
    running: what it has begun (pgBackRest's own processes) would hold the connection to the store."""
    command = ["runuser", "-u", spec["user"], "--", "pgbackrest", *spec["options"], *words]
    with subprocess.Popen(command, stdout=PIPE, stderr=PIPE, text=True, start_new_session=True) as process:
        try:
            out, err = process.communicate(timeout=max(0.1, spec["until"] - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        raise OSError(" ".join((err or out).split())[:500] or f"{words[-1]} exited with {process.returncode}")
    return out


def histories(spec: dict[str, Any], place: str) -> dict[int, tuple[str, float]]:
    """The history files in a directory of the archive, by the number of the timeline."""
    listed = json.loads(pgbackrest(spec, "--output=json", r"--filter=\.history$", "repo-ls", place))
    found = {}
    for name, about in listed.items():
        if number := re.fullmatch(r"([0-9A-F]{8})\.history", name):
            text = pgbackrest(spec, f"--stanza={spec['stanza']}", "repo-get", f"{place}/{name}")
            found[int(number[1], 16)] = (text, float(about["time"]))
    return found


def files(spec: dict[str, Any], place: str) -> list[tuple[str, float]]:
    """Every file in a directory of the archive and below: its name, and when it got there."""
    listed = json.loads(pgbackrest(spec, "--output=json", "--recurse", "repo-ls", place))
    return [(path.rpartition("/")[2], float(about["time"])) for path, about in listed.items() if about["type"] == "file"]


def look(spec: dict[str, Any]) -> dict[str, Any]:
    """What there is in the repository that `options` of it choose."""
    info = json.loads(pgbackrest(spec, f"--stanza={spec['stanza']}", "--output=json", "info"))
    unseen = [one["status"]["message"] for stanza in info for one in stanza.get("repo", ()) if one["status"]["code"] == UNSEEN]
    if unseen:
        raise OSError(" ".join(unseen[0].split())[:500])
    archives = [one for stanza in info for one in stanza.get("archive", ())]
    if not archives:
        return {"info": info, "histories": {}, "files": {}}
    place = f"archive/{spec['stanza']}/{archives[-1]['id']}"
    return {"info": info, "histories": histories(spec, place), "files": archived.stretches(files(spec, place))}


def look_at_all(spec: dict[str, Any]) -> dict[str, Any]:
    """The document."""
    told: dict[str, Any] = {}
    for name, options in spec["repositories"].items():
        try:
            told[name] = look({**spec, "options": options, "until": time.monotonic() + SECONDS})
        except subprocess.TimeoutExpired:
            told[name] = {"problem": f"what it has could not be listed within {SECONDS} s"}
        except (OSError, ValueError) as error:
            told[name] = {"problem": str(error)}
    return told


if __name__ == "__main__":
    print(json.dumps(look_at_all(json.loads(sys.stdin.read()))))
