"""Root gives up its rights: for good, and for a while."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from repository import ROOT

from agents import rights

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="root alone has rights to give up")
OTHER = "nobody"
ME = pwd.getpwuid(os.geteuid()).pw_name


def as_root(code: str, *words: str) -> list[str]:
    """The lines that a process of root's prints, which has some groups of its own and ends with what it has become."""
    start = f"import os; os.setgroups([0, 4, 27])\nfrom agents.rights import *\nO = {OTHER!r}\n"
    done = subprocess.run([sys.executable, "-c", start + code, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@needs_root
def test_who_becomes_another_has_nothing_of_roots_left_and_no_way_back() -> None:
    account = pwd.getpwnam(OTHER)
    printed = as_root(
        "become(O)\nprint(os.getresuid(), os.getresgid(), sorted(os.getgroups()))\n"
        "try: os.setuid(0)\nexcept PermissionError: print('no way back')"
    )
    groups = sorted(set(os.getgrouplist(OTHER, account.pw_gid)))
    assert printed == [f"{(account.pw_uid,) * 3} {(account.pw_gid,) * 3} {groups}", "no way back"]


@needs_root
def test_who_acts_as_another_may_do_what_that_one_may_and_is_root_again_afterwards(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("root's")
    secret.chmod(0o600)
    printed = as_root(
        "import sys\n"
        "with acting_as(O):\n"
        "    print(os.geteuid(), os.getegid(), 4 in os.getgroups())\n"
        "    try: open(sys.argv[1])\n"
        "    except PermissionError: print('not to be read')\n"
        "print(os.geteuid(), os.getegid(), os.getgroups(), open(sys.argv[1]).read())",
        str(secret),
    )
    account = pwd.getpwnam(OTHER)
    assert printed == [f"{account.pw_uid} {account.pw_gid} False", "not to be read", "0 0 [0, 4, 27] root's"]


@needs_root
def test_root_is_root_again_after_an_error_too() -> None:
    printed = as_root(
        "try:\n    with acting_as(O): raise ValueError(os.geteuid())\n"
        "except ValueError as error: print(error, os.geteuid(), os.getgroups())"
    )
    assert printed == [f"{pwd.getpwnam(OTHER).pw_uid} 0 [0, 4, 27]"]


def recorded(monkeypatch: pytest.MonkeyPatch, *names: str) -> list[str]:
    """The calls to these functions of `os`, which do nothing then."""
    calls: list[str] = []

    def record(name: str) -> Callable[..., None]:
        return lambda *given: calls.append(name)

    for name in names:
        monkeypatch.setattr(rights.os, name, record(name))
    return calls


def test_the_user_is_changed_last_since_who_is_not_root_may_not_change_the_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = recorded(monkeypatch, "initgroups", "setgid", "setuid")
    rights.become(OTHER)
    assert calls == ["initgroups", "setgid", "setuid"]


def test_who_is_that_user_already_acts_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = recorded(monkeypatch, "setgroups", "setegid", "seteuid")
    with rights.acting_as(ME):
        pass
    assert calls == []


@pytest.mark.parametrize("act", [rights.become, rights.acting_as])
def test_a_user_that_there_is_not_is_an_error_and_nothing_is_done_as_root(act: Callable[[str], Any]) -> None:
    with pytest.raises(KeyError):
        as_if = act("no-such-user")
        with as_if:
            raise AssertionError("done as root")
