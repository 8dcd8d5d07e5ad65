"""The life of a lab: up, up again, grown, ended half way, stale, down."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from machine_eyes import (
    DATABASE,
    PROXY,
    SPEC,
    end_all_processes,
    reboot_of_the_machine,
    shell,
    ssh,
    traces,
    wait_until,
)
from repository import ROOT

from lab import Lab, LabError, LabSpec


def test_up_again_changes_nothing(lab: Lab, checkout: Path) -> None:
    def everything() -> tuple[list[str], list[str]]:
        boots = [ssh(lab, host.name, "cat /proc/sys/kernel/random/boot_id") for host in SPEC.hosts]
        return boots, [path.read_text() for path in sorted((checkout / ".lab/lt").rglob("*")) if path.is_file()]

    before = everything()
    lab.up()
    assert everything() == before


def test_load_opens_what_is_up(lab: Lab, checkout: Path) -> None:
    assert Lab.load("lt", checkout).spec == SPEC
    with pytest.raises(LabError, match=r"there is no lab nosuch; `invoke lab.up`"):
        Lab.load("nosuch", checkout)


def test_another_checkout_is_refused(lab: Lab, checkout: Path, tmp_path: Path) -> None:
    with pytest.raises(LabError, match=f"of {checkout} is running"):
        Lab(SPEC, tmp_path).up()
    with pytest.raises(LabError, match=f"of {checkout} is running.*another subnet"):
        Lab(LabSpec(name="ltother", subnet="10.77.2.0/25"), tmp_path).up()
    with pytest.raises(LabError, match=f"belongs to {checkout}"):
        Lab.load("lt", tmp_path)
    with pytest.raises(LabError, match=f"belongs to {checkout}"):
        Lab(SPEC, tmp_path).down()
    assert all(host.ssh for host in lab.status())


def test_two_labs_side_by_side(lab: Lab, tmp_path: Path) -> None:
    other = Lab(LabSpec(name="lt2", subnet="10.77.3.0/24", databases=1, proxies=0), tmp_path)
    try:
        other.up()
        assert ssh(other, "pg-sv01", "hostname") == "pg-sv01"
        assert "0 received" in ssh(other, "pg-sv01", f"ping -c 1 -W 1 {DATABASE.address} 2>&1 || echo 0 received")
    finally:
        other.down()
    assert traces("lt2") == {}
    assert all(host.ssh for host in lab.status())


def test_a_lab_grows(lab: Lab, checkout: Path) -> None:
    boot = ssh(lab, DATABASE.name, "cat /proc/sys/kernel/random/boot_id")
    try:
        Lab(LabSpec(name="lt", subnet="10.77.2.0/24", databases=2, proxies=1), checkout).up()
        assert ssh(lab, DATABASE.name, "ping -c 1 -W 2 pg-sv02 >/dev/null && echo met") == "met"
        assert ssh(lab, DATABASE.name, "cat /proc/sys/kernel/random/boot_id") == boot
        with pytest.raises(LabError, match="lab lt has 2 databases; for only 1"):
            lab.up()
    finally:
        lab.down()


def test_ups_at_the_same_time_wait_for_each_other(lab: Lab, checkout: Path) -> None:
    lab.down()
    said: list[str] = []
    ups = [threading.Thread(target=Lab(SPEC, checkout, said.append).up) for _ in range(3)]
    for up in ups:
        up.start()
    for up in ups:
        up.join()
    assert said.count("pg-sv01 (10.77.2.11): power on") == 1
    assert "another command is at work on lab lt: waiting for it" in said
    assert all(host.ssh for host in lab.status())


def test_down_leaves_nothing_but_the_guard_of_its_subnet(lab: Lab, checkout: Path) -> None:
    assert set(traces("lt")) == {"namespaces", "links", "mounts", "cgroups", "processes", "disks", "routes"}
    lab.off(PROXY.name)
    lab.down()
    assert traces("lt") == {}
    assert not (checkout / ".lab/lt").exists()
    assert "unreachable 10.77.2.0/24" in shell("ip route").stdout
    with pytest.raises(OSError, match=r"No route to host|Network is unreachable"):
        socket.create_connection((DATABASE.address, 22), timeout=2)
    lab.down()


def test_the_guard_of_a_smaller_lab_of_the_past_is_no_wall(lab: Lab) -> None:
    lab.down()
    shell("ip route replace unreachable 10.77.2.0/25 metric 4294967294")
    lab.up()
    assert ssh(lab, DATABASE.name, "hostname") == DATABASE.name
    assert "10.77.2.0/25" not in shell("ip route").stdout


def test_new_keys_after_down(lab: Lab, checkout: Path) -> None:
    def keys() -> set[str]:
        return {(checkout / ".lab/lt" / name).read_text() for name in ("id_ed25519", "known_hosts")}

    before = keys()
    lab.down()
    lab.up()
    assert not before & keys()


def test_up_mends_what_was_taken_from_under_it(lab: Lab, checkout: Path) -> None:
    lab_files, state = checkout / ".lab", Path("/var/lib/pgquorum-lab/lt")
    for damage in (
        f"rm -r {lab_files}",
        "ip netns delete pgq-lt",
        "ip link delete pgq-lt",
        f"rm -r {state}/keys",
        f"rm -r {state}/hosts/pg-sv01/upper",
        f"truncate --size 10 {state}/state.json",
        f"rm {state}/state.json",
    ):
        assert shell(damage).returncode == 0
        lab.up()
        assert [ssh(lab, host.name, "hostname") for host in SPEC.hosts] == [DATABASE.name, PROXY.name], damage


def test_on_and_up_after_the_machine_itself_was_rebooted(lab: Lab) -> None:
    for wake in (lambda: lab.on(DATABASE.name), lab.up):
        ssh(lab, DATABASE.name, "echo kept > /root/kept; sync")
        reboot_of_the_machine()
        assert not lab.status()[0].power
        wake()
        assert ssh(lab, DATABASE.name, "cat /root/kept") == "kept"


def test_a_stale_lab_is_cleared(lab: Lab, checkout: Path, tmp_path: Path) -> None:
    """One whose hosts all died with the session that started them, and one whose checkout was deleted."""
    end_all_processes()
    said: list[str] = []
    here = Lab(SPEC, tmp_path / "here", said.append)
    here.checkout.mkdir()
    here.up()
    assert f"clearing what is left of lab lt of {checkout}" in said
    shell(f"rm -r {here.checkout}")
    lab.up()
    assert ssh(lab, DATABASE.name, "hostname") == DATABASE.name


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("delay", [0.1, 0.2, 0.3])
def test_an_up_that_was_ended_half_way_is_finished_by_the_next(
    lab: Lab, checkout: Path, end: signal.Signals, delay: float
) -> None:
    lab.down()
    up = subprocess.Popen(
        [sys.executable, "-c", f"from pathlib import Path; from lab import *; Lab({SPEC!r}, Path({str(checkout)!r})).up()"],
        cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    time.sleep(delay)
    os.killpg(up.pid, end)
    up.wait()
    lab.up()
    assert [ssh(lab, host.name, "hostname") for host in SPEC.hosts] == [DATABASE.name, PROXY.name]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_an_image_build_that_was_ended_leaves_no_image_and_no_process(tmp_path: Path, end: signal.Signals) -> None:
    build = f"""
from pathlib import Path
from lab import LabSpec, image, recipe
image.IMAGES = Path({str(tmp_path)!r})
recipe.command = lambda suite, mirror, target: ["sh", "-c", "mkdir $0; mount -t tmpfs tmpfs $0; sleep 31415", target]
image.ensure(recipe.image_name("forky"), "forky", LabSpec(), print)
"""
    process = subprocess.Popen([sys.executable, "-c", build], cwd=ROOT, start_new_session=True)
    wait_until((tmp_path / "unfinished-forky").is_dir)
    time.sleep(0.2)
    os.killpg(process.pid, end)
    process.wait()
    wait_until(lambda: shell("ps -ww -eo stat,args | grep -v ^Z | grep 'sleep 3141[5]'").stdout == "")
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    assert [path.name for path in tmp_path.iterdir()] in ([], ["unfinished-forky"])
