"""What pgBackRest and systemd say of the cluster's backups, on the host that keeps them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from subprocess import PIPE
from typing import Any

from agents import archived
from agents.parts.asking import note, run

MOST_DRILLS = 100


def pgbackrest(spec: dict[str, Any]) -> dict[str, Any]:
    """What it says of the cluster's backups, its version, and the units that make them."""
    until = time.monotonic() + spec["seconds"]
    asked = {
        name: subprocess.Popen(["sh", "-c", text], stdout=PIPE, stderr=PIPE, text=True, start_new_session=True)
        for name, text in spec["repositories"].items()
    }
    shown = {
        kind: _properties(unit, "ActiveState,ExecMainStartTimestamp,ExecMainExitTimestamp") for kind, unit in spec["runs"].items()
    }
    timers = {unit: _properties(unit, "ActiveState")["ActiveState"] for unit in spec["timers"]}
    told = {"version": run("sh", "-c", spec["version"]).strip(), "runs": shown, "timers": timers}
    found = {name: answer(process, until) for name, process in asked.items()}
    return {
        **told,
        "repositories": found,
        "archive": archive(spec, found),
        "drills": drills(Path(spec["drills"])),
        "clone": clone(spec),
    }


def archive(spec: dict[str, Any], told: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """Which files of the write-ahead log are there since the newest backup, and the history of the newest timeline; None where
    there is no backup, or no directory of the archive here."""
    info = told.get(spec["here"], {}).get("is")
    stanza = info[-1] if info else {}
    ids = [one["id"] for one in stanza.get("archive", ()) if re.fullmatch(r"[0-9]+-[0-9]+", one["id"])]
    place = Path(spec["archive"], ids[-1]) if ids and stanza.get("backup") else None
    if place is None or not place.is_dir():
        return None
    numbers = [one.name[:8] for one in place.glob("*.history") if re.fullmatch(r"[0-9A-F]{8}\.history", one.name)]
    newest = max(numbers, default="00000001")
    text = run("sh", "-c", f"{spec['get']}{ids[-1]}/{newest}.history") if numbers else ""
    return {"files": archived.since(place, stanza["backup"][-1]["archive"]["stop"]), "history": [int(newest, 16), text]}


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


def drills(directory: Path) -> list[dict[str, Any]]:
    """What came of the last drills of backups (agents/drill.py), the newest last: of each what is judged."""
    files = sorted(directory.glob("*.json"))[-MOST_DRILLS:] if directory.is_dir() else []
    wanted = ("backup", "host", "passed", "ended", "failures", "rto")
    return [
        {**{key: said[key] for key in wanted}, "compared": bool(said["compared"]), "repository": said.get("repository", "")}
        for said in map(note, files)
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
