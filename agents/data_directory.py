"""A data directory that is measured, moved, emptied and put back by root, with no more rights than its owner has.

Whoever is user postgres may put a link anywhere below the first directory that is not root's. So what root does there it does as
that user, and a link leads at most to what that user could do anyway. Sent along with agents/sent/restore.py.

`data` is the data directory. The data is called so wherever it lies: there, and in the directory of its write-ahead log where
that is elsewhere.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from agents.rights import OWNER, acting_as


def changing(directory: Path) -> AbstractContextManager[None]:
    """In which an entry of the directory above the data is made, named anew or removed: by the data's owner, or by root where the
    way there is root's alone. What a link in the data names is the owner's affair."""
    return nullcontext() if roots_alone(directory) else acting_as()


def roots_alone(directory: Path) -> bool:
    """Whether nobody but root can change what this path leads to."""
    abouts = [os.lstat(step) for step in passed(directory)]
    return all(one.st_uid == 0 and (stat.S_ISLNK(one.st_mode) or not one.st_mode & 0o022) for one in abouts)


def passed(path: Path) -> Iterator[Path]:
    """All that is on the way to a path, behind links too."""
    for step in (*reversed(path.parents), path):
        yield step
        if step.is_symlink():
            yield from passed(step.parent / step.readlink())


def survey(data: Path) -> dict[str, Any]:
    """What there is: the bytes of the data, those that are free beside it, and what would be in the way of moving it."""
    with acting_as():
        beside = data if data.exists() else next(one for one in data.parents if one.exists())
        about = os.statvfs(beside)
        spaces = data / "pg_tblspc"
        return {
            "there": (data / "PG_VERSION").exists(),
            "size": sum(space(directory) for directory in directories(data)),
            "free": about.f_bavail * about.f_frsize,
            "tablespaces": sorted(str(one.resolve()) for one in spaces.iterdir()) if spaces.exists() else [],
            "mounted": any(os.path.ismount(directory) for directory in directories(data)),
            "against": [*against(data)],
        }


def against(data: Path) -> Iterator[str]:
    """Why its owner could not move it or delete what is in it."""
    wal = data / "pg_wal"
    if not data.exists():
        return
    places = [] if roots_alone(data.parent) else [data.parent]
    for place in [*places, *([wal.resolve().parent] if wal.is_symlink() and wal.is_dir() else [])]:
        if not os.access(place, os.W_OK | os.X_OK, effective_ids=True):
            yield f"{place} is not {OWNER}'s to write: chown {OWNER} {place}"
    for directory in directories(data):
        for step, below, _ in os.walk(directory):
            for one in (Path(step, name) for name in below):
                if one.lstat().st_uid != os.geteuid() and not one.is_symlink():
                    yield f"{one} is not {OWNER}'s: move it away"
                    return


def directories(data: Path) -> list[Path]:
    """Those that are the data, the write-ahead log's own first."""
    wal = data / "pg_wal"
    return [*([wal.resolve()] if wal.is_symlink() and wal.is_dir() else []), *([data] if data.exists() else [])]


def space(directory: Path) -> int:
    """Bytes."""
    total = 0
    for place, _, names in os.walk(directory):
        for name in names:
            try:
                total += Path(place, name).lstat().st_blocks * 512
            except FileNotFoundError:  # what runs removes files
                continue
    return total


def aside(data: Path, suffix: str) -> Path:
    """Where the data directory goes that is given the suffix."""
    return data.with_name(data.name + suffix)


def move_aside(data: Path, suffix: str) -> None:
    """Gives the data's directories the suffix. Raises OSError where something has that name."""
    to = aside(data, suffix)
    if os.path.lexists(to):
        raise OSError(f"{to} is there already")
    move_wal(data / "pg_wal", lambda name: name.removesuffix(suffix) + suffix)
    with changing(data.parent):
        data.rename(to)


def put_back(data: Path, suffix: str) -> None:
    """The data that was moved aside is in its place again. What is there instead is deleted."""
    with acting_as():
        for directory in directories(data):
            empty(directory)
            if directory != data:
                directory.rmdir()
    kept = aside(data, suffix)
    move_wal(kept / "pg_wal", lambda name: name.removesuffix(suffix))
    with changing(data.parent):
        if data.exists():
            data.rmdir()
        kept.rename(data)


def put_back_wal(data: Path, suffix: str) -> None:
    """The write-ahead log has its own name again, where a move aside was cut off behind it and before the data itself."""
    link = data / "pg_wal"
    with acting_as():
        if not link.is_symlink():
            return
        now = link.parent / link.readlink()
        own = now.with_name(now.name.removesuffix(suffix))
        kept = own.with_name(own.name + suffix)
        if kept.exists() and not own.exists():
            kept.rename(own)
    if now != own:
        move_wal(link, lambda name: name.removesuffix(suffix))


def move_wal(link: Path, renamed: Callable[[str], str]) -> None:
    """Where the write-ahead log is elsewhere, gives its directory another name and leads there. Once more ends what was begun."""
    with acting_as():
        if not link.is_symlink():
            return
        now = link.parent / link.readlink()
        to = now.with_name(renamed(now.name))
        if now.exists() and not to.exists():
            now.rename(to)
        new = link.with_name("pg_wal.new")
        new.unlink(missing_ok=True)
        new.symlink_to(to)
        new.replace(link)


def clear(data: Path) -> None:
    """Deletes all that is in the data's directories. What they are themselves stays: it may be a mount point."""
    with acting_as():
        for directory in directories(data):
            empty(directory)


def empty(directory: Path) -> None:
    for one in directory.iterdir():
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one)
        else:
            one.unlink()


def make(data: Path) -> None:
    """A data directory that is its owner's alone, where none is yet."""
    owner = pwd.getpwnam(OWNER)
    with changing(data.parent):
        data.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() != owner.pw_uid:
            os.chown(data, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
    with acting_as():
        data.chmod(0o700)


def write(file: Path, text: str) -> None:
    """A file in a directory of its owner's, whole or not at all, and nobody else's to read."""
    with acting_as():
        new = file.with_name(f"{file.name}.new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as made:
            made.write(text)
        new.replace(file)


def remove(file: Path) -> None:
    """A file that may be there."""
    with acting_as():
        file.unlink(missing_ok=True)
