"""What HAProxy says on a host."""

from __future__ import annotations

import csv
import socket
from typing import Any

from agents.parts.asking import SECONDS


def haproxy(spec: dict[str, Any]) -> Any:
    """Its version, the lines of `show stat` for servers, as HAProxy names its columns, and the frontends that take nobody in."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SECONDS)
        connection.connect(spec["socket"])
        connection.sendall(b"show info; show stat\n")
        with connection.makefile() as answer:
            info, _, table = answer.read().partition("\n# ")
    version = next((line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("Version:")), "")
    wanted = ("pxname", "svname", "status", "check_status", "last_chk", "scur")
    told = list(csv.DictReader(table.splitlines()))
    rows = [row for row in told if row["svname"] not in ("FRONTEND", "BACKEND")]
    held = [row["pxname"] for row in told if row["svname"] == "FRONTEND" and row["slim"] == "0"]
    return {"version": version, "servers": [{key: row[key] for key in wanted} for row in rows], "held": held}
