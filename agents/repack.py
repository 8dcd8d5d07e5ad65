"""From where a package that is installed could be had again; and one made of what it has installed, where nobody has it any more.

That one is the same as the original in all that dpkg knows of it, but for documentation that was never unpacked here. Where a
file is not as the package had it, none is made: it would bring that back as the original. That goes for configuration above
all: dpkg would take the owner's for the package's, unchanged, and put the next version's in its place.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from agents.debian import APT_CACHE, INFO, files_of, is_package, kept, run, said

# What a host may leave out when it unpacks a package (dpkg's path-exclude).
LEFT_OUT = ("/usr/share/doc/", "/usr/share/man/", "/usr/share/locale/", "/usr/share/info/", "/usr/share/lintian/")
CHANGED = re.compile(r"^(missing|\?\?\S+)\s+(?:c\s+)?(/.*?)(?: \(.*\))?$")
SECONDS = 600


def places(directory: Path, package: str, version: str) -> tuple[list[str], str]:
    """From where a version that is installed may be had, to be tried in this order: `kept`, `cache`, `archive`, `repack`; and why
    it can't be had from anywhere."""
    if kept(directory, package, version):
        return ["kept"], ""
    cached = any(is_package(path, package, version) for path in files_of(Path(APT_CACHE), package))
    rows = [line.split("|") for line in run("apt-cache", "madison", package).stdout.splitlines()]
    # apt's lists tell what there was in the archive when they were read.
    archive = ["archive"] if any(row[1].strip() == version for row in rows if len(row) > 1) else []
    if cached:  # what is damaged there is had from elsewhere
        return ["cache", *archive, "repack"], ""
    why = unlike(package)
    found = [*archive, *([] if why else ["repack"])]
    return found, "" if found else f"no archive has it any more, and {why}"


def unlike(package: str) -> str:
    """Why a package can't be made of what is installed; nothing where it can."""
    if "diverted" in said("dpkg-query", "--listfiles", package):
        return "another package has put its files elsewhere"
    for line in run("dpkg", "--verify", package, seconds=SECONDS).stdout.splitlines():
        found = CHANGED.match(line)
        if not found:
            return f"dpkg says {line.strip()!r}"
        how, path = found.group(1, 2)
        if how == "missing" and path.startswith(LEFT_OUT):
            continue
        return f"{path} is {'gone' if how == 'missing' else 'not as it was installed'}"
    return ""


def repack(package: str, into: Path) -> None:
    """Makes the package's file in the directory `into`. Raises OSError where it can't be made."""
    if why := unlike(package):
        raise OSError(f"{package} can't be packed again: {why}")
    with tempfile.TemporaryDirectory(prefix="repack-", dir=into) as made:
        root = Path(made)
        root.chmod(0o755)
        for path in said("dpkg-query", "--listfiles", package).splitlines():
            _copy(Path(path), root)
        control = root / "DEBIAN"
        control.mkdir(mode=0o755)
        for one in Path(INFO).glob(f"{package.partition(':')[0]}*"):
            name, _, part = one.name.rpartition(".")
            if part != "list" and name.partition(":")[0] == package.partition(":")[0]:
                shutil.copy2(one, control / part)
        (control / "control").write_text(_control(package), encoding="utf-8")
        said("dpkg-deb", "-Zgzip", "-z1", "--build", str(root), str(into), seconds=SECONDS)


def _copy(path: Path, root: Path) -> None:
    """A file, link or directory at the same place below `root`, if it is there."""
    target = root / str(path).lstrip("/")
    if path.is_dir() and (not path.is_symlink() or len(path.parts) == 2):  # /lib is a directory to a package, wherever it leads
        target.mkdir(exist_ok=True)
    elif path.is_symlink():
        target.symlink_to(path.readlink())
        return
    elif path.is_file():
        shutil.copy2(path, target)
    else:
        return
    about = path.stat()
    os.chown(target, about.st_uid, about.st_gid)
    target.chmod(about.st_mode & 0o7777)  # after its owner, which takes away what a program of another user needs


def _control(package: str) -> str:
    """What the package says of itself, without what dpkg has added."""
    text = said("dpkg-query", "--status", package)
    fields = re.split(r"\n(?=\S)", text.strip("\n"))
    return "".join(f"{field}\n" for field in fields if not field.startswith(("Status:", "Conffiles:", "Config-Version:")))
