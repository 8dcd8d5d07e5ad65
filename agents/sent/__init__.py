"""Programs that run on the hosts for one question, and leave nothing there: sent over SSH as text.

Each is one file, which imports the standard library and what is sent along with it (ALONG, BESIDES).
"""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

ALONG = ("https",)  # modules of agents/
# The same for single programs.
BESIDES = {
    "archive": ("archived",),
    "collector": (
        "archived", "parts", "parts.asking", "parts.servers", "parts.etcd", "parts.files", "parts.haproxy", "parts.keepalived",
        "parts.libraries", "parts.machine", "parts.patroni", "parts.pgbackrest", "parts.pgbouncer", "parts.postgres",
    ),
    "drain": ("proxies",),
    "fetch": ("debian", "repack"),
    "hold": ("proxies",),
    "renew": ("proxies",),
    "restore": ("rights", "data_directory", "timelines", "unarchived", "wal", "log_on_disk"),
    "follow": ("postmaster", "rights"),
    "judge": ("rights",),
    "lost": ("rights", "wal"),
    "store": ("ssh_keys",),
    "install": ("debian", "parts", "parts.asking", "parts.files"),
    "kernel": ("debian", "parts", "parts.libraries"),
    "upgradable": ("debian", "parts", "parts.asking", "repack", "proxies"),
}  # fmt: skip
AGENTS = Path(__file__).parent.parent

# Each text becomes the module of its name, and a traceback names its file.
_START = """\
import sys, types
for name, file, source in {sources!a}:
    module = sys.modules.setdefault(name, types.ModuleType(name))
    exec(compile(source, file, "exec"), module.__dict__)
"""


def shipped(program: str, argument: dict[str, Any]) -> tuple[str, str]:
    """The command that runs `program` (a file here, without .py) on a host, and the text to send as its first input.

    `argument` arrives as JSON in the program's argv, where every user of the host can read it: nothing secret. What is
    sent after the program's text is the program's own input.
    """
    files = {
        "agents": "__init__.py",
        **{f"agents.{name}": _file(name) for name in (*ALONG, *BESIDES.get(program, ()))},
        "__main__": f"sent/{program}.py",
    }
    sources = [(name, f"agents/{file}", (AGENTS / file).read_text(encoding="utf-8")) for name, file in files.items()]
    text = _START.format(sources=sources)
    start = f"import sys; exec(sys.stdin.buffer.read({len(text)}))"  # it is all ASCII
    # With the standard library alone: quicker, and nothing of the directory or the environment that it starts in is imported.
    return f"python3 -I -S -c {shlex.quote(start)} {shlex.quote(json.dumps(argument))}", text


def _file(module: str) -> str:
    """Where a module of agents/ is, below it."""
    path = module.replace(".", "/")
    return f"{path}/__init__.py" if (AGENTS / path).is_dir() else f"{path}.py"
