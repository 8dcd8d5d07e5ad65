"""What files on a host say: the deploy's own, certificates, what is left over, and who is at work."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from agents.parts.asking import note

MOST_SALVAGES = 100


def certificates(spec: dict[str, Any]) -> dict[str, str]:
    """Path to PEM text of every certificate there is."""
    found = [path for directory in spec["directories"] for path in Path(directory).glob("*")]
    return {str(path): public_part(path.read_text()) for path in found if path.suffix in (".crt", ".pem")}


def public_part(pem: str) -> str:
    """The first certificate of a PEM file that may hold a private key too."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return begin + pem.split(begin, 1)[1].split(end, 1)[0] + end if begin in pem else ""


def marker(spec: dict[str, Any]) -> Any:
    """Which cluster this host belongs to; None for a host that was never deployed to."""
    path = Path(spec["path"])
    return json.loads(path.read_text()) if path.exists() else None


def last_deploy(spec: dict[str, Any]) -> Any:
    """Which deploy this host has had last; None for one that notes none."""
    return marker(spec)


def layout(spec: dict[str, Any]) -> str | None:
    """The note of what was deployed that can't be changed (cluster/layout.py); None for a host that has none."""
    path = Path(spec["path"])
    return path.read_text() if path.exists() else None


def edited(spec: dict[str, Any]) -> list[str]:
    """The files that are not (any more) as the deploy wrote them."""
    listed = [line.split("  ", 1) for line in Path(spec["path"]).read_text().splitlines()]
    return [path for digest, path in listed if _digest(Path(path)) != digest]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def salvage(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Where a rewind has left what it threw away, and the note about it (agents/salvage.py)."""
    files = sorted(Path(spec["path"]).glob("*/salvage.json"))
    return [{"path": str(file.parent), **note(file)} for file in files[-MOST_SALVAGES:]]


def failed_starts(spec: dict[str, Any]) -> list[str]:
    """Which of the directories are there that Patroni moves away when a first start fails."""
    return [path for path in spec["paths"] if Path(path).exists()]


def restoring(spec: dict[str, Any]) -> dict[str, Any] | None:
    """What is noted here of a restore that keeps Patroni from being started, or None."""
    path = Path(spec["path"])
    return dict(json.loads(path.read_text())) if path.exists() else None


def old_data(spec: dict[str, Any]) -> list[str]:
    """The directories with the data of before a restore that somebody may still want."""
    found = [one for place in map(Path, spec["paths"]) for one in place.parent.glob(f"{place.name}.before-*")]
    return sorted(str(one) for one in found if one.is_dir())


def hold(spec: dict[str, Any]) -> str | None:
    """The line of whoever lets clients wait here (agents/sent/hold.py), or None."""
    path = Path(spec["path"])
    return path.read_text() if path.exists() else None


def operator(spec: dict[str, Any]) -> str | None:
    """The line of whoever is changing the cluster now, or None."""
    try:
        about = Path(spec["path"]).stat()
    except FileNotFoundError:
        return None
    # Asked of the kernel, because trying to take the lock could get in the way of somebody who wants it.
    inode = f":{about.st_ino} "
    locked = any(" FLOCK " in line and inode in line for line in Path("/proc/locks").read_text().splitlines())
    return Path(spec["path"]).read_text() if locked else None
