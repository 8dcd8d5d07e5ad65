"""Shell lines that run on hosts, with this machine's coreutils and with the Rust ones (uutils), which are Ubuntu's since 25.10.

Debian's package of those is rust-coreutils; RUST_COREUTILS names another directory that has them by their names.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from clusters import cluster

from cluster.apt import apt_mark
from cluster.survey import HostSurvey, parse_survey, survey_command
from day2.faults.disk import MOUNT
from operations.managed import Managed, ManagedFiles, write
from operations.services import UnitFact

RUST = os.environ.get("RUST_COREUTILS", "/usr/lib/cargo/bin/coreutils")
FIRST = (0, 2, 2)  # of a release of Ubuntu's: what Debian 12 and 13 have is older, and no host's
DATA = "/var/lib/postgresql/18/pgquorum"


def version(folder: str) -> tuple[int, ...]:
    """Of the Rust coreutils in a directory; empty where it has none."""
    stat = shutil.which("stat", path=folder)
    said = subprocess.run([stat, "--version"], capture_output=True, text=True, check=False).stdout if stat else ""
    return tuple(map(int, re.findall(r"\d+", said))) if "uutils" in said else ()


@pytest.fixture(params=["as here", "Rust"])
def path(request: pytest.FixtureRequest) -> str:
    """The path of a shell that has them."""
    here = os.environ["PATH"]
    if request.param == "as here" or version(here):
        return here
    if not version(RUST):
        pytest.skip(f"NOT RUN WITH THE RUST COREUTILS: none are in {RUST}")
    if version(RUST) < FIRST:
        pytest.skip(f"NOT RUN WITH THE RUST COREUTILS: {'.'.join(map(str, version(RUST)))} is older than any of Ubuntu's")
    return f"{RUST}:{here}"


def run(command: list[str] | str, path: str, given: str = "") -> list[str]:
    """The lines that a command writes, with nothing said against it."""
    done = subprocess.run(
        command, shell=isinstance(command, str), input=given, env={"PATH": path}, capture_output=True, text=True, timeout=60,
        check=True
    )  # fmt: skip
    assert not [line for line in done.stderr.splitlines() if "systemd" not in line and "bus" not in line], done.stderr
    return done.stdout.splitlines()


def test_what_the_survey_measures(path: str, tmp_path: Path) -> None:
    data = tmp_path / "elsewhere"
    for slot, database in (("physical", 0), ("logical", 16384)):
        (data / "pg_replslot" / slot).mkdir(parents=True)
        (data / "pg_replslot" / slot / "state").write_bytes(bytes(80) + database.to_bytes(4, "little") + bytes(100))
    (tmp_path / "link").symlink_to(data)
    (data / "pg_wal").symlink_to(tmp_path / "wal")
    words = shlex.split(survey_command(cluster()))
    script = words[words.index("-c") + 1].rstrip(";").replace(DATA, f"{tmp_path}/link/../link")
    said: HostSurvey = parse_survey(run(["sh", "-c", script], path), time.time())
    assert dict(said.places)["postgres_data_directory"] == str(data)
    assert dict(said.places)["pg_wal"] == str(tmp_path / "wal")
    assert dict(said.places)["etcd_data_directory"].startswith("/")  # which is not there
    assert said.logical_slots == ("logical",)
    assert said.postgres_data == "foreign"
    there = os.statvfs(tmp_path)
    assert said.free_bytes == pytest.approx(there.f_bavail * there.f_frsize, rel=0.1)
    assert abs(said.clock_offset) < 60


def test_when_a_units_files_were_written(path: str, tmp_path: Path) -> None:
    moments = {"old": 1_767_000_000_123_456_000, "new": 1_767_323_045_678_912_000}
    for name, moment in moments.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, ns=(moment, moment))
    files = (str(tmp_path / "new"), str(tmp_path / "old"), str(tmp_path / "missing"))
    said = run(UnitFact().command("none.service", files), path)
    assert UnitFact().process(said).files_written == pytest.approx(1_767_323_045.678912, abs=1e-5)


def test_a_file_is_written_and_then_known(path: str, tmp_path: Path) -> None:
    owner, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    item = Managed(str(tmp_path / "a.conf"), "its\ncontent\n", owner, group, "640", check="grep -q content {}")
    (command,) = write(item)
    run(str(command.get_raw_value()), path, "its\ncontent\n")
    fact = ManagedFiles()
    found = fact.process(run(fact.command((item.path, str(tmp_path), "/none"), (item.path,)), path))
    assert found[item.path] == item.state
    assert found[str(tmp_path)].startswith("directory ")
    assert found[f"content:{item.path}"] == "its\ncontent\n"
    assert len(found) == 3 and [one.name for one in tmp_path.iterdir()] == ["a.conf"]


def test_a_lock_of_apts_is_waited_for(path: str, tmp_path: Path) -> None:
    (tmp_path / "apt-mark").write_text("#!/bin/sh\necho 'dpkg: error: dpkg frontend lock was locked by another' >&2; exit 1\n")
    (tmp_path / "apt-mark").chmod(0o755)
    began = time.monotonic()
    assert run(f"({apt_mark('hold', ['patroni'], seconds=2)}) 2>&1 || echo gave up", f"{tmp_path}:{path}")[-1] == "gave up"
    assert time.monotonic() - began > 1


def test_what_a_fault_asks_of_a_disk(path: str, tmp_path: Path) -> None:
    (mount,) = run(f'wal={tmp_path}/none; {MOUNT}echo "$mount"', path)
    assert os.path.ismount(mount) and str(tmp_path).startswith(mount)
