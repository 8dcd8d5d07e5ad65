"""dpkg and apt on a host, for the programs that upgrade its packages (agents/sent/upgradable.py, fetch.py, install.py).

What an upgrade replaces is kept in a directory, with its note `note.json`: by package the `component` that it is of, or has come
along with, `old` and `new` version (without an `old` one it was new), `run` (which upgrade that was), and `files`: by version the
name and the SHA-256 of each file that is there. What was fetched and not installed yet is noted in `fetched.json` in the same
way: where it never comes to that, the way back is what it was.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NOTE, FETCHED = "note.json", "fetched.json"
# Held by whoever fetches or installs here, and by apt as long as that goes on.
LOCK, ALONE_SECONDS = Path("/run/pgquorum-installing.lock"), 300
# Seconds: for what only asks, and for another apt that is refreshing the lists, which apt itself does not wait for.
ASK_SECONDS, LISTS_SECONDS = 60, 120
APT_CACHE = "/var/cache/apt/archives"
INFO = "/var/lib/dpkg/info"
INSTALLS = re.compile(r"^Inst (\S+) (?:\[([^\]]+)\] )?\((\S+)")
REMOVES = re.compile(r"^Remv (\S+)")


@contextmanager
def alone() -> Iterator[int]:
    """No other one fetches or installs here; gives the descriptor of the lock. An operator who is cut off leaves one, which comes
    to its end: another would take away what keeps the packages of that one from restarting anything. Raises OSError."""
    # Nobody else may open it: who can read it could hold it.
    with os.fdopen(os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o600), "a") as file:
        os.fchmod(file.fileno(), 0o600)
        until = time.monotonic() + ALONE_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise OSError("packages are being installed here by an earlier call, which goes on") from None
                time.sleep(1)
        yield file.fileno()


def run(
    *words: str, seconds: float | None = ASK_SECONDS, cwd: str = "/", holding: tuple[int, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """A program in plain English that asks nobody anything, and has these descriptors. Raises OSError where it has not come to
    its end in time. What it has started is not waited for, and goes on writing where this program has ended: to files."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_SUSPEND": "1"}
    with tempfile.TemporaryFile("w+", errors="replace") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        try:
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=seconds, check=False, env=environment, cwd=cwd,
                pass_fds=holding,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise OSError(f"{words[0]} has not come to its end within {seconds:g} s") from None
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(words, done.returncode, out.read(), err.read())


def said(*words: str, seconds: float | None = ASK_SECONDS, cwd: str = "/", holding: tuple[int, ...] = ()) -> str:
    """What it prints. Raises OSError with its reason where it fails."""
    done = run(*words, seconds=seconds, cwd=cwd, holding=holding)
    if done.returncode:
        raise OSError(reason(done))
    return done.stdout


def reason(done: subprocess.CompletedProcess[str]) -> str:
    """Why a program has failed: apt's and dpkg's own lines about it, with those below that belong to them, or its last one."""
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    errors: list[str] = []
    for line in lines:
        if line.startswith(("E:", "dpkg: error", "dpkg-deb: error")):
            errors.append(line.strip())
        elif errors and line.startswith(" "):
            errors[-1] += f" {line.strip()}"
    return "; ".join(errors[-3:] or [line.strip() for line in lines[-1:]]) or f"{done.args[0]} exited with {done.returncode}"


def refresh(apt: list[str]) -> str:
    """Reads the package lists anew; why that did not work for some, or nothing."""
    deadline = time.monotonic() + LISTS_SECONDS
    while True:
        done = run(*apt, "-o", "APT::Update::Error-Mode=any", "update", seconds=600)
        if done.returncode == 0:
            return ""
        if "lists/lock" not in done.stderr or time.monotonic() > deadline:
            return reason(done)
        time.sleep(2)


def versions(names: Iterable[str]) -> dict[str, str]:
    """The installed ones of the packages, with their versions; also one whose installation has come to no end."""
    return {name: version for name, (version, _) in _there(names).items()}


def unfinished(names: Iterable[str]) -> dict[str, str]:
    """Those whose installation has come to no end, with their versions: the next program that calls dpkg would end it."""
    return {name: version for name, (version, state) in _there(names).items() if state != "installed"}


def _there(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """The packages of which dpkg has more than configuration, with their versions and states."""
    shown = run("dpkg-query", "--show", "--showformat=${Package} ${Version} ${db:Status-Status}\n", *names).stdout
    rows = [line.split() for line in shown.splitlines()]
    return {row[0]: (row[1], row[2]) for row in rows if len(row) == 3 and row[2] not in ("not-installed", "config-files")}


def candidates(names: Iterable[str]) -> dict[str, str]:
    """What apt would install of the packages."""
    found, name = {}, ""
    for line in said("apt-cache", "policy", *names).splitlines():
        if line and not line[0].isspace():
            name = line.rstrip(":")
        elif line.startswith("  Candidate: ") and not line.endswith("(none)"):
            found[name] = line.split()[1]
    return found


def newer(version: str, than: str) -> bool:
    """Whether a version is the higher one, as dpkg sees it."""
    return run("dpkg", "--compare-versions", version, "gt", than).returncode == 0


def simulate(apt: list[str], wanted: dict[str, str]) -> tuple[list[tuple[str, str | None, str]], str]:
    """What apt would install to have these versions: package, version it replaces, new version; and why it would not."""
    words = [f"{name}={version}" for name, version in wanted.items()]
    done = run(*apt, "--simulate", "--allow-change-held-packages", "install", *words)
    if done.returncode:
        return [], reason(done)
    if removed := [match[1] for line in done.stdout.splitlines() if (match := REMOVES.match(line))]:
        return [], f"it would remove {', '.join(removed)}"
    return [(m[1], m[2], m[3]) for line in done.stdout.splitlines() if (m := INSTALLS.match(line))], ""


def files_of(directory: Path, package: str) -> list[Path]:
    """The files of a package in a directory, whatever their versions: how an epoch is written in their names differs."""
    return sorted(directory.glob(f"{package.partition(':')[0]}_*.deb"))


def is_package(path: Path, package: str, version: str) -> bool:
    """Whether a file is that package in that version."""
    shown = run("dpkg-deb", "--show", "--showformat=${Package} ${Version}", str(path))
    return shown.stdout == f"{package.partition(':')[0]} {version}"


def intact(path: Path, package: str, version: str) -> bool:
    """Whether it is that, and can be read to its end."""
    return is_package(path, package, version) and run("dpkg-deb", "--contents", str(path), seconds=300).returncode == 0


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            total.update(part)
    return total.hexdigest()


def read_note(directory: Path, name: str = NOTE) -> dict[str, Any]:
    """A note; empty where there is none that can be read."""
    try:
        note = json.loads((directory / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def write_note(directory: Path, note: dict[str, Any], name: str = NOTE) -> None:
    """Writes it in one step."""
    draft = directory / f"{name}.new"
    draft.write_text(json.dumps(note, indent=1), encoding="utf-8")
    draft.replace(directory / name)


def kept(directory: Path, package: str, version: str) -> Path | None:
    """The file of a package in that version, if it is there as it is noted."""
    for name in (NOTE, FETCHED):
        about = read_note(directory, name).get(package, {}).get("files", {}).get(version)
        path = directory / str(about["name"]) if about else None
        if about and path and path.exists() and digest(path) == about["sha256"]:
            return path
    return None
