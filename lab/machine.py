"""The power switch of a host: systemd-nspawn with systemd as PID 1, in a cgroup and a network namespace of its own."""

import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lab import disk, network
from lab.cgroup import Cgroup
from lab.command import LAST_WORDS, LabError
from lab.spec import LabHost, LabSpec

# Moves itself into the host's cgroup before anything else, so that a power cut at any later moment hits all of it.
# systemd refuses the old cgroup hierarchy, which some machines still mount: it gets to see cgroup v2 and nothing else.
# Entering the network first, instead of letting nspawn do it, makes /sys show the interfaces of the host as well.
# A host may change the settings of its own network: they are its network namespace's.
# nspawn ends with 133 when the host reboots by its own will.
# What nspawn would note in /run for tools that manage machines lies in a tmpfs of its own and goes with it.
BOOT = """
echo 0 > "$1/cgroup.procs"
network="$2"
shift 2
mkdir -p /run/systemd/nspawn
exec setsid --fork unshare --mount nsenter --net="$network" sh -ec '
umount --recursive /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs tmpfs /run/systemd/nspawn
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network
while systemd-nspawn "$@"; [ $? -eq 133 ]; do :; done' nspawn "$@"
"""


@dataclass(frozen=True)
class PowerCut:
    """When a host lost its power: read just before its link went down, a few milliseconds at most.

    `monotonic` is seconds of time.monotonic(), `wall` seconds of time.time().
    """

    host: str
    monotonic: float
    wall: float


def is_on(lab: str, host: str) -> bool:
    """Whether a host has power."""
    return Cgroup.of(lab, host).populated()


def power_on(spec: LabSpec, host: LabHost, image: Path) -> None:
    """Boot a host that is off, from its disk, with its cable plugged in. Returns before it has booted."""
    network.unplug(spec.name, host.name)
    cgroup = Cgroup.of(spec.name, host.name)
    cgroup.renew()
    disk.mount(spec.name, host.name, image)
    network.plug_in(spec, host)
    namespace = network.namespace_path(spec.name, host.name)
    console = disk.folder(spec.name, host.name) / "console.log"
    with console.open("w") as output:
        started = subprocess.run(
            ["sh", "-ec", BOOT, "boot", cgroup.path, namespace, *_nspawn(spec.name, host.name)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False,
        )  # fmt: skip
    if started.returncode:
        raise LabError(f"{host.name} could not be powered on. {_last_words(spec.name, host.name)}")


def cut_power(lab: str, host: str) -> PowerCut:
    """Cut a host's power: its link goes first, then everything in it at once. Returns when all of it is dead."""
    plugged_in = network.connected(lab, host)
    cut = PowerCut(host, time.monotonic(), time.time())
    # The link first: otherwise the kernel would say goodbye for the dead, which no dead machine does.
    if plugged_in:
        network.disconnect(lab, host)
    cgroup = Cgroup.of(lab, host)
    cgroup.kill()
    cgroup.remove()
    # Its sockets and firewall rules would live on in the namespace.
    network.unplug(lab, host)
    return cut


def run_inside(lab: str, host: str, argv: tuple[str, ...], stdin: str | None, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a command as root inside a host that is on, without its network.

    `timeout` is in seconds. Raises LabError when the host is off, has not booted far enough, or the time is up.
    """
    enter = ["nsenter", "--all", "--root", "--wd", "--target", str(_leader(lab, host))]
    clean = ["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "HOME=/root", "LANG=C.UTF-8"]
    with subprocess.Popen(
        [*enter, *clean, *argv],
        stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            output, errors = process.communicate(stdin, timeout)
        except BaseException as error:
            # The whole session: what runs inside is a child of nsenter and would outlive it.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise LabError(f"`{argv[0]}` on {host} was not done after {timeout:g} s") from None
            raise
    return subprocess.CompletedProcess(argv, process.returncode, output, errors)


def wait_for_ssh(lab: str, host: LabHost, deadline: float) -> None:
    """Return when a host's sshd answers. `deadline` is a time.monotonic(); past it, LabError with its last words."""
    while not ssh_answers(host):
        if time.monotonic() > deadline or not is_on(lab, host.name):
            raise LabError(f"sshd of {host.name} does not answer. {_last_words(lab, host.name)}")
        time.sleep(0.02)


def ssh_answers(host: LabHost) -> bool:
    """Whether a host's sshd says its first words within a second."""
    try:
        with socket.create_connection((host.address, 22), timeout=1) as connection:
            return connection.recv(256).startswith(b"SSH-")
    except OSError:
        return False


def _last_words(lab: str, host: str) -> str:
    console = (disk.folder(lab, host) / "console.log").read_text(errors="replace")
    return "\n  ".join(["Last words on its console:", *(console.splitlines()[-LAST_WORDS:] or ["(none)"])])


def _nspawn(lab: str, host: str) -> list[str]:
    return [
        # Nobody else is to manage it: it belongs to no service manager of this machine.
        "--register=no", "--keep-unit", "--settings=no", "--link-journal=no", "--timezone=off", "--resolv-conf=off",
        "--capability=CAP_NET_ADMIN", "--quiet", "--boot", "--console=pipe", f"--machine={lab}-{host}",
        f"--hostname={host}", f"--directory={disk.root(lab, host)}",
        *([f"--bind={disk.wal(lab, host)}:{disk.WAL_MOUNT}"] if disk.has_wal(lab, host) else []),
    ]  # fmt: skip


def _leader(lab: str, host: str) -> int:
    """The machine's process id of a host's PID 1."""
    for pid in Cgroup.of(lab, host).pids():
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        ids = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
        if len(ids) > 1 and ids[-1] == "1":
            return pid
    raise LabError(f"{host} is off: nothing can run on it. `invoke lab.on {host}` boots it")
