"""The releases of distributions that hosts may run, and what of the cluster's programs is in them. Pure.

A release that is not here is refused. Which versions it has, and what is wrong with the older ones: docs/settings.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from .components import NAMES, Name


@dataclass(frozen=True)
class Release:
    """One release of a distribution. `postgres` is the major version in its archive; `good` are the components whose packages
    there are as the cluster needs them; `key_package` brings the key of the PostgreSQL project's repository."""

    system: str
    version: str
    codename: str
    systemd: int
    postgres: int
    good: frozenset[Name]
    key_package: str = "postgresql-client-common"

    @property
    def called(self) -> str:
        """As people call it."""
        return f"{self.system.capitalize()} {self.version} ({self.codename})"


OLD = frozenset[Name](("haproxy", "keepalived"))
RELEASES = (
    Release("debian", "12", "bookworm", 252, 15, OLD, key_package="postgresql-common"),
    Release("debian", "13", "trixie", 257, 17, OLD),
    Release("debian", "14", "forky", 262, 18, frozenset(NAMES)),
    Release("ubuntu", "22.04", "jammy", 249, 14, OLD, key_package="postgresql-common"),
    Release("ubuntu", "24.04", "noble", 255, 16, OLD, key_package="postgresql-common"),
    Release("ubuntu", "26.04", "resolute", 259, 18, frozenset(("postgres", "haproxy", "keepalived"))),
)


def release(system: str, codename: str) -> Release | None:
    """The release that /etc/os-release names by ID and VERSION_CODENAME; None for one that is not known here."""
    return next((one for one in RELEASES if (one.system, one.codename) == (system, codename)), None)


def supported() -> str:
    """All that hosts may run, in words."""
    return ", ".join(one.called for one in RELEASES)
