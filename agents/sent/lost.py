"""What a restore to an earlier moment would take away: how many transactions the primary has committed since. Runs on its host.

The input is a JSON object: `binaries`, `wal` (the directory), `timeline`, and `time` (seconds since 1970) or `lsn` (as PostgreSQL
writes it). The answer has `transactions`; `lsn`, where the first of them begins, None for none; and `whole`: whether the log that
is at hand reaches back so far, else there are more.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from agents.rights import become

# More is not read: with files of 16 MiB it is 1 GiB.
MOST_FILES = 64
SECONDS = 90
COMMIT = re.compile(r"lsn: ([0-9A-F]+/[0-9A-F]+).*desc: (?:COMMIT|PREPARE)[A-Z_]* .*?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.?\d*) UTC")


def moment(text: str) -> float:
    """Seconds since 1970 of a time in UTC."""
    form = "%Y-%m-%d %H:%M:%S.%f" if "." in text else "%Y-%m-%d %H:%M:%S"
    return datetime.strptime(text, form).replace(tzinfo=timezone.utc).timestamp()  # noqa: UP017 - Python 3.10


def beginning(name: str, size: int) -> str:
    """Where a file of the log begins, which has that many bytes."""
    return f"{int(name[8:16], 16):X}/{int(name[16:], 16) * size:X}"


def counted(lines: Any, time: float | None) -> dict[str, Any]:
    """From what pg_waldump prints: all transactions, or those that ended after `time`."""
    number, first, earlier = 0, None, False
    for line in lines:
        found = COMMIT.search(line)
        if not found:
            continue
        if time is not None and moment(found[2]) <= time:
            earlier = True
            continue
        number, first = number + 1, first or found[1]
    return {"transactions": number, "lsn": first, "whole": earlier or time is None}


def look(spec: dict[str, Any]) -> dict[str, Any]:
    """The answer. Raises OSError."""
    prefix = f"{spec['timeline']:08X}"
    names = sorted(one.name for one in Path(spec["wal"]).iterdir() if re.fullmatch(prefix + "[0-9A-F]{16}", one.name))
    written = sorted(names, key=lambda name: Path(spec["wal"], name).stat().st_mtime)[-MOST_FILES:]
    if not written:
        raise OSError(f"no file of timeline {spec['timeline']} is there")
    first = min(written)
    start = spec.get("lsn") or beginning(first, Path(spec["wal"], first).stat().st_size)
    command = [f"{spec['binaries']}/pg_waldump", "-p", spec["wal"], "-t", str(spec["timeline"]), "-r", "Transaction", "-s", start]
    with subprocess.Popen(
        ["timeout", str(SECONDS), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TZ": "UTC"},
    ) as dump:
        assert dump.stdout and dump.stderr
        found = counted(dump.stdout, spec.get("time"))
        said = dump.stderr.read()
    if "could not find" in said and not found["transactions"]:
        raise OSError(said.strip()[:300])
    return found


if __name__ == "__main__":
    become()  # the log is that user's, who may have made it up
    try:
        print(json.dumps(look(json.loads(sys.stdin.read()))))
    except (OSError, ValueError) as error:
        sys.exit(str(error))
