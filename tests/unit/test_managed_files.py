"""What a host is asked about the files that a deploy owns, by a real shell."""

from __future__ import annotations

import getpass
import grp
import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from operations.managed import Managed, ManagedFiles, passes_theirs

OWNER, GROUP = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name


def asked(wanted: list[Path], contents: list[Path] | None = None) -> dict[str, str]:
    fact = ManagedFiles()
    command = fact.command(tuple(map(str, wanted)), tuple(map(str, contents or ())))
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return fact.process(done.stdout.splitlines())


def test_a_file_is_told_as_the_deploy_would_have_it_and_so_is_a_directory(tmp_path: Path) -> None:
    file, folder = tmp_path / "a.conf", tmp_path / "b.d"
    file.write_text("as it was\n")
    file.chmod(0o640)
    folder.mkdir(mode=0o750)
    found = asked([folder, file], [file])
    assert found[str(file)] == Managed(str(file), "as it was\n", OWNER, GROUP, "640").state
    assert found[str(folder)] == Managed(str(folder), None, OWNER, GROUP, "750").state
    assert found[f"content:{file}"] == "as it was\n"


def test_what_is_not_there_or_no_file_is_left_out(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    assert asked([tmp_path / "gone", tmp_path / "pipe", tmp_path / "nowhere"]) == {}


def test_a_link_is_no_file_of_the_deploys_whatever_it_leads_to(tmp_path: Path) -> None:
    file, link = tmp_path / "a.conf", tmp_path / "b.conf"
    file.write_text("as it was\n")
    link.symlink_to(file)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert asked([link])[str(link)] == f"{digest} {OWNER}:{GROUP} 777"


@pytest.mark.parametrize(
    ("passed", "theirs"),
    [
        ("drwxr-xr-x root root var\n lrwxrwxrwx root root lib -> ../srv", False),
        ("drwxr-xr-x root root var\n                 x - no such file or directory", False),
        ("drwxrwsr-x root staff local", False),
        ("drwxr-xr-x postgres postgres data", True),
        ("drwxrwxrwt root root tmp", True),
        ("drwxrwxr-x root postgres data", True),
    ],
)
def test_root_makes_a_directory_itself_only_below_directories_of_its_own(tmp_path: Path, passed: str, theirs: bool) -> None:
    namei = tmp_path / "namei"
    namei.write_text(f"#!/bin/sh\n[ \"$*\" = '-om /var/lib' ] || exit 1\necho 'f: /var/lib'\nprintf ' %s\\n' '{passed}'\n")
    namei.chmod(0o755)
    command = passes_theirs("/var/lib", "postgres")
    done = subprocess.run(["sh", "-c", command], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, check=False)
    assert (done.returncode == 0) == theirs
