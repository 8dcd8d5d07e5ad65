"""What PgBouncer says on a host."""

from __future__ import annotations

import csv
import hashlib
import subprocess
from pathlib import Path
from typing import Any

from agents.parts.asking import SECONDS, run


def pgbouncer(spec: dict[str, Any]) -> dict[str, Any]:
    """Of each process by name what its console says; and by role a digest of the verifier that clients are let in by."""
    told = {name: console(spec["user"], of) for name, of in spec["processes"].items()}
    lines = (line.split('"') for line in Path(spec["users"]).read_text().splitlines())
    users = {line[1]: hashlib.sha256(line[3].encode()).hexdigest()[:16] for line in lines if len(line) > 3}
    return {"processes": told, "users": users}


def console(user: str, spec: dict[str, Any]) -> dict[str, Any]:
    """What one process of PgBouncer says, which lets its own user into its console by the socket; or why it does not."""
    psql = ("psql", "-Xqw", "--csv", "-h", spec["socket"], "-p", str(spec["port"]), "-U", "pgbouncer", "pgbouncer")
    shown = ("version", "lists", "pools", "state", "databases")
    asked = [word for one in shown for word in ("-c", f"show {one}", "-c", "\\echo")]
    try:
        version, lists, pools, state, databases, *_ = run("runuser", "-u", user, "--", *psql, *asked).split("\n\n")
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return {"problem": f"no answer within {SECONDS + 1:g} s" if isinstance(error, subprocess.TimeoutExpired) else str(error)}
    wanted = ("database", "user", "cl_active", "cl_waiting", "sv_active", "sv_idle", "sv_used", "maxwait", "maxwait_us")
    rows = [row for row in csv.DictReader(pools.splitlines()) if row["database"] != "pgbouncer"]
    counted = {row["list"]: int(row["items"]) for row in csv.DictReader(lists.splitlines())}
    paused = {row["key"]: row["value"] for row in csv.DictReader(state.splitlines())}["paused"] == "yes"
    paused = paused or any(row["paused"] == "1" for row in csv.DictReader(databases.splitlines()))
    said = {"version": version.splitlines()[-1].split()[-1], "clients": counted["used_clients"], "paused": paused}
    return {**said, "pools": [{key: row[key] for key in wanted} for row in rows]}
