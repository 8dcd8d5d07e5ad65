"""apt-mark beside another apt: the script itself is run, with an apt-mark that tells of a lock."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cluster.apt import apt_mark

LOCKED = "dpkg: error: dpkg frontend lock was locked by /usr/bin/apt-get process with pid 1514"


def marked(folder: Path, said: str, times: int, seconds: int = 60) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """How the script ends, and what apt-mark was asked each time, when it fails with `said` that many times."""
    folder.joinpath("apt-mark").write_text(
        f'#!/bin/sh\necho "$@" >>{folder}/asked\n[ $(wc -l <{folder}/asked) -gt {times} ] && exit\necho "{said}" >&2\nexit 2\n'
    )
    folder.joinpath("sleep").write_text("#!/bin/sh\n")
    for name in ("apt-mark", "sleep"):
        folder.joinpath(name).chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    run = subprocess.run(
        ["sh", "-c", apt_mark("hold", ["etcd-server", "patroni"], seconds)], env={"PATH": path}, capture_output=True, text=True
    )
    return run, folder.joinpath("asked").read_text().splitlines()


@pytest.mark.parametrize("lock", [LOCKED, LOCKED.replace("was locked by /usr/bin/apt-get", "is locked by another")])
def test_it_waits_while_another_holds_the_lock(tmp_path: Path, lock: str) -> None:
    run, asked = marked(tmp_path, lock, times=3)
    assert (run.returncode, run.stderr, asked) == (0, "", ["hold etcd-server patroni"] * 4)


def test_it_gives_up_with_the_reason(tmp_path: Path) -> None:
    run, asked = marked(tmp_path, LOCKED, times=1000, seconds=0)
    assert (run.returncode, run.stderr.strip(), len(asked)) == (1, LOCKED, 1)


def test_another_error_is_told_at_once(tmp_path: Path) -> None:
    run, asked = marked(tmp_path, "E: Can't select package etcd-server", times=1000)
    assert (run.returncode, run.stderr.strip(), len(asked)) == (1, "E: Can't select package etcd-server", 1)
