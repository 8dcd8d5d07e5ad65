"""How many acknowledged transactions a failover would lose: what the script asks, and what is said of its answers."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from clusters import cluster

from health.at_risk import PLACE, TOO_LONG, at_risk, script


@pytest.mark.parametrize(
    ("printed", "level", "text"),
    [
        ("0\n0\n0\n", "ok", "replicas have all that the primary has acknowledged until now"),
        ("56\n0\n0\n", "ok", "replicas have all that the primary has acknowledged until now"),
        (
            "7320\n0\n53\n",
            "warning",
            "a failover now would lose at most 53 transactions that the primary may have acknowledged alone (7320",
        ),
        (
            "9000000000\n0\n",
            "warning",
            "a failover now would lose more transactions than could be counted that the primary may have",
        ),
        (
            "7320\n0\nerror: no valid record\n",
            "warning",
            "a failover now would lose transactions that could not be counted (error: no valid record) that the primary may",
        ),
        (
            "56\n56\n0\n",
            "warning",
            "a failover now would lose at most 0 transactions that the primary may have acknowledged alone (56 ",
        ),
        ("", "warning", "no replica is known to have anything of what is acknowledged: a failover would lose it"),
    ],
)
def test_what_is_said_of_each_answer(printed: str, level: str, text: str) -> None:
    found = at_risk(printed)
    assert (found.level, found.text[: len(text)]) == (level, text)


def answered(tmp_path: Path, psql: str, log: str) -> str:
    """What the script prints where psql and pg_waldump do this."""
    for name, text in (("psql", psql), ("pg_waldump", log), ("runuser", 'shift 3; exec "$@"')):
        tmp_path.joinpath(name).write_text(f"#!/bin/sh\n{text}\n")
        tmp_path.joinpath(name).chmod(0o755)
    text = script(cluster()).replace("/usr/lib/postgresql/18/bin", str(tmp_path))
    done = subprocess.run(
        ["sh"], input=text, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_script_counts_commits_from_where_replicas_are(tmp_path: Path) -> None:
    commits = "echo 'rmgr: Transaction desc: COMMIT x'; echo 'rmgr: Transaction desc: ABORT'; echo 'desc: COMMIT y'"
    assert answered(tmp_path, "echo 0/10 0/90 A B 128 8", f'[ "$*" = "{WALDUMP}" ] || exit 1; {commits}').split() == [
        "128",
        "8",
        "2",
    ]
    assert answered(tmp_path, "echo 0/90 0/90 A A 0 0", "exit 1").split() == ["0", "0", "0"]
    assert answered(tmp_path, "echo 0/10 0/90 A B 128 0", f"exit {TOO_LONG}").split() == ["128", "0"]
    broken = "echo first; echo 'error: no valid record' >&2; exit 1"
    assert answered(tmp_path, "echo 0/10 0/90 A B 128 0", broken).splitlines() == ["128", "0", "error: no valid record"]
    assert answered(tmp_path, "true", "exit 1") == ""


WALDUMP = "--rmgr=Transaction --path=/var/lib/postgresql/18/pgquorum/pg_wal --start=0/10 --end=0/90 A B"


def test_the_places_are_those_of_the_clusters_own_slots() -> None:
    assert "slot_name in ({slots})" in PLACE
    assert shlex.quote("'db1', 'db2', 'db3'")[1:-1] in script(cluster())
