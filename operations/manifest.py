"""What the deploy has written on a host, noted there in the form of sha256sum: `invoke verify` sees a file that was edited."""

from __future__ import annotations

import hashlib

from cluster import paths

from . import etcd, haproxy, kernel, packages, patroni
from .context import Run
from .managed import Managed


def manifest(run: Run) -> Managed:
    """The list of every file of the deploy's on the host that deploy.py is being loaded for."""
    files = packages.host_files(marker=None) + kernel.files()
    for module, members in (
        (etcd, run.cluster.etcd_hosts),
        (patroni, run.cluster.postgres_hosts),
        (haproxy, run.cluster.haproxy_hosts),
    ):
        if run.host in members:
            files += module.files(run)
    lines = [f"{hashlib.sha256(f.content.encode()).hexdigest()}  {f.path}\n" for f in files if f.content is not None]
    return Managed(paths.MANIFEST, "".join(lines), mode="600")
