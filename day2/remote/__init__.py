"""Programs that run on the hosts: sent over SSH as text, so each is one file and needs the standard library only."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any


def shipped(program: str, argument: dict[str, Any]) -> tuple[str, str]:
    """The command that runs `program` (a file here, without .py) on a host, and the text to send as its first input.

    `argument` arrives as JSON in the program's argv, where every user of the host can read it: nothing secret. What is
    sent after the program's text is the program's own input.
    """
    source = Path(__file__).with_name(f"{program}.py").read_text(encoding="utf-8")
    size = len(source.encode())
    start = f"import sys; exec(sys.stdin.buffer.read({size}))"
    return f"python3 -c {shlex.quote(start)} {shlex.quote(json.dumps(argument))}", source
