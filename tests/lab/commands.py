"""The day-2 commands as a person would type them, in the copy of the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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


def status(site: Site) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(invoke(site, "status", "--json")[1])
    return document
