"""A deploy of four blank hosts beside a bare parallel script that does the same; and a second run with nothing to do."""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from cluster import paths
from lab import Lab
from lab.disk import WAL_MOUNT

from . import rig

# Everything the deploy puts on a host. The bare script gets these very files, so that both end in the same cluster: the
# directories that are the cluster's own, what the host's list of files has besides, and where data will be, empty.
FILES = ["/etc/pgquorum", "/etc/etcd", paths.PATRONI_CONFIG, paths.PATRONI_TLS, paths.HAPROXY_TLS]
LISTED = f"cut -d ' ' -f 3- {paths.MANIFEST}"
DIRECTORIES = ["/var/lib/etcd/pgquorum", "/var/lib/postgresql/18/pgquorum", f"{WAL_MOUNT}/pgquorum"]


def collect(lab: Lab, target: Path) -> None:
    """Packs what a deployed host has got, and its (empty) data directories, into target/<host>.tar."""
    for host in lab.spec.hosts:
        empty, full = (f"$(ls -d {' '.join(names)} 2>/dev/null)" for names in (DIRECTORIES, FILES))
        pack = f"tar -c -P --no-recursion {empty} --recursion {full} $({LISTED})"
        done = subprocess.run([*lab.ssh_command(host.name), pack], capture_output=True, check=True, cwd=rig.CHECKOUT)
        (target / f"{host.name}.tar").write_bytes(done.stdout)


def bare(lab: Lab, files: Path) -> float:
    """Seconds of the bare script, to a server that answers on the write port."""
    databases = " ".join(h.name for h in lab.spec.hosts if h.kind == "database")
    proxies = " ".join(h.name for h in lab.spec.hosts if h.kind == "proxy")
    began = time.monotonic()
    rig.timed("sh", str(Path(__file__).with_name("bare.sh")), rig.SSH_CONFIG, str(files), databases, proxies)
    rig.until_writable(lab)
    return time.monotonic() - began


def main(rounds: int = 3) -> None:
    ours, yardstick, second = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            with rig.blank_lab() as lab:
                ours.append(rig.deploy())
                second += [rig.deploy() for _ in range(3)]
                collect(lab, Path(folder))
            with rig.blank_lab() as lab:
                yardstick.append(bare(lab, Path(folder)))
    for name, seconds in (("deploy", ours), ("bare script", yardstick), ("second run", second)):
        print(f"{name:12} {' '.join(f'{s:6.1f}' for s in seconds)}   median {statistics.median(seconds):.1f} s")
    ratios = [a / b for a, b in zip(ours, yardstick, strict=True)]
    print(f"deploy / bare script, pair by pair: {' '.join(f'{r:.2f}' for r in ratios)}   median {statistics.median(ratios):.2f}")
