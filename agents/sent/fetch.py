"""Fetches packages for an upgrade of this host, and what they replace, into a directory. Runs on the host as root and installs
nothing.

The argument has `apt`, the words of apt-get; the `directory`; `run`, which upgrade this is of; `insist`, whether it is done
without an old version that can't be had; and `changes`: `package` and its `component`, `old` version or null, `new` version. All
are there in the end and noted, or none: then the reason is on standard error, and nothing has changed.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from agents.debian import (
    APT_CACHE,
    FETCHED,
    alone,
    digest,
    files_of,
    intact,
    is_package,
    kept,
    read_note,
    said,
    write_note,
)
from agents.repack import places, repack

SECONDS = 1800


def fetch(spec: dict[str, Any]) -> None:
    """Raises OSError."""
    with alone():
        fetch_alone(spec, Path(spec["directory"]))


def fetch_alone(spec: dict[str, Any], directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for unfinished in directory.glob("fetch-*"):  # of one that was killed
        shutil.rmtree(unfinished)
    note, fetched = read_note(directory), {}
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=directory) as made:
        draft = Path(made)
        for change in spec["changes"]:
            package = change["package"]
            files = {}
            old = change["old"]
            of_old, lost = places(directory, package, old) if old else ([], "")
            if lost and not spec["insist"]:
                raise OSError(f"{package} {old} could not be had again: {lost}")
            for version, where in ((old, of_old), (change["new"], ["archive"])):
                if version and where:
                    path = kept(directory, package, version) or obtained(spec["apt"], draft, package, version, where)
                    files[version] = {"name": path.name, "sha256": digest(path)}
            fetched[package] = {
                **{name: change[name] for name in ("component", "old", "new")},
                "run": spec["run"],
                "files": files,
            }
        for path in draft.glob("*.deb"):
            path.replace(directory / path.name)
    write_note(directory, fetched, FETCHED)
    named = {one["name"] for about in (*note.values(), *fetched.values()) for one in about["files"].values()}
    for path in directory.glob("*.deb"):
        if path.name not in named:
            path.unlink()


def obtained(apt: list[str], draft: Path, package: str, version: str, where: list[str]) -> Path:
    """The package's file, in `draft`, from the first of these places (agents/repack.py) that gives it. Raises OSError."""
    problems, others = [], files_of(draft, package)
    for place in where:
        try:
            bring(apt, draft, package, version, place)
            for path in files_of(draft, package):
                if intact(path, package, version):
                    return path
            problems.append("its file is not there, or not whole")
        except OSError as error:
            problems.append(str(error))
        for path in files_of(draft, package):
            if path not in others:  # apt would take it for what it is to get
                path.unlink()
    raise OSError(f"{package} {version} could not be had: {'; '.join(problems)}")


def bring(apt: list[str], draft: Path, package: str, version: str, place: str) -> None:
    """Puts the file that a place has into `draft`. Raises OSError."""
    if place == "cache":
        for path in files_of(Path(APT_CACHE), package):
            if is_package(path, package, version):
                shutil.copyfile(path, draft / path.name)
    elif place == "repack":
        repack(package, draft)
    else:
        words = ["-o", "APT::Sandbox::User=root", "download", f"{package}={version}"]
        said(*apt, *words, seconds=SECONDS, cwd=str(draft))


if __name__ == "__main__":
    try:
        fetch(json.loads(sys.argv[1]))
    except OSError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
