"""What a host is asked about the files that a deploy owns, by a real shell."""

from __future__ import annotations

import getpass
import grp
import hashlib
import os
import subprocess
from pathlib import Path

from operations.managed import Managed, ManagedFiles

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
