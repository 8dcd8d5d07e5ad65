"""The disks of one host, which stay when the power is cut: a layer of its own over the base image, and for a database host a
small one for the write-ahead log, so that it can run full without taking anything else along.
"""

import os
import uuid
from pathlib import Path

from lab import state
from lab.command import run
from lab.making import delete
from lab.spec import LabSpec

HOST_KEY = "etc/ssh/ssh_host_ed25519_key"
LOOP_CONTROL = Path("/dev/loop-control")
# Where a host has its second disk, and how large that is. It takes no more room than was ever written to it.
WAL_MOUNT = "/var/lib/pgquorum-wal"
WAL_BYTES = 4 * 1024**3


def folder(lab: str, host: str) -> Path:
    """Where a host's disk and console log are."""
    return state.directory(lab) / "hosts" / host


def root(lab: str, host: str) -> Path:
    """Where a host's whole file system is mounted, also while its power is off."""
    return folder(lab, host) / "root"


def exists(lab: str, host: str) -> bool:
    """Whether a host has a disk."""
    return (folder(lab, host) / "upper").is_dir()


def wal(lab: str, host: str) -> Path:
    """Where a host's disk for the write-ahead log is mounted, if it has one, also while its power is off."""
    return folder(lab, host) / "wal"


def has_wal(lab: str, host: str) -> bool:
    """Whether a host has a disk for the write-ahead log."""
    return _wal_image(lab, host).is_file()


def create(lab: str, host: str, *, with_wal: bool) -> None:
    """Make the disks of a host that has none, whole or not at all. One for the log needs loop devices on this machine."""
    upper = folder(lab, host) / "upper"
    draft = upper.with_name("upper.new")
    unmount_all(lab, host)  # what may be left of a disk that was taken away
    delete(folder(lab, host))
    (draft / "etc/ssh").mkdir(parents=True)
    # Root on a host is root: a set-uid program it makes must be out of reach for the users of this machine.
    folder(lab, host).parent.chmod(0o700)
    state.write_whole(draft / "etc/hostname", f"{host}\n", 0o644)
    state.write_whole(draft / "etc/machine-id", f"{uuid.uuid4().hex}\n", 0o444)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host, "-f", str(draft / HOST_KEY))
    if with_wal and LOOP_CONTROL.exists():
        image = _wal_image(lab, host)
        image.touch(0o600)
        os.truncate(image, WAL_BYTES)
        run("mkfs.ext4", "-q", str(image))
    draft.rename(upper)


def mount(lab: str, host: str, image: Path) -> None:
    """Mount a host's disks, the first over the image, unless they are mounted."""
    target = root(lab, host)
    if not os.path.ismount(target):
        upper, work = target.with_name("upper"), target.with_name("work")
        for directory in (target, work):
            directory.mkdir(exist_ok=True)
        layers = f"lowerdir={image},upperdir={upper},workdir={work}"
        run("mount", "-t", "overlay", f"{lab}-{host}", "-o", layers, str(target))
    if has_wal(lab, host) and not os.path.ismount(wal(lab, host)):
        wal(lab, host).mkdir(exist_ok=True)
        # The loop device goes by itself when it is unmounted.
        run("mount", "-o", "loop", str(_wal_image(lab, host)), str(wal(lab, host)))


def unmount_all(lab: str, host: str = "") -> None:
    """Unmount everything of a lab, or of one host of it, however often it was mounted."""
    inside = f"{folder(lab, host)}/"
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for point in reversed(points):
        if point.startswith(inside):
            # Lazily: a shell that stands in it must not keep a lab from going down.
            run("umount", "--lazy", point)


def introduce(spec: LabSpec, host: str, client_key: str) -> None:
    """Tell a host, on or off, the names of all hosts of its lab, and whose key may log in as root."""
    names = [f"{address} {other.name}" for other in spec.hosts for address in other.addresses]
    _add_lines(root(spec.name, host) / "etc/hosts", names, 0o644)
    ssh = root(spec.name, host) / "root/.ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    _add_lines(ssh / "authorized_keys", [client_key.strip()], 0o600)


def host_key(lab: str, host: str) -> str:
    """The public host key of a host: type and key, without the comment."""
    kind, key, *_ = (folder(lab, host) / "upper" / f"{HOST_KEY}.pub").read_text().split()
    return f"{kind} {key}"


def _wal_image(lab: str, host: str) -> Path:
    return folder(lab, host) / "wal.img"


def _add_lines(path: Path, lines: list[str], mode: int) -> None:
    present = path.read_text().splitlines() if path.exists() else []
    missing = [line for line in lines if line not in present]
    if missing:
        state.write_whole(path, "\n".join([*present, *missing]) + "\n", mode)
