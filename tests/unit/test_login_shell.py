"""What a login shell is handed: sh runs it as it was written, and no shell finds a sign of its own in it."""

from __future__ import annotations

import subprocess
from types import SimpleNamespace
from typing import Any, cast

import paramiko
import pytest

from day2.hosts.ssh import Fleet
from reach.connecting import Client
from reach.login_shell import for_any_shell

COMMANDS = [
    "echo plain",
    "if [ 1 = 1 ]; then\n  printf '%s\\n' \"it's\" 50%\\; done\nfi; exit 3",
    "! true || echo 'not!' \\\\ '\\\\' \"a\\\"b\" $HOME `echo x` $(cat)",
    "echo ä€; echo said >&2; (exit 7)",
    "set -- one; echo \"$#\" '%s %b \\n'\n",
    "echo " + "'x!\\'" * 2000,
]


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_does_what_it_does_in_sh(shell: str, command: str) -> None:
    def run(*words: str) -> tuple[bytes, bytes, int]:
        done = subprocess.run(words, input=b"its input\n", capture_output=True, check=False)
        return done.stdout, done.stderr, done.returncode

    assert run(shell, "-c", for_any_shell(command)) == run("sh", "-c", command)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_login_shell_finds_a_sign_of_its_own(command: str) -> None:
    line = for_any_shell(command)
    assert line.isascii() and line.isprintable()  # tcsh: a line ends where the quotes are still open
    assert "!" not in line  # tcsh: a former command
    assert "\\\\" not in line and "\\'" not in line  # fish: half of it
    assert "".join(line.split("'")[::2]) == "sh -c  sh "  # nothing but this stands outside of quotes


def test_the_deploy_and_the_tasks_both_send_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    monkeypatch.setattr(paramiko.SSHClient, "exec_command", lambda _, command, **more: sent.append(command))
    Client().exec_command("ls 'a!'", timeout=3)
    fleet = Fleet([])
    channel = SimpleNamespace(exec_command=sent.append)
    monkeypatch.setattr(fleet, "_session", lambda _: channel)
    for user in ("root", "ann"):
        fleet._connections["db1"] = cast(Any, SimpleNamespace(user=user))
        fleet.start("db1", "ls 'a!'")
    assert sent == [for_any_shell(one) for one in ("ls 'a!'", "ls 'a!'", "sudo -n -- sh -c 'ls '\"'\"'a!'\"'\"''")]
