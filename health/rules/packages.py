"""Rules about the packages of the cluster's programs."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.components import Name
from cluster.topology import Cluster

from ..finding import Finding, finding
from ..preflight import upstream
from ..reboots import with_old_libraries
from ..view import ClusterView, HostView


def held(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """apt leaves them alone: an upgrade is made when somebody watches."""
    for host in cluster.hosts:
        known = view.hosts[host.name].packages
        loose = [name for name in cluster.packages(host) if name in known and not known[name].held]
        if loose:
            text = f"apt may upgrade {', '.join(loose)} and restart what is in there: `invoke packages.hold`, or a deploy"
            yield finding("packages.not-held", host.name, text)


def libraries(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """Programs run with the libraries that are installed. Nothing of the cluster's is restarted when one is replaced, mostly by
    night and for a fault in it."""
    for name, host in view.hosts.items():
        if host.libraries:
            yield finding("packages.old-libraries", name, f"{with_old_libraries(host.libraries)}: `invoke reboot`")


def one_pgbackrest(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """A host that was replaced has what its repository offers by then. It can't archive, once it leads, and isn't built from the
    repository: pgBackRest talks to its own version alone."""
    hosts: dict[tuple[int, ...], list[str]] = {}
    for host in cluster.pgbackrest_hosts:
        if package := view.hosts[host.name].packages.get("pgbackrest"):
            hosts.setdefault(upstream(package.version), []).append(host.name)
    if len(hosts) > 1:
        told = ", ".join(f"{'.'.join(map(str, version))} on {' and '.join(names)}" for version, names in sorted(hosts.items()))
        text = f"pgBackRest is {told}, and these do not talk to each other: `invoke upgrade --component pgbackrest`"
        yield finding("packages.other-pgbackrest", "packages", text)


def running(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """What runs is what is installed: an upgrade of a package restarts nothing, or not everything."""
    for one in cluster.hosts:
        host = view.hosts[one.name]
        for component in cluster.components(one):
            installed = host.packages.get(component.packages_for(cluster.postgres.version)[0])
            runs = version_that_runs(host, component.name)
            if installed and runs and upstream(installed.version) != upstream(runs):
                text = f"{component.name} {installed.version} is installed, and {runs} runs"
                restart = f"`invoke rolling-restart --component {component.name}`"
                yield finding("packages.not-running", host.name, f"{text}: {restart}")


def version_that_runs(host: HostView, component: Name) -> str | None:
    """As the program itself says it; None where it does not answer."""
    match component:
        case "etcd":
            return host.etcd.version if host.etcd else None
        case "postgres":
            return host.postgres.version.split()[0] if host.postgres else None
        case "patroni":
            return host.patroni.version if host.patroni else None
        case "haproxy":
            return host.proxy.version if host.proxy else None
        case "pgbouncer":
            return (host.pooler.version or None) if host.pooler else None
        case "keepalived":
            return None  # it has nobody whom one could ask
        case "pgbackrest":
            return host.backups.version if host.backups else None
