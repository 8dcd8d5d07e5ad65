"""What systemd, dpkg and the kernel say on a host: units, packages, disks, the watchdog and the packet filter."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from agents.parts.asking import SECONDS, run


def units(spec: dict[str, Any]) -> dict[str, str]:
    """Unit name to its active state, or to `not-found` or `masked`."""
    shown = run("systemctl", "show", "--property=Id,LoadState,ActiveState", *spec["names"])
    states = {}
    for block in shown.strip().split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines())
        states[unit["Id"]] = unit["ActiveState"] if unit["LoadState"] == "loaded" else unit["LoadState"]
    return states


def packages(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Of the packages by name, those that are installed: their versions, and whether apt is to leave them at that."""
    form = "${db:Status-Status} ${Package} ${Version} ${db:Status-Want}\\n"
    asked = ["dpkg-query", "--show", f"--showformat={form}", *spec["names"]]
    listed = subprocess.run(asked, capture_output=True, text=True, timeout=SECONDS + 1, check=False).stdout
    rows = [line.split() for line in listed.splitlines()]
    return {row[1]: {"version": row[2], "held": row[3] == "hold"} for row in rows if row[0] == "installed"}


def disks(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Of each disk that one of the directories is on: the first of those, how many bytes there are, and how many are free."""
    found: dict[int, dict[str, Any]] = {}
    for path in filter(os.path.exists, spec["paths"]):
        about = os.statvfs(path)
        free = about.f_bavail * about.f_frsize
        used = (about.f_blocks - about.f_bfree) * about.f_frsize
        found.setdefault(Path(path).stat().st_dev, {"path": path, "size": used + free, "free": free})
    return list(found.values())


def watchdog(spec: dict[str, Any]) -> dict[str, Any] | None:
    """Whose the device is, and whether the unit's main process has it open; None where there is none."""
    if not Path(spec["device"]).exists():
        return None
    process = Path("/proc", run("systemctl", "show", "--property=MainPID", "--value", spec["unit"]).strip(), "fd")
    opened = [os.path.realpath(entry) for entry in process.iterdir()] if process.exists() else []
    return {"owner": Path(spec["device"]).owner(), "used": os.path.realpath(spec["device"]) in opened}


def firewall(spec: dict[str, Any]) -> bool:
    """Whether the kernel has the packet filter as it was loaded: the sum of its table is the one noted then."""
    try:
        table = run("nft", "--stateless", "--terse", "list", "table", "inet", spec["table"])
        lasting = re.sub(r"(?m)[ \t]*# count \d+$", "", table)  # newer releases tell how many clients have connections now
        return Path(spec["note"]).read_text().split()[0] == hashlib.sha256(lasting.encode()).hexdigest()
    except (OSError, IndexError):  # there is no such table, or no note
        return False
