"""Whether the system's roles can log in: what hosts are asked, and what their answers come to."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from clusters import cluster

from health.finding import Finding
from health.logins import ROLES, login_script, logins

PASSWORDS = {"replication": "it's secret", "rewind": "$other"}


def printed(tmp_path: Path, psql: str) -> str:
    """What the script prints where this is psql."""
    program = tmp_path / "psql"
    program.write_text(f"#!/bin/sh\n{psql}\n")
    program.chmod(0o755)
    done = subprocess.run(
        ["sh", "-s"], input=login_script(cluster(), "db2", PASSWORDS), capture_output=True, text=True, check=True,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.stderr == ""
    return done.stdout


def test_each_role_goes_to_the_primary_with_its_own_password_and_the_hosts_certificate(tmp_path: Path) -> None:
    assert printed(tmp_path, f'echo "$PGPASSWORD|$2|$4" >> {tmp_path}/asked') == ""
    first, second = (tmp_path / "asked").read_text().splitlines()
    assert first.startswith("it's secret|host=10.0.0.2 port=5432 user=replicator replication=true sslmode=verify-full")
    assert first.endswith("|IDENTIFY_SYSTEM") and "sslkey=/etc/patroni/tls/server.key" in first
    assert second.startswith("$other|host=10.0.0.2 port=5432 user=rewinder dbname=postgres")


def found(output: str) -> list[Finding]:
    return list(logins("db1", "db2", output))


def test_one_that_is_refused_is_told_with_the_servers_words(tmp_path: Path) -> None:
    refuse = 'case "$2" in *user=rewinder*) echo "FATAL:  password authentication failed" >&2; exit 2;; esac'
    (one,) = found(printed(tmp_path, refuse))
    assert one.rule == "roles.refused" and one.level == "problem"
    assert one.text == "rewinder can't log in from here to db2: FATAL: password authentication failed"


@pytest.mark.parametrize("output", ["", "\n"])
def test_when_all_log_in_that_is_said(output: str) -> None:
    (one,) = found(output)
    assert one.level == "ok" and all(role in one.text for role in ROLES)


def test_a_host_that_can_not_be_asked_is_no_good_news() -> None:
    (one,) = found("the roles: unreachable: it does not answer")
    assert one.level == "problem" and "unreachable" in one.text
