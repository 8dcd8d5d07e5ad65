"""Packages that are files, named in the settings one by one, each with the SHA-256 that it must have.

For hosts whose distribution has no etcd that will do and where no mirror of Debian is to be a source, or nothing can be reached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

from . import paths
from .topology import Cluster, Host

ETCD = ("etcd-server", "etcd-client")


@dataclass(frozen=True)
class PackageFile:
    """A Debian package. `origin` is a URL from which the hosts fetch it, or a path on the operator's machine."""

    origin: str
    sha256: str
    there: ClassVar[str] = ""  # nobody else adds it, as they may a source

    @property
    def name(self) -> str:
        """The file's name, which Debian forms as NAME_VERSION_ARCHITECTURE.deb."""
        return PurePosixPath(self.origin).name

    @property
    def package(self) -> str:
        """The package's name."""
        return self.name.split("_")[0]

    @property
    def fetched(self) -> bool:
        """Whether the hosts fetch it; else it is copied to them."""
        return "://" in self.origin

    @property
    def on_host(self) -> str:
        """Where it lies while it is installed."""
        return f"{paths.PACKAGE_FILES}/{self.name}"

    def serves(self, package: str) -> bool:
        """Whether it is that package."""
        return package == self.package

    def version(self, package: str) -> str | None:
        """The version of that package in it."""
        return self.name.split("_")[1] if self.serves(package) else None

    def added_on(self, hosts: str) -> str:
        """What a deploy does with it, in words."""
        return f"{self.package} is installed from {self.origin} on {hosts}, if its SHA-256 is {self.sha256[:12]}…"


def package_files(cluster: Cluster, member: Host) -> tuple[PackageFile, ...]:
    """The files that a host's packages come from."""
    if cluster.etcd.source != "files" or member not in cluster.etcd_hosts:
        return ()
    return tuple(PackageFile(origin, sha256) for origin, sha256 in cluster.etcd.files.items())


def contradictions(cluster: Cluster) -> Iterator[str]:
    """What `etcd_files` may not be beside `etcd_source`. Pure."""
    named = sorted(PackageFile(origin, sha256).package for origin, sha256 in cluster.etcd.files.items())
    if cluster.etcd.source == "files" and named != sorted(ETCD):
        yield f"etcd_files has {', '.join(named) or 'nothing'}: should have one file for each of {', '.join(ETCD)}"
    if cluster.etcd.source != "files" and named:
        yield f"etcd_files is set, but etcd_source = {cluster.etcd.source!r}: should be 'files'"


def unlike(cluster: Cluster) -> Iterator[str]:
    """What is wrong with the files that lie here, which are read."""
    for file in (one for member in cluster.etcd_hosts[:1] for one in package_files(cluster, member) if not one.fetched):
        try:
            found = hashlib.sha256(Path(file.origin).read_bytes()).hexdigest()
        except OSError as error:
            yield f"etcd_files has {file.origin!r}: should be the path of a file here ({error.strerror})"
        else:
            if found != file.sha256:
                yield f"etcd_files: the SHA-256 of {file.origin} is {found}, should be {file.sha256}: it is another file"
