"""A host of the lab is a real one, and reaches what it should and nothing else."""

import subprocess
import time
from pathlib import Path

import pytest
from machine_eyes import (
    DATABASE,
    PROXY,
    SPEC,
    shell,
    ssh,
)

from lab import Lab, LabError
from lab.recipe import OTHER_PACKAGES, ROLE_PACKAGES


def test_a_host_is_a_real_one(lab: Lab) -> None:
    for host in SPEC.hosts:
        assert ssh(lab, host.name, "hostname; cat /proc/1/comm; whoami").split() == [host.name, "systemd", "root"]
        assert ssh(lab, host.name, "systemctl is-system-running --wait") == "running"
        assert host.address in ssh(lab, host.name, "ip -4 -brief address show eth0")
    ids = {ssh(lab, host.name, "cat /etc/machine-id") for host in SPEC.hosts}
    assert len(ids) == 2


def test_hosts_know_each_other_by_name(lab: Lab) -> None:
    ssh(lab, DATABASE.name, f"ping -c 1 -W 2 {PROXY.name}")
    ssh(lab, PROXY.name, f"ping -c 1 -W 2 {DATABASE.name}")
    began = time.monotonic()
    assert ssh(lab, DATABASE.name, "getent hosts nowhere.example || echo unknown") == "unknown"
    assert time.monotonic() - began < 60


def test_a_host_reaches_its_own_subnet_and_nothing_else(lab: Lab) -> None:
    assert ssh(lab, DATABASE.name, "ip route") == f"10.77.2.0/24 dev eth0 proto kernel scope link src {DATABASE.address}"
    assert "Network is unreachable" in ssh(lab, DATABASE.name, "ping -c 1 192.0.2.1 2>&1 || true")
    assert ssh(lab, DATABASE.name, "ip -6 -brief address show eth0 scope link") == ""


def test_a_wrong_host_key_is_refused(lab: Lab, checkout: Path, tmp_path: Path) -> None:
    known = (checkout / ".lab/lt/known_hosts").read_text().splitlines()
    wrong = tmp_path / "known_hosts"
    wrong.write_text(known[0].replace(known[0].split()[2], known[1].split()[2]) + "\n")
    command = [*lab.ssh_command(DATABASE.name), "true"]
    command[1:1] = ["-o", f"UserKnownHostsFile={wrong}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


def test_only_the_key_of_the_lab_logs_in(lab: Lab, tmp_path: Path) -> None:
    shell(f"ssh-keygen -q -t ed25519 -N '' -f {tmp_path}/other")
    command = [*lab.ssh_command(DATABASE.name), "true"]
    command[1:3] = ["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-i", f"{tmp_path}/other"]
    command[-2] = f"root@{DATABASE.address}"
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert "Permission denied (publickey)" in done.stderr


def test_the_files_of_the_operator_are_for_the_operator_alone(lab: Lab, checkout: Path) -> None:
    assert (checkout / ".lab").stat().st_mode & 0o777 == 0o700
    assert (checkout / ".lab/lt/id_ed25519").stat().st_mode & 0o777 == 0o600


def test_role_packages_install_without_a_network(lab: Lab) -> None:
    for package in (*ROLE_PACKAGES, *OTHER_PACKAGES):
        wanted = ssh(lab, PROXY.name, f"apt-get install --print-uris --yes {package}")
        assert "://" not in wanted, f"{package} alone would have to be fetched"
    ssh(lab, PROXY.name, "DEBIAN_FRONTEND=noninteractive apt-get install --yes haproxy")
    assert ssh(lab, PROXY.name, "systemctl is-active haproxy") == "active"


def test_apt_update_on_a_host_ends_at_once_and_does_no_harm(lab: Lab) -> None:
    began = time.monotonic()
    ssh(lab, DATABASE.name, "apt-get update")
    assert time.monotonic() - began < 90
    assert "://" not in ssh(lab, DATABASE.name, "apt-get install --print-uris --yes patroni")


def test_run_inside_a_host(lab: Lab) -> None:
    done = lab.run(DATABASE.name, "sh", "-c", "cat; pwd; exit 3", input="hello\n")
    assert (done.returncode, done.stdout) == (3, "hello\n/\n")
    with pytest.raises(LabError, match=r"`sleep` on pg-sv01 was not done after 0\.3 s"):
        lab.run(DATABASE.name, "sleep", "4242", timeout=0.3)
    time.sleep(0.2)
    assert "4242" not in ssh(lab, DATABASE.name, "ps -eo args")


def test_an_unknown_host_is_named_with_the_nearest(lab: Lab) -> None:
    for switch in (lab.off, lab.on, lab.cut, lab.heal, lab.run, lab.ssh_command):
        with pytest.raises(LabError, match="did you mean pg-sv01"):
            switch("pg-sv1")
