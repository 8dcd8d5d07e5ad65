"""What the archive of a cluster holds, in each repository: `pgbackrest info`, and the history of each timeline. Runs on the host
that keeps them.

The input is a JSON object with `stanza`, `user` and `repositories`, by name the options by which pgBackRest reads that one. The
answer is one by the same names. Of each: `info`; `histories`, each number of a timeline to the text of its history file and when
that got there (seconds since 1970); and `files`, which files there are (agents/archived.py). Or `problem`, in pgBackRest's words.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

from agents import archived

SECONDS = 60
UNSEEN = 99  # pgBackRest's code for a repository that it can't read


def pgbackrest(spec: dict[str, Any], *words: str) -> str:
    """What it prints. Raises OSError."""
    command = ["runuser", "-u", spec["user"], "--", "pgbackrest", *spec["options"], *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode:
        raise OSError(" ".join((done.stderr or done.stdout).split())[:500] or f"{words[-1]} exited with {done.returncode}")
    return done.stdout


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
            told[name] = look({**spec, "options": options})
        except subprocess.TimeoutExpired:
            told[name] = {"problem": f"no answer within {SECONDS} s"}
        except (OSError, ValueError) as error:
            told[name] = {"problem": str(error)}
    return told


if __name__ == "__main__":
    print(json.dumps(look_at_all(json.loads(sys.stdin.read()))))
