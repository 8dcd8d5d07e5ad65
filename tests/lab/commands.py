"""The day-2 commands as a person would type them, in the copy of the checkout."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from helpers import ENVIRONMENT, INVENTORY, Site


def start(site: Site, *words: str, inventory: str = INVENTORY) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("invoke")), *words], cwd=site.folder, text=True,
        env=os.environ | ENVIRONMENT | {"INVOKE_INVENTORY": inventory}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finish(site: Site, process: subprocess.Popen[str], seconds: float = 300) -> tuple[int, str, str]:
    """Exit code, stdout and stderr; whatever it was, it shows no secret and no traceback of its own."""
    out, err = process.communicate(timeout=seconds)
    for secret in site.vault.all_secrets():
        assert secret not in out + err
    assert "Traceback" not in err, err
    return process.returncode, out, err


def invoke(site: Site, *words: str, inventory: str = INVENTORY, seconds: float = 300) -> tuple[int, str, str]:
    return finish(site, start(site, *words, inventory=inventory), seconds)


def at_terminal(site: Site, program: str, *words: str, asked: str = "", typed: str = "", seconds: float = 300) -> tuple[int, str]:
    """A program of ours at a terminal: its exit code, and what is on the screen, without colours. When it has `asked` something,
    so much is `typed`; else nobody ever answers."""
    command = shlex.join([str(Path(sys.executable).with_name(program)), *words])
    process = subprocess.Popen(
        ["script", "--quiet", "--return", "--command", command, "/dev/null"], cwd=site.folder,
        env=os.environ | ENVIRONMENT | {"INVOKE_INVENTORY": INVENTORY, "TERM": "xterm"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdin and process.stdout
    timer, screen = threading.Timer(seconds, process.kill), b""
    timer.start()
    while part := os.read(process.stdout.fileno(), 65_536):
        screen += part
        if typed and asked.encode() in screen:
            process.stdin.write(typed.encode())
            process.stdin.flush()
            typed = ""
    timer.cancel()
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", screen.decode(errors="replace"))
    assert not [secret for secret in site.vault.all_secrets() if secret in shown]
    return process.wait(), shown


def status(site: Site) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(invoke(site, "status", "--json")[1])
    return document


def verified(site: Site) -> None:
    """That `verify` passes."""
    code, out, err = invoke(site, "verify")
    assert code == 0, out + err
