"""What pgBackRest and systemd say of the cluster's backups, on the host that keeps them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from subprocess import PIPE
from typing import Any

from agents import archived
from agents.parts.asking import note, run

MOST_DRILLS = 100
MOST_BESIDE = 20  # on a host that does not keep the backups
# Beyond what there is for the first answers, for what is asked after them. All has to be told within the collector's own limit.
MORE_SECONDS = 1.0
# Of an archive elsewhere that are looked into, the newest: they have 32 GiB of the log.
MOST_DIRECTORIES = 8


def pgbackrest(spec: dict[str, Any]) -> dict[str, Any]:
    """What it says of the cluster's backups, its version, and the units that make them."""
    until = time.monotonic() + spec["seconds"]
    asked = {name: begin(text) for name, text in spec["repositories"].items()}
    shown = {
        kind: _properties(unit, "ActiveState,ExecMainStartTimestamp,ExecMainExitTimestamp") for kind, unit in spec["runs"].items()
    }
    for kind in shown:
        if (file := Path(spec["begun"], kind)).exists():
            shown[kind]["Begun"] = str(int(file.stat().st_mtime))
    timers = {unit: _properties(unit, "ActiveState")["ActiveState"] for unit in spec["timers"]}
    told = {"version": run("sh", "-c", spec["version"]).strip(), "runs": shown, "timers": timers}
    found = {name: answer(process, until) for name, process in asked.items()}
    return {
        **told,
        "repositories": found,
        "archives": archives(spec, found, until + MORE_SECONDS),
        "drills": drills(Path(spec["drills"])),
        "clone": clone(spec),
    }


def archives(spec: dict[str, Any], told: dict[str, dict[str, Any]], until: float) -> dict[str, dict[str, Any] | None]:
    """Of each repository, which `files` of the write-ahead log are there since the newest backup, and the `history` of the newest
    timeline; `start` is the file from which on that was looked at. None where there is no backup, or that can't be seen in time.
    What is elsewhere is asked for at the same time."""
    found: dict[str, dict[str, Any] | None] = dict.fromkeys(spec["repositories"])

    def ask(name: str, stanza: dict[str, Any], number: str) -> None:
        with suppress(OSError, ValueError, KeyError, subprocess.SubprocessError):
            found[name] = (here if name == spec["here"] else elsewhere)(spec, name, stanza, number, until)

    threads = []
    for name, said in told.items():
        stanza = (said.get("is") or [{}])[-1]
        ids = [one["id"] for one in stanza.get("archive", ()) if re.fullmatch(r"[0-9]+-[0-9]+", one["id"])]
        if ids and stanza.get("backup"):
            threads.append(threading.Thread(target=ask, args=(name, stanza, ids[-1]), daemon=True))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return dict(found)


def here(spec: dict[str, Any], name: str, stanza: dict[str, Any], number: str, until: float) -> dict[str, Any] | None:
    """Of the one in a directory of this host, which is read as it lies there."""
    place, start = Path(spec["archive"], number), stanza["backup"][-1]["archive"]["stop"]
    if not place.is_dir():
        return None
    history = newest_history(spec, name, number, (one.name for one in place.glob("*.history")), until)
    return {"files": archived.since(place, start), "history": history, "start": start}


def elsewhere(spec: dict[str, Any], name: str, stanza: dict[str, Any], number: str, until: float) -> dict[str, Any] | None:
    """Of one that pgBackRest alone can read: by a few of its commands, so many as there are directories since the newest backup,
    each of which has 4 GiB of the log, and MOST_DIRECTORIES at most."""
    last = max((one["max"] for one in stanza["archive"] if one["id"] == number and one.get("max")), default="")
    if not last:
        return None
    # The newest first: whatever is seen there, what comes before it was there by then.
    top, newest = listed(spec, name, ["", last[:16]], number, until)
    start = stanza["backup"][-1]["archive"]["stop"]
    since = [one for one in top if re.fullmatch(r"[0-9A-F]{16}", one) and start[8:16] <= one[8:] and one < last[:16]]
    since.sort(key=lambda one: (one[8:], one[:8]), reverse=True)
    if len(since) >= MOST_DIRECTORIES:
        since = since[: MOST_DIRECTORIES - 1]
        start = f"{since[-1]}00000000"
    files = [newest, *listed(spec, name, since, number, until)]
    times = ((file, float(about["time"])) for one in files for file, about in one.items() if about["type"] == "file")
    return {"files": archived.stretches(times), "history": newest_history(spec, name, number, top, until), "start": start}


