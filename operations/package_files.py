"""Packages that are files (cluster/package_files.py): brought to the host and compared before one of them is installed."""

from __future__ import annotations

import shlex
from collections.abc import Generator

from pyinfra.api import FileUploadCommand, StringCommand, operation

from cluster import paths
from cluster.package_files import PackageFile

from .context import Run
from .packages import missing

# apt's own: by the ways and proxies that the host's apt has, and it compares what came.
FETCH = "/usr/lib/apt/apt-helper download-file"


@operation()
def bring(run: Run, names: list[str]) -> Generator[StringCommand | FileUploadCommand]:
    """Lays the files of missing packages on the host. One that is not what its SHA-256 says ends the deploy."""
    lacking = missing(names)
    wanted = [file for file in run.package_files if file.package in lacking]
    if wanted:
        yield StringCommand(f"install -d -m 755 {paths.PACKAGE_FILES}")
    for file in wanted:
        if not file.fetched:
            yield FileUploadCommand(file.origin, file.on_host)
        yield StringCommand(f"sh -c {shlex.quote(_compared(file))}")


def _compared(file: PackageFile) -> str:
    place = shlex.quote(file.on_host)
    if file.fetched:
        look = f"{FETCH} {shlex.quote(file.origin)} {place} SHA256:{file.sha256}"
    else:
        look = f"echo {shlex.quote(f'{file.sha256}  {file.on_host}')} | sha256sum --check"
    reason = shlex.quote(f"etcd_files: {file.origin} can't be had, or is not the file whose SHA-256 is {file.sha256}")
    return f'said=$({look} 2>&1) || {{ rm -f {place}; echo "$said" | tail -n 20; echo {reason} >&2; exit 1; }}'
