"""What a host says of its kernels, as the reader of it in health/ takes it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from agents.sent import kernel
from health.reboots import read, why

PACKAGES = """\
linux-image-6.12.48-amd64 6.12.48-1 installed
linux-image-6.12.101-amd64 6.12.101-1 installed
linux-image-6.12.200-amd64 6.12.200-1 config-files
linux-image-6.12.9-amd64  not-installed
"""
LIBRARIES = {"haproxy.service": ["libcrypto.so.3", "libssl.so.3"], "etcd.service": ["libc.so.6", "libm.so.6"]}


def told(monkeypatch: pytest.MonkeyPatch, packages: str, required: Path, units: tuple[str, ...] = ()) -> str:
    """What the host prints, where dpkg-query prints `packages`."""
    asked: list[tuple[str, ...]] = []

    def run(*command: str) -> SimpleNamespace:
        asked.append(command)
        return SimpleNamespace(stdout=packages)

    monkeypatch.setattr(kernel, "run", run)
    monkeypatch.setattr(kernel, "REQUIRED", str(required))
    release = SimpleNamespace(release="6.12.48-amd64", version="#1 SMP Debian 6.12.48-1 (2031-09-20)")
    monkeypatch.setattr(kernel.os, "uname", lambda: release)
    monkeypatch.setattr(kernel, "replaced", lambda units: LIBRARIES if units == ("haproxy.service",) else {})
    text = json.dumps(kernel.look(units))
    assert [command[0] for command in asked] == ["dpkg-query"] and asked[0][-1] == "linux-image-[0-9]*"
    return text


def test_kernels_that_are_installed_are_told_by_release_and_those_that_were_are_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = told(monkeypatch, PACKAGES, tmp_path / "absent")
    assert json.loads(text)["installed"] == {"6.12.48-amd64": "6.12.48-1", "6.12.101-amd64": "6.12.101-1"}
    assert why(read(text)) == "kernel 6.12.101-amd64 is installed, and 6.12.48-amd64 runs"


def test_where_no_kernel_is_installed_a_package_may_have_asked_for_a_reboot(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    required = tmp_path / "reboot-required"
    assert why(read(told(monkeypatch, "", required))) == ""
    required.touch()
    assert "a package has asked for it" in why(read(told(monkeypatch, "", required)))


def test_programs_that_run_with_libraries_of_before_are_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = why(read(told(monkeypatch, "", tmp_path / "absent", ("haproxy.service",))))
    named = "libc.so.6, libcrypto.so.3, libm.so.6 and 1 more"
    assert said == f"etcd.service, haproxy.service run with libraries of before an upgrade ({named})"


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="no dpkg-query on this machine")
def test_this_machine_can_be_asked() -> None:
    assert read(json.dumps(kernel.look([]))).running == os.uname().release
