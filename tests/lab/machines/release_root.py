"""The programs of one release of Debian with what a deploy writes for them, and no host: the lab's image, and over it a layer of
its own, in which their packages are unpacked. The image stays as it is, and nothing stays mounted."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lab.making import ALONE
from operations.managed import Managed

PATIENCE = 900
# In namespaces of its own, so that it needs no unmounting, and no program reaches anything.
ENTER = """
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
mount -t proc proc "$2/root/proc"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 SYSTEMD_COLORS=0 chroot "$2/root" bash -euc "$3"
"""
# All that hosts would install but what no program needs to judge its files. Where /lib is a link, a package may have a directory.
UNPACK = """
for deb in /var/cache/apt/archives/*.deb /srv/lab/*/pool/*.deb; do
    case $deb in *libperl5*) ;;  # keepalived is linked with it, by way of SNMP
    *libllvm*|*perl*|*locales*|*l10n*|*libz3*|*postgresql-17*|*postgresql-client-17*) continue ;; esac
    [ ! -e "$deb" ] || dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C /
done
systemd-sysusers --inline 'u postgres -' 'u etcd -' 'u haproxy -' 'u keepalived_script -'
"""


@dataclass(frozen=True)
class Root:
    """The image, and the folder of the layer over it."""

    image: Path
    folder: Path

    def __post_init__(self) -> None:
        for name in ("upper", "work", "root"):
            (self.folder / name).mkdir()

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """What a script of bash's says there, on both of its outputs, and how it ends."""
        command = [*ALONE, "--net", "bash", "-euc", ENTER, "bash", str(self.image), str(self.folder), script]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, check=False)

    def said(self, script: str) -> str:
        """The same of one that must not fail."""
        done = self.run(script)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def write(self, files: Iterable[Managed]) -> None:
        """Puts files of the deploy's where they belong."""
        for file in files:
            place = self.folder / "upper" / file.path.lstrip("/")
            if file.content is None:
                place.mkdir(parents=True, exist_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(file.content)
                place.chmod(int(file.mode, 8))
