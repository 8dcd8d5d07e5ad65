"""Which packages of the cluster's programs could be upgraded on this host, what that would replace, and whether that could be had
back. Runs on the host as root. It installs nothing; where that is asked for, apt's lists are read anew.

The argument has `apt`, the words of apt-get; `refresh`; `directory`, where what an upgrade replaces is kept; and `programs`: by
component its `packages`, those that are in use as long as it runs (`running`), and how to see since when: the `units` that run
it, the `pid_file` of a server of PostgreSQL's, or HAProxy's admin `socket`. On stdout, as JSON:

installed    by package the version
changes      by component what apt would do: `package`, `old` (or null) and `new` version; `size` of the new one's file and
             `unpacked`, in bytes; `lost`, why the old one could not be had again, or nothing
problems     by component why apt would not
due          the components that run since before their packages were installed
unread       why lists could not be read anew, or nothing
free         bytes where packages are kept, and where programs lie
note         what an earlier upgrade has replaced; `whole`: the versions that are there to go back to, by package
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

from agents.debian import (
    FETCHED,
    INFO,
    candidates,
    kept,
    newer,
    read_note,
    refresh,
    run,
    simulate,
    unfinished,
    versions,
)
from agents.parts.asking import plain
from agents.proxies import HAProxy
from agents.repack import places

PROGRAMS = "/usr"


def look(spec: dict[str, Any]) -> dict[str, Any]:
    """The document."""
    apt, directory = spec["apt"], Path(spec["directory"])
    unread = refresh(apt) if spec["refresh"] else ""
    names = sorted({name for program in spec["programs"].values() for name in program["packages"]})
    note = read_note(directory)
    installed = versions({*names, *note})
    offered = candidates(names)
    changes, problems = {}, {}
    for component, program in spec["programs"].items():
        there = [name for name in program["packages"] if name in installed and name in offered]
        wanted = {name: offered[name] for name in there if newer(offered[name], installed[name])}
        if wanted:
            found, problem = simulate(apt, wanted)
            changes[component] = [change(directory, *one) for one in found]
            if problem:
                problems[component] = problem
    return {
        "installed": installed,
        "changes": changes,
        "problems": problems,
        "unfinished": {name: unfinished(program["packages"]) for name, program in spec["programs"].items()},
        "due": [name for name, program in spec["programs"].items() if due(program)],
        "unread": unread,
        "free": {"kept": free(directory), "programs": free(Path(PROGRAMS))},
        "note": note,
        "fetched": {name: {"new": about["new"], "run": about["run"]} for name, about in read_note(directory, FETCHED).items()},
        "whole": {name: [v for v in about["files"] if kept(directory, name, v)] for name, about in note.items()},
    }


def change(directory: Path, package: str, old: str | None, new: str) -> dict[str, Any]:
    """One row of `changes`."""
    shown = run("apt-cache", "show", f"{package}={new}").stdout
    sizes = {name: int(value) for name, value in re.findall(r"^(Size|Installed-Size): (\d+)", shown, re.MULTILINE)}
    lost = places(directory, package, old)[1] if old else ""
    return {
        "package": package, "old": old, "new": new, "size": sizes.get("Size", 0),
        "unpacked": 1024 * sizes.get("Installed-Size", 0), "lost": lost,
    }  # fmt: skip


def due(program: dict[str, Any]) -> bool:
    """Whether what runs was started before its packages were installed as they are. In whole seconds, as systemd tells."""
    lists = [path for name in program["running"] for path in Path(INFO).glob(f"{name}*.list") if owner(path) == name]
    began = started(program)
    return bool(lists and began) and min(began) < int(max(path.stat().st_mtime for path in lists))


def owner(path: Path) -> str:
    """The package that a file of dpkg's is of: some have the architecture in their name."""
    return path.name.removesuffix(".list").partition(":")[0]


def started(program: dict[str, Any]) -> list[float]:
    """Since when its processes run; without those that don't run."""
    if pid_file := program.get("pid_file"):
        try:
            return [float(plain(Path(pid_file)).splitlines()[2])]
        except (OSError, IndexError, ValueError):
            return []
    if socket := program.get("socket"):  # a reload has begun the process that serves, not the one that systemd knows
        try:
            info = HAProxy(socket, "", "").ask("show info")
            return [time.time() - float(dict(line.split(": ", 1) for line in info.splitlines() if ": " in line)["Uptime_sec"])]
        except (OSError, KeyError, ValueError):
            return []
    if not program["units"]:
        return []
    shown = run(
        "systemctl", "show", "--timestamp=unix", "--property=ActiveState,ExecMainStartTimestamp", *program["units"]
    ).stdout
    units = [dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in shown.strip().split("\n\n")]
    running = [unit.get("ExecMainStartTimestamp", "") for unit in units if unit.get("ActiveState") in ("active", "reloading")]
    return [float(one[1:]) for one in running if one[1:].isdigit()]


def free(path: Path) -> int:
    """Bytes that are free on the disk under a directory, which need not be there yet."""
    while not path.exists():
        path = path.parent
    about = os.statvfs(path)
    return about.f_bavail * about.f_frsize


if __name__ == "__main__":
    print(json.dumps(look(json.loads(sys.argv[1]))))
