"""Tests on real hosts need root: without it they are skipped and say so, and where CI runs they fail."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from repository import ROOT

from benchmarks.prove import LONG

AS_NOBODY = "import os, sys, pytest; os.geteuid = lambda: 65534; sys.exit(pytest.main(sys.argv[1:]))"


@pytest.mark.parametrize(("ci", "code", "outcome"), [("true", 1, "error"), ("", 0, "skipped")])
def test_no_test_on_real_hosts_passes_silently(ci: str, code: int, outcome: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, "tests/lab", "-q", "-p", "no:cacheprovider"],
        cwd=ROOT, env=os.environ | {"CI": ci}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    verdict = done.stdout.splitlines()[-1]
    assert done.returncode == code, done.stdout + done.stderr
    assert "NOT TESTED ON REAL HOSTS" in done.stdout
    assert outcome in verdict and "passed" not in verdict, verdict


def test_the_long_tests_are_left_out_loudly_and_make_prove_has_them() -> None:
    marked = {
        str(path.relative_to(ROOT)) for path in ROOT.glob("tests/lab/**/test_*.py") if "pytest.mark.long" in path.read_text()
    }
    assert marked == set(LONG)

    def collected(*words: str) -> str:
        command = [sys.executable, "-m", "pytest", *LONG, "--collect-only", "-q", "-p", "no:cacheprovider", *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()[-1]

    assert "deselected" in collected() and "deselected" not in collected("--long")
