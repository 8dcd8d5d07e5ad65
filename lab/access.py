"""What an operator needs to reach the hosts, in the checkout: key, pinned host keys, configuration, inventory."""

import os
from ipaddress import IPv4Network
from pathlib import Path

from lab import disk, packages, state
from lab.command import run
from lab.spec import LabHost, LabSpec

PACKAGE_KEY = "packages.asc"
# Of the clients, in the settings as they are shipped.
SHIPPED_NETWORK = "10.77.0.0/16"


def folder(lab: str) -> Path:
    """Where these files are, relative to the checkout."""
    return Path(".lab") / lab


def client_key(lab: str) -> Path:
    """The private key that may log in to all hosts of a lab; made at first use, kept with the lab's disks."""
    keys = state.directory(lab) / "keys"
    if not keys.is_dir():
        draft = keys.with_name("keys.new")
        run("rm", "--recursive", "--force", str(draft))
        draft.mkdir(mode=0o700)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"lab-{lab}", "-f", str(draft / "id_ed25519"))
        draft.rename(keys)
    return keys / "id_ed25519"


def write(spec: LabSpec, checkout: Path) -> None:
    """Write all files, for whoever owns the checkout."""
    target, key = checkout / folder(spec.name), client_key(spec.name)
    (target / "group_data").mkdir(parents=True, exist_ok=True)
    files = {
        "id_ed25519": key.read_text(),
        "id_ed25519.pub": key.with_suffix(".pub").read_text(),
        "known_hosts": known_hosts({host: disk.host_key(spec.name, host.name) for host in spec.hosts}),
        "ssh_config": ssh_config(spec, target),
        "inventory.py": inventory(spec),
        "group_data/all.py": group_data(spec),
        "group_data/etcd.py": etcd_data(spec),
        "group_data/postgres.py": postgres_data(spec, with_wal=_wal_everywhere(spec)),
        **_package_key(spec),
    }
    for name, text in files.items():
        state.write_whole(target / name, text, 0o600)
    owner = checkout.stat()
    for path in (target.parent, target, target / "group_data", *(target / name for name in files)):
        os.chown(path, owner.st_uid, owner.st_gid)
        if path.is_dir():
            path.chmod(0o700)


def known_hosts(keys: dict[LabHost, str]) -> str:
    """The pinned host keys, by name and by address."""
    return "".join(f"{','.join((host.name, *host.addresses))} {key}\n" for host, key in keys.items())


def ssh_config(spec: LabSpec, target: Path) -> str:
    """The configuration for `ssh -F`, with host names as the user knows them. `target` is where the files are."""
    common = f"""\
Host *
    User root
    IdentityFile "{target / "id_ed25519"}"
    IdentitiesOnly yes
    UserKnownHostsFile "{target / "known_hosts"}"
    GlobalKnownHostsFile none
    StrictHostKeyChecking yes
    ConnectTimeout 5
    # The first one of a current OpenSSH withstands quantum computers and costs twice the processor time of all else in a login.
    KexAlgorithms ^curve25519-sha256
"""
    return "".join(f"Host {host.name}\n    HostName {host.address}\n" for host in spec.hosts) + common


def inventory(spec: LabSpec) -> str:
    """A pyinfra inventory of the lab, to be used from the checkout."""
    at = folder(spec.name)
    shared = {
        "ssh_user": "root",
        "ssh_key": str(at / "id_ed25519"),
        "ssh_known_hosts_file": str(at / "known_hosts"),
    }
    lines = [f'"""The hosts of lab {spec.name}. Written by `invoke lab.up`."""', ""]
    groups = [("etcd", "database"), ("postgres", "database"), ("haproxy", "proxy")]
    for group, kind in [*groups, ("backup", "backup")] if spec.backup else groups:
        lines.append(f"{group} = [")
        for host in spec.hosts:
            if host.kind == kind:
                own = {"ssh_hostname": host.address, "address": host.address}
                power = {f"power_{way}": f"invoke lab.{way} {host.name} --name {spec.name}" for way in ("off", "on")}
                lines.append(f"    {(host.name, {**own, **shared, **power})!r},")
        lines.append("]")
    return "\n".join(lines) + "\n"


def group_data(spec: LabSpec) -> str:
    """What differs from the checkout's own settings: a cluster name of its own, so that two labs share no secrets; and
    the clients' network, where it is another."""
    heading = f'"""Settings of lab {spec.name}, over those of group_data/. Written by `invoke lab.up`."""'
    known = spec.networks == (spec.network,) and spec.network.subnet_of(IPv4Network(SHIPPED_NETWORK))
    networks = "" if known else f"client_networks = {[*map(str, spec.networks)]!r}\n"
    return f"{heading}\n\ncluster_name = {spec.name!r}\n{networks}"


def etcd_data(spec: LabSpec) -> str:
    """What differs for etcd: where it comes from, for hosts of a stable release."""
    return _own_settings("etcd", _package_source(spec, "etcd", "debian"))


def postgres_data(spec: LabSpec, *, with_wal: bool) -> str:
    """What differs for PostgreSQL: the write-ahead log is on the disk of its own that every database host has, if so; and where
    packages come from."""
    wal = f"postgres_wal_directory = {disk.WAL_MOUNT + '/pgquorum'!r}\n" if with_wal else ""
    return _own_settings("PostgreSQL", wal + _package_source(spec, "postgres", "pgdg"))


def _own_settings(what: str, settings: str) -> str:
    heading = f'"""Settings of {what} in this lab, over those of group_data/. Written by `invoke lab.up`."""'
    return f"{heading}\n" + (f"\n{settings}" if settings else "")


def _package_source(spec: LabSpec, group: str, repository: str) -> str:
    """Where hosts of a stable release find what their release does not have, and the key of that."""
    if not set(spec.suites) & packages.STABLE.keys():
        return ""
    url, key = f"file://{packages.ON_HOST}/{repository}", str(folder(spec.name) / PACKAGE_KEY)
    return f"{group}_source_url = {url!r}\n{group}_source_key = {key!r}\n"


def _package_key(spec: LabSpec) -> dict[str, str]:
    """The file of that key, as the hosts' own repositories have it."""
    keys = {
        (disk.root(spec.name, host.name) / f".{packages.ON_HOST}/key.asc").read_text()
        for host in spec.hosts
        if host.suite in packages.STABLE
    }
    return {PACKAGE_KEY: "".join(sorted(keys))} if keys else {}


def _wal_everywhere(spec: LabSpec) -> bool:
    return all(disk.has_wal(spec.name, host.name) for host in spec.hosts if host.kind == "database")
