"""Runs on a host of the lab: makes the repository of newer_packages.py, of the packages that were installed there."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any


def out(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def bumped(version: str) -> tuple[str, str, str]:
    """The next version of a package, and the program's own before and after."""
    program = re.match(r"(?:\d+:)?([\d.]*?(\d+))(?=[^\d.]|$)", version)
    assert program
    number = str(int(program[2]) + 1)
    assert len(number) == len(program[2]), version
    new = f"{program[1][: -len(number)]}{number}"
    return version[: program.start(1)] + new + version[program.end(1) :], program[1], new


def make(spec: dict[str, Any], name: str) -> str:
    """Packs a package under its new version, which is returned; empty for one that is not installed."""
    shown = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", name], capture_output=True, text=True, check=False)
    if not shown.stdout:
        return ""
    old = shown.stdout
    new, was, now = bumped(old)
    found = [*Path(spec["cache"]).glob(f"{name}_*.deb"), *Path("/srv/lab").rglob(f"{name}_*.deb")]
    deb = next(str(path) for path in found if out("dpkg-deb", "-f", str(path), "Version") == old)
    root = Path(spec["folder"], "made")
    out("dpkg-deb", "--raw-extract", deb, str(root))
    if spec["version"]:
        new, was, now = spec["version"], "", ""
    control = root / "DEBIAN/control"
    text = re.sub(r"(?m)^Version: .*$", f"Version: {new}", control.read_text()).replace(f"(= {old})", f"(= {new})")
    if name.startswith("postgresql-client-"):
        text = re.sub(r"libpq5 \([^)]*\)", f"libpq5 (>= {new})", text)
    control.write_text(text)
    if name.startswith("postgresql-") and was:
        was, now = f"{was} (Debian {old})", f"{now} (Debian {new})"
    if was and name != "libpq5":
        assert tell(root, was.encode(), now.encode()), f"{name} does not tell {was}"
    if spec["broken"] and (program := Path(f"{root}{spec['broken']}")).exists():
        program.rename(f"{program}-whole")
        program.write_text(spec["instead"])
        program.chmod(0o755)
    out("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", str(root), spec["folder"])
    shutil.rmtree(root)
    return new


def tell(root: Path, was: bytes, now: bytes) -> int:
    """Has the programs tell another version, which is as long; how many files have told the old one. Not what they need of
    others: GLIBC_2.3.4 is no version of keepalived."""
    count, own = 0, re.compile(rb"(?<!_)" + re.escape(was))
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.relative_to(root).parts[0] != "DEBIAN":
            data = path.read_bytes()
            if own.search(data):
                path.write_bytes(own.sub(now, data))
                count += 1
    return count


def main(spec: dict[str, Any]) -> None:
    folder = Path(spec["folder"])
    for path in folder.glob("gone/*.deb"):
        path.replace(Path(spec["cache"], path.name))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    made = {name: make(spec, name) for name in spec["packages"]}
    index = []
    for path in sorted(folder.glob("*.deb")):
        about = {
            "Filename": f"./{path.name}",
            "Size": path.stat().st_size,
            "SHA256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        index += [out("dpkg-deb", "-f", str(path)), *(f"{name}: {value}" for name, value in about.items()), ""]
    (folder / "Packages").write_text("\n".join([*index, ""]))
    Path(spec["list"]).write_text(f"deb [trusted=yes] file:{folder} ./\n")
    pins = [f"Package: {name}\nPin: version {version}\nPin-Priority: 700\n" for name, version in made.items() if version]
    Path(spec["preferences"]).write_text("\n".join(pins))


main(json.loads(sys.argv[1]))
