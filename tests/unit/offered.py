"""What hosts say of their packages, for the tests of upgrades: the shop with newer versions of some, and what was replaced."""

from __future__ import annotations

import json
from typing import Any

from health.upgrades import HostPackages, read

GIB = 1024**3
NOW = {
    "etcd-server": "3.5.30-2", "etcd-client": "3.5.30-2", "postgresql-18": "18.6-3", "postgresql-client-18": "18.6-3",
    "patroni": "4.1.5-2", "haproxy": "3.2.26-1", "socat": "1.8-1", "pgbouncer": "1.26.1-1", "postgresql-client": "18+293",
    "keepalived": "1:2.3.4-1", "pgbackrest": "2.60.0-1",
}  # fmt: skip
OF = {
    "etcd": ("etcd-server", "etcd-client"),
    "postgres": ("postgresql-18", "postgresql-client-18"),
    "patroni": ("patroni",),
    "haproxy": ("haproxy", "socat"),
    "pgbouncer": ("pgbouncer", "postgresql-client"),
    "keepalived": ("keepalived",),
    "pgbackrest": ("pgbackrest",),
}


def row(package: str, new: str, **differs: Any) -> dict[str, Any]:
    return {"package": package, "old": NOW.get(package), "new": new, "size": 1000, "unpacked": 4000, "lost": ""} | differs


def answer(
    *rows: dict[str, Any], due: tuple[str, ...] = (), note: dict[str, Any] | None = None, **differs: Any
) -> dict[str, Any]:
    """A host's answer; a row is of the component that the package is of, or comes along with PostgreSQL."""
    of = {package: component for component, packages in OF.items() for package in packages}
    changes: dict[str, list[dict[str, Any]]] = {}
    for one in rows:
        changes.setdefault(of.get(one["package"], "postgres"), []).append(one)
    return {
        "installed": NOW, "changes": changes, "problems": {}, "unfinished": {}, "due": list(due), "unread": "",
        "free": {"kept": 10 * GIB, "programs": 10 * GIB}, "note": note or {}, "fetched": {},
        "whole": {package: list(one["files"]) for package, one in (note or {}).items()},
    } | differs  # fmt: skip


def host(name: str, *rows: dict[str, Any], **differs: Any) -> HostPackages:
    return read(name, json.dumps(answer(*rows, **differs)))


def replaced(package: str, old: str | None, component: str = "postgres", run: str = "noon", **differs: Any) -> dict[str, Any]:
    """The note of a package that is at its newest version now, with both files there."""
    new = NOW[package]
    files = {version: {"name": f"{package}.deb", "sha256": "00"} for version in (old, new) if version}
    return {package: {"component": component, "old": old, "new": new, "run": run, "files": files} | differs}
