"""How etcd is started: that its data is checked then, by the name that its version has for that."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from clusters import cluster

from operations.managed import render

FLAG, GATE = "ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK=true", "ETCD_FEATURE_GATES=InitialCorruptCheck=true"
ETCD = '#!/bin/sh\n[ "$1" = --version ] && { echo "etcd Version: %s"; exit; }\nenv\n'


@pytest.mark.parametrize(("version", "said"), [("3.5.30", FLAG), ("3.6.14", GATE), ("3.7.1", GATE), ("3.13.5", GATE)])
def test_the_check_is_asked_for_as_the_installed_version_knows_it(tmp_path: Path, version: str, said: str) -> None:
    (tmp_path / "etcd").write_text(ETCD % version)
    (tmp_path / "etcd").chmod(0o755)
    unit = render("etcd/etcd.service.j2", cluster=cluster()).replace("\\\n", " ")
    (line,) = re.findall(r"^ExecStart=(.+)$", unit, re.MULTILINE)
    command = shlex.split(line.replace("$$", "$").replace("/usr/bin/etcd", str(tmp_path / "etcd")))
    done = subprocess.run(command, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, check=True)
    assert [line for line in done.stdout.splitlines() if line.startswith("ETCD_")] == [said]
    assert done.stderr == ""
