"""Where the backups of a cluster lie: its repositories, each of a kind, all written and read by the host of group `backup`."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, model_validator

from . import certificates
from .values import Port

HOST = r"([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)*[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\]"
# What each kind has to have, and what it may have besides; all may have how much is kept.
NEEDED = {"directory": (), "s3": ("bucket", "endpoint", "region"), "sftp": ("host", "user", "host_key", "path")}
ALSO = {"directory": (), "s3": ("path", "uri_style", "ca_file"), "sftp": ("port",)}


def _like(pattern: str, right: str) -> AfterValidator:
    """Text that is like `pattern` as a whole; `right` says what it should be."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"should be {right}")
        return value

    return AfterValidator(check)


RepositoryName = Annotated[
    str, _like(r"[a-z][a-z0-9_]{0,30}", "lower-case letters, digits and underscores, at most 31, a letter first")
]
Bucket = Annotated[
    str,
    _like(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "the name of a bucket: 3 to 63 lower-case letters, digits, dots and hyphens"),
]
Endpoint = Annotated[
    str,
    _like(
        rf"({HOST})(:\d{{1,5}})?",
        "a host with or without a port, such as 's3.eu-central-1.amazonaws.com'; it is always spoken to by TLS",
    ),
]
Region = Annotated[
    str,
    _like(
        r"[A-Za-z0-9-]{1,63}",
        "a region such as 'eu-central-1'; where the store has none, what its manual says: often us-east-1",
    ),
]
Server = Annotated[str, _like(HOST, "the name or address of a host")]
User = Annotated[str, _like(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}", "the name of a user there")]
Directory = Annotated[
    str,
    _like(r"(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+", "an absolute path such as '/pgbackrest', of letters, digits and . _ - /"),
]
HostKey = Annotated[
    str,
    _like(
        r"SHA256:[A-Za-z0-9+/]{43}",
        "the SHA-256 of the server's own key, as `ssh-keyscan HOST | ssh-keygen -lf -` prints it: SHA256:...",
    ),
]


class Repository(BaseModel):
    """An entry of `backup_repositories`. What is None was not said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: Literal["directory", "s3", "sftp"]
    path: Directory | None = None
    bucket: Bucket | None = None
    endpoint: Endpoint | None = None
    region: Region | None = None
    uri_style: Literal["host", "path"] | None = None
    ca_file: str | None = None
    host: Server | None = None
    port: Port | None = None
    user: User | None = None
    host_key: HostKey | None = None
    keep_full: Annotated[StrictInt, Field(ge=1, le=9999)] | None = None
    keep_days: Annotated[StrictInt, Field(ge=1, le=3650)] | None = None

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        needed, allowed = NEEDED[self.type], (*NEEDED[self.type], *ALSO[self.type], "type", "keep_full", "keep_days")
        lacking = [name for name in needed if getattr(self, name) is None]
        besides = [name for name in type(self).model_fields if getattr(self, name) is not None and name not in allowed]
        if lacking:
            raise ValueError(f"a repository of type {self.type!r} needs {', '.join(lacking)}")
        if besides:
            where = " (its place is backup_directory)" if self.type == "directory" and besides == ["path"] else ""
            raise ValueError(f"a repository of type {self.type!r} has no {', '.join(besides)}{where}")
        if self.keep_full is not None and self.keep_days is not None:
            raise ValueError("should have keep_full or keep_days, not both")
        return self


Repositories = Annotated[dict[RepositoryName, Repository], Field(min_length=1, max_length=9)]
DEFAULT = {"local": Repository(type="directory")}


@dataclass(frozen=True)
class Place:
    """One repository of a cluster: the `number` by which pgBackRest knows it, its `name`, and what the settings say of it."""

    number: int
    name: str
    settings: Repository

    @property
    def kind(self) -> str:
        return self.settings.type

    @property
    def elsewhere(self) -> bool:
        """Whether it is on another machine than the host of group `backup`."""
        return self.kind != "directory"

    @property
    def path(self) -> str:
        """Where it begins in a bucket or on an SFTP server."""
        return self.settings.path or "/pgbackrest"

    @property
    def ca_file(self) -> str:
        """Where the host of group `backup` has the authorities that the settings name."""
        return f"/etc/pgbackrest/ca-{self.name}.crt"

    @property
    def private_key(self) -> str:
        """Where that host has the key by which it logs in to an SFTP server."""
        return f"/etc/pgbackrest/sftp-{self.name}.key"

    @property
    def fingerprint(self) -> str:
        """The SFTP server's own key as pgBackRest is told it: in hexadecimal digits."""
        return base64.b64decode(f"{(self.settings.host_key or '').removeprefix('SHA256:')}=").hex()

    def retention(self, keep_full: int, keep_days: int | None) -> tuple[str, int]:
        """How much is kept: of what (pgBackRest's `count` or `time`), and how many full backups or days; what is given holds
        where it says nothing of its own."""
        own = self.settings
        full, days = (own.keep_full, own.keep_days) if own.keep_full or own.keep_days else (keep_full, keep_days)
        return ("time", days) if days else ("count", full or keep_full)


def places(repositories: dict[str, Repository]) -> tuple[Place, ...]:
    """The repositories, in the order of the settings."""
    return tuple(Place(number, name, one) for number, (name, one) in enumerate(repositories.items(), 1))


def problems(repositories: dict[str, Repository]) -> Iterator[str]:
    """What they may not be beside each other."""
    directories = [name for name, one in repositories.items() if one.type == "directory"]
    if len(directories) > 1:
        yield f"backup_repositories: {' and '.join(directories)} are both of type 'directory': should be one, in backup_directory"
    seen: dict[tuple[str | None, ...], str] = {}
    for name, one in repositories.items():
        where = (one.type, one.endpoint or one.host, one.bucket or one.user, places({name: one})[0].path)
        if one.type != "directory" and where in seen:
            yield f"backup_repositories: {seen[where]} and {name} are the same place: should be two, or one of them"
        seen[where] = name


def authorities(place: Place) -> str:
    """The text of the file of authorities that the settings name, which is read here. Raises ValueError and OSError."""
    text = Path(place.settings.ca_file or "").read_text(encoding="utf-8")
    if not certificates.is_bundle(text):
        raise ValueError("it has no certificates")
    return text


def file_problems(places: Iterable[Place]) -> Iterator[str]:
    """What is wrong with the files that the settings name."""
    for place in places:
        if place.settings.ca_file is None:
            continue
        try:
            authorities(place)
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error)
            named = f"backup_repositories[{place.name}][ca_file] = {place.settings.ca_file!r}"
            yield f"{named}: should be the path of a PEM file here, with the authorities of the store's certificate ({why})"
