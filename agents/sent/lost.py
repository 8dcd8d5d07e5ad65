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
from agents.wal import beginning, is_begun, lsn, of_timeline, position, waldump

# More is not read: with files of 16 MiB it is 1 GiB.
MOST_FILES = 64
SECONDS = 90
# What pg_waldump says where the log ends.
ENDED = re.compile("error in WAL record at [0-9A-F]+/[0-9A-F]+")
COMMIT = re.compile(r"lsn: ([0-9A-F]+/[0-9A-F]+).*desc: (?:COMMIT|PREPARE)[A-Z_]* .*?(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.?\d*) UTC")


def moment(text: str) -> float:
    """Seconds since 1970 of a time in UTC."""
    form = "%Y-%m-%d %H:%M:%S.%f" if "." in text else "%Y-%m-%d %H:%M:%S"
    return datetime.strptime(text, form).replace(tzinfo=timezone.utc).timestamp()  # noqa: UP017 - Python 3.10


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
    wal, timeline = Path(spec["wal"]), int(spec["timeline"])
    all_of_it = sorted(file for file in wal.iterdir() if re.fullmatch(f"{timeline:08X}[0-9A-F]{{16}}", file.name))
    segment = all_of_it[0].stat().st_size if all_of_it else 0
    names = [file.name for file in all_of_it if is_begun(file, segment)]
    if not names:
        raise OSError(f"no file of timeline {timeline} is there")
    begin = position(spec["lsn"]) if spec.get("lsn") else beginning(names[-MOST_FILES:][0], segment)
    files = of_timeline(names, timeline, begin, None, segment)
    if not files:
        return counted([], None)
    if beginning(files[0], segment) > begin:
        raise OSError(f"the log does not reach back to {lsn(begin)}")
    command = waldump(spec["binaries"], wal, files, begin, None, segment)
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
    if dump.returncode and not found["transactions"] and not ENDED.search(said):
        raise OSError(said.strip()[:300])
    return found


if __name__ == "__main__":
    become()  # the log is that user's, who may have made it up
    try:
        print(json.dumps(look(json.loads(sys.stdin.read()))))
    except (OSError, ValueError) as error:
        sys.exit(str(error))
