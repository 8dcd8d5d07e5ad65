"""apt beside another one that is at work: the scripts themselves are run, with an apt-mark or apt-get that tells of a lock."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from cluster.apt import apt_mark
from cluster.sources import Source
from operations.sources import _read

LOCKED = "dpkg: error: dpkg frontend lock was locked by /usr/bin/apt-get process with pid 1514"


def asked(folder: Path, program: str, script: str, said: str, times: int) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """How the script ends, and what the program was asked each time, when that fails with `said` so many times."""
    folder.joinpath(program).write_text(
        f'#!/bin/sh\necho "$@" >>{folder}/asked\n[ $(wc -l <{folder}/asked) -gt {times} ] && exit\necho "{said}" >&2\nexit 2\n'
    )
    folder.joinpath("sleep").write_text("#!/bin/sh\n")
    for name in (program, "sleep"):
        folder.joinpath(name).chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    run = subprocess.run(["sh", "-c", script], env={"PATH": path}, capture_output=True, text=True)
    return run, folder.joinpath("asked").read_text().splitlines()


def marked(folder: Path, said: str, times: int, seconds: int = 60) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    return asked(folder, "apt-mark", apt_mark("hold", ["etcd-server", "patroni"], seconds), said, times)


@pytest.mark.parametrize("lock", [LOCKED, LOCKED.replace("was locked by /usr/bin/apt-get", "is locked by another")])
def test_it_waits_while_another_holds_the_lock(tmp_path: Path, lock: str) -> None:
    run, words = marked(tmp_path, lock, times=3)
    assert (run.returncode, run.stderr, words) == (0, "", ["hold etcd-server patroni"] * 4)


def test_it_gives_up_with_the_reason(tmp_path: Path) -> None:
    run, words = marked(tmp_path, LOCKED, times=1000, seconds=0)
    assert (run.returncode, run.stderr.strip(), len(words)) == (1, LOCKED, 1)


def test_another_error_is_told_at_once(tmp_path: Path) -> None:
    run, words = marked(tmp_path, "E: Can't select package etcd-server", times=1000)
    assert (run.returncode, run.stderr.strip(), len(words)) == (1, "E: Can't select package etcd-server", 1)


LISTS = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 77 (apt-get)"


def fetched(folder: Path, said: str, times: int) -> tuple[subprocess.CompletedProcess[str], int]:
    """How a deploy's fetching of a source's lists ends, and how often it tried."""
    source = Source(
        name="pgdg", what="the project's repository", purpose="", uri="https://mirror/debian", suite="forky-pgdg",
        signed_by="/key", pin="", packages=(), rest=1,
    )  # fmt: skip
    run, words = asked(folder, "apt-get", _read(source), said, times)
    assert all("sourcelist=/etc/apt/sources.list.d/pgquorum-pgdg.sources" in line for line in words)
    return run, len(words)


def test_package_lists_are_fetched_once_another_has_fetched_its_own(tmp_path: Path) -> None:
    run, times = fetched(tmp_path, LISTS, times=3)
    assert (run.returncode, run.stdout, run.stderr, times) == (0, "", "", 4)


def test_a_source_that_can_not_be_read_is_told_at_once_with_apts_reason(tmp_path: Path) -> None:
    run, times = fetched(tmp_path, "E: The repository is not signed", times=1000)
    assert (run.returncode, times) == (1, 1)
    assert run.stderr.splitlines() == [
        "E: The repository is not signed",
        "the project's repository can't be read: https://mirror/debian forky-pgdg, signed by /key. Set by postgres_source_url and"
        " postgres_source_key",
    ]