def listed(spec: dict[str, Any], name: str, directories: list[str], number: str, until: float) -> list[dict[str, Any]]:
    """What pgBackRest lists in each of these directories of the archive, asked for at once. Raises OSError."""
    place = f"archive/{spec['stanza']}/{number}"
    asked = [begin(f"{spec['ask'][name]} --output=json repo-ls {place}/{one}".rstrip("/")) for one in directories]
    answers = [answer(process, until) for process in asked]
    for problem in (one["problem"] for one in answers if "problem" in one):
        raise OSError(problem)
    return [one["is"] for one in answers]


def newest_history(spec: dict[str, Any], name: str, number: str, names: Iterable[str], until: float) -> list[Any]:
    """The number of the newest timeline that is there, and the text of its history file, which pgBackRest has to decrypt."""
    numbers = [one[:8] for one in names if re.fullmatch(r"[0-9A-F]{8}\.history", one)]
    if not numbers:
        return [1, ""]
    get = f"{spec['ask'][name]} repo-get archive/{spec['stanza']}/{number}/{max(numbers)}.history"
    return [int(max(numbers), 16), run("timeout", f"{max(0.1, until - time.monotonic()):.1f}", "sh", "-c", get)]


def begin(command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(["sh", "-c", command], stdout=PIPE, stderr=PIPE, text=True, start_new_session=True)


def answer(process: subprocess.Popen[str], until: float) -> dict[str, Any]:
    """What pgBackRest says of a repository. All are asked at once, since one may be away; each is waited for as long as a store
    elsewhere may take to answer."""
    try:
        out, err = process.communicate(timeout=max(0.1, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return {"problem": "no answer"}
    return {"is": json.loads(out)} if process.returncode == 0 else {"problem": first_line(err or out)}


def first_line(text: str) -> str:
    """What pgBackRest complains of."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("WARN")]
    return lines[0] if lines else "pgBackRest says nothing"


def drilled(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """What came of drills on a host that was named for them and does not keep the backups: the operator who asked for one may not
    have been there any more to note it where they are kept. What is left of another cluster's is none of this one's."""
    return drills(Path(spec["path"]), MOST_BESIDE, spec["cluster"])


def drills(directory: Path, most: int = MOST_DRILLS, cluster: str = "") -> list[dict[str, Any]]:
    """What came of the last drills of backups (agents/drill.py), the newest last: of each what is judged."""
    files = sorted(directory.glob("*.json"))[-most:] if directory.is_dir() else []
    wanted = ("backup", "host", "passed", "ended", "failures", "rto")
    return [
        {
            **{key: said[key] for key in wanted},
            "compared": bool(said["compared"] and said["compared"]["tables"]),
            "repository": said.get("repository", ""),
        }
        for said in map(note, files)
        if not cluster or said["cluster"] == cluster
    ]


def clone(spec: dict[str, Any]) -> dict[str, Any] | None:
    """What there is beside the drills for a look at the past (agents/clone.py), and whether its server runs; None for nothing."""
    file = Path(spec["clone"], "about.json")
    if not file.exists():
        return None
    state = _properties(spec["clone_unit"], "ActiveState")["ActiveState"]
    return {**{key: note(file)[key] for key in ("to", "began", "ready", "problem")}, "path": spec["clone"], "state": state}


def _properties(unit: str, names: str) -> dict[str, str]:
    shown = run("systemctl", "show", "--timestamp=unix", f"--property={names}", unit)
    return dict(line.split("=", 1) for line in shown.splitlines())
