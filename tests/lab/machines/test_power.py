"""The power switch and the network cable of a host."""

import socket
import time

import pytest
from machine_eyes import (
    DATABASE,
    PROXY,
    answers_arp,
    shell,
    ssh,
    wait_until,
)

from lab import Lab, LabError, cgroup


def test_off_is_a_power_cut(lab: Lab) -> None:
    with socket.create_connection((DATABASE.address, 22), timeout=2) as held:
        assert held.recv(256).startswith(b"SSH-")
        before, wall = time.monotonic(), time.time()
        cut = lab.off(DATABASE.name)
        assert before <= cut.monotonic <= time.monotonic()
        assert wall <= cut.wall <= time.time()
        # Everything is dead the moment off returns …
        assert shell("ps -ww -eo stat,args | grep -v ^Z | grep 'machine=lt-pg-sv0[1]'").stdout == ""
        assert not list(cgroup.base().glob("lt/pg-sv01*"))
        # … and nobody has said goodbye for it.
        held.settimeout(1.5)
        with pytest.raises(TimeoutError):
            held.recv(1)
    assert not answers_arp(DATABASE.address)
    assert answers_arp(PROXY.address)
    assert shell(f"ssh -F {lab.ssh_command(PROXY.name)[2]} {DATABASE.name} true").returncode == 255
    status = {host.name: (host.power, host.cable, host.ssh) for host in lab.status()}
    assert status == {"pg-sv01": (False, False, False), "pg-haproxy": (True, True, True)}
    with pytest.raises(LabError, match="pg-sv01 is off"):
        lab.run(DATABASE.name, "true")


def test_off_and_on_twice_are_as_once(lab: Lab) -> None:
    lab.off(DATABASE.name)
    lab.off(DATABASE.name)
    lab.on(DATABASE.name)
    boot = ssh(lab, DATABASE.name, "cat /proc/sys/kernel/random/boot_id")
    lab.on(DATABASE.name)
    assert ssh(lab, DATABASE.name, "cat /proc/sys/kernel/random/boot_id") == boot


def test_on_brings_back_what_was_enabled_and_nothing_else(lab: Lab) -> None:
    unit = "[Service]\nExecStart=sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
    for name in ("wanted", "unwanted"):
        lab.run(DATABASE.name, "tee", f"/etc/systemd/system/{name}.service", input=unit)
    ssh(lab, DATABASE.name, "systemctl enable --now wanted; systemctl start unwanted")
    ssh(lab, DATABASE.name, "nft add table inet leftover; logger before the cut; journalctl --sync; echo kept > /root/kept")
    key = ssh(lab, DATABASE.name, "cat /etc/ssh/ssh_host_ed25519_key.pub")
    hardware = ssh(lab, DATABASE.name, "cat /sys/class/net/eth0/address")
    lab.off(DATABASE.name)
    lab.on(DATABASE.name)
    assert ssh(lab, DATABASE.name, "systemctl is-system-running --wait") == "running"
    assert ssh(lab, DATABASE.name, "systemctl is-active wanted") == "active"
    assert ssh(lab, DATABASE.name, "systemctl is-active unwanted || true") == "inactive"
    assert ssh(lab, DATABASE.name, "nft list ruleset") == ""
    assert ssh(lab, DATABASE.name, "cat /root/kept") == "kept"
    assert "before the cut" in ssh(lab, DATABASE.name, "journalctl --boot=-1 --no-pager")
    assert ssh(lab, DATABASE.name, "cat /etc/ssh/ssh_host_ed25519_key.pub") == key
    assert ssh(lab, DATABASE.name, "cat /sys/class/net/eth0/address") == hardware


def test_a_host_may_be_cut_off_in_the_middle_of_its_boot(lab: Lab) -> None:
    for delay in (0, 0.02, 0.05, 0.1, 0.2):
        lab.off(DATABASE.name)
        lab.on(DATABASE.name, wait=False)
        time.sleep(delay)
    lab.off(DATABASE.name)
    assert shell("ps -ww -eo stat,args | grep -v ^Z | grep 'machine=lt-pg-sv0[1]'").stdout == ""
    lab.on(DATABASE.name)
    assert ssh(lab, DATABASE.name, "systemctl is-system-running --wait") == "running"


def test_cut_and_heal(lab: Lab) -> None:
    lab.cut(DATABASE.name)
    lab.cut(DATABASE.name)
    assert not answers_arp(DATABASE.address)
    assert "0 received" in ssh(lab, PROXY.name, f"ping -c 1 -W 1 {DATABASE.name} || true")
    # The host is on, and sees that its cable is gone.
    assert lab.run(DATABASE.name, "cat", "/sys/class/net/eth0/carrier").stdout == "0\n"
    assert lab.run(DATABASE.name, "systemctl", "is-active", "ssh").stdout == "active\n"
    lab.heal(DATABASE.name)
    lab.heal(DATABASE.name)
    assert ssh(lab, PROXY.name, f"ping -c 1 -W 5 {DATABASE.name} >/dev/null && echo back") == "back"
    lab.off(DATABASE.name)
    for switch in (lab.cut, lab.heal):
        with pytest.raises(LabError, match=r"pg-sv01 is off.*`invoke lab.on pg-sv01`"):
            switch(DATABASE.name)


def test_up_mends_a_cable_and_powers_on(lab: Lab) -> None:
    lab.cut(DATABASE.name)
    lab.off(PROXY.name)
    lab.up()
    assert all(host.power and host.cable and host.ssh for host in lab.status())


def test_a_host_reboots_and_powers_off_by_its_own_command(lab: Lab) -> None:
    boot_id = ("cat", "/proc/sys/kernel/random/boot_id")
    boot = lab.run(DATABASE.name, *boot_id).stdout
    lab.run(DATABASE.name, "systemctl", "reboot")
    wait_until(lambda: lab.status()[0].ssh and lab.run(DATABASE.name, *boot_id).stdout not in ("", boot))
    lab.run(DATABASE.name, "systemctl", "poweroff")
    wait_until(lambda: not lab.status()[0].power)
    lab.on(DATABASE.name)
    assert ssh(lab, DATABASE.name, "systemctl is-system-running --wait") == "running"
