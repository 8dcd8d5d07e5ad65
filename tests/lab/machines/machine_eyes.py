"""The lab's hosts seen with other eyes than its own: ssh, ip, ps, a plain socket."""

import socket
import subprocess
import time
from collections.abc import Callable

from hosts import MACHINES

from lab import Lab, cgroup

SPEC = MACHINES
DATABASE, PROXY = SPEC.hosts


def shell(command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, shell=True, capture_output=True, text=True, timeout=timeout, check=False)


def ssh(lab: Lab, host: str, command: str) -> str:
    done = subprocess.run([*lab.ssh_command(host), command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def answers_arp(address: str) -> bool:
    """Whether an address answers to ARP, the one question that no firewall answers for another."""
    shell(f"ip neighbour flush to {address}")
    try:
        socket.create_connection((address, 9), timeout=1).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True


def traces(lab: str) -> dict[str, str]:
    """Everything of a lab that the machine has."""
    commands = {
        "namespaces": f"ls /run/netns | grep ^pgq-{lab}",
        "links": f"ip -brief link | grep pgq-{lab}",
        "mounts": f"grep -e pgquorum-lab/{lab}/ -e /pgq-{lab} /proc/self/mounts",
        "cgroups": f"find /sys/fs/cgroup -path '*pgquorum-lab/{lab}*'",
        "processes": f"ps -ww -eo stat,args | grep -v ^Z | grep 'machine={lab}[-]'",
        "disks": f"ls -d /var/lib/pgquorum-lab/{lab}",
        "routes": f"ip route | grep 'dev pgq-{lab}'",
    }
    return {what: found for what, command in commands.items() if (found := shell(command).stdout)}


def end_all_processes() -> None:
    (cgroup.base() / "lt/cgroup.kill").write_text("1")
    wait_until(lambda: not cgroup.Cgroup(cgroup.base() / "lt").populated())


def reboot_of_the_machine() -> None:
    """What is left of the lab after the machine was rebooted: its disks."""
    end_all_processes()
    cgroup.Cgroup(cgroup.base() / "lt").remove()
    for command in (
        "ip link delete pgq-lt",
        "for name in $(ls /run/netns | grep ^pgq-lt); do ip netns delete $name; done",
        "for disk in /var/lib/pgquorum-lab/lt/hosts/*/*; do ! mountpoint -q $disk || umount $disk; done",
        "ip route delete unreachable 10.77.2.0/24",
    ):
        assert shell(command).returncode == 0, command
    assert set(traces("lt")) == {"disks"}


def wait_until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)
