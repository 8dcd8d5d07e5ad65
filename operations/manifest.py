"""What a deploy notes on each host when it has done all else: what it has written there, and where everything is."""

from __future__ import annotations

import hashlib

from cluster import paths
from cluster.fitness import noted_layout
from cluster.layout import layout_of, note_for

from . import (
    database_host,
    etcd,
    firewall,
    guard,
    haproxy,
    keepalived,
    kernel,
    packages,
    patroni,
    pgbackrest,
    pgbouncer,
    sources,
)
from .context import Run
from .managed import Managed


def manifest(run: Run) -> Managed:
    """The list of every file of the deploy's on the host that deploy.py is being loaded for, in the form of sha256sum: `invoke
    verify` sees one that was edited."""
    files = packages.host_files(marker=None) + sources.files(run) + kernel.files(run)
    if run.cluster.all.firewall:
        files += [*firewall.programs(), firewall.rules(run)]
    if run.host in run.cluster.postgres_hosts:
        files += database_host.files() + (guard.files(run) if run.cluster.all.fast_failover else [])
    if run.host in run.cluster.haproxy_hosts and run.cluster.all.fast_failover:
        files += guard.proxy_files(run)
    for module, members in (
        (etcd, run.cluster.etcd_hosts),
        (patroni, run.cluster.postgres_hosts),
        (haproxy, run.cluster.haproxy_hosts),
        (pgbouncer, run.cluster.pooler_hosts),
        (keepalived, run.cluster.entry_hosts),
        (pgbackrest, run.cluster.pgbackrest_hosts),
    ):
        if run.host in members:
            files += module.files(run)
    lines = [f"{hashlib.sha256(f.content.encode()).hexdigest()}  {f.path}\n" for f in files if f.content is not None]
    return Managed(paths.MANIFEST, "".join(lines), mode="600")


def layout(run: Run) -> Managed:
    """Where everything of the cluster is, which a later deploy can't change: the same text on all hosts."""
    return Managed(paths.LAYOUT, note_for(layout_of(run.cluster, run.shared), noted_layout(run.cluster, run.surveys)).text)


def last_deploy(run: Run) -> Managed:
    """Which deploy the host has had: what one that was off meanwhile is known by."""
    return Managed(paths.LAST_DEPLOY, run.last_deploy.text)
