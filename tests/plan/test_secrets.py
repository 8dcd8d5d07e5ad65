"""No secret is ever in a command or in an output: secrets go to a host through the input of a command, and nowhere else."""

from __future__ import annotations

import re

import pytest
from conftest import GIVEN, SURVEY, Command, Rehearsal, Stage, living

KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\n(.*?)-----END", re.DOTALL)
VERIFIER = re.compile(r"SCRAM-SHA-256\$\d+:\S+?'")


def secrets_sent(run: Rehearsal) -> set[str]:
    """Every secret that went to some host, as the lines that would betray it."""
    sent = "\n".join(c.stdin for c in run.commands)
    keys = {line for body in KEY.findall(sent) for line in body.split()}
    return keys | set(VERIFIER.findall(sent)) | {value for value in GIVEN.values() if value in sent}


def holds_secret(command: Command, secrets: set[str]) -> bool:
    return any(secret in command.stdin for secret in secrets)


def test_every_kind_of_secret_is_sent(first_deploy: Rehearsal) -> None:
    """Otherwise the tests below would find nothing because there is nothing."""
    secrets = secrets_sent(first_deploy)
    assert secrets >= set(GIVEN.values()) - {GIVEN["PGQUORUM_PASSWORD_ROLE_APP"]}  # a role's goes as a verifier
    assert len([s for s in secrets if s.startswith("SCRAM")]) == 4  # replication, rewind, probe, app
    assert (
        len([c for c in first_deploy.commands if KEY.search(c.stdin)]) == 3 * 3 + 2 * 2
    )  # etcd, etcd client, PostgreSQL; HAProxy, as server and client


def test_no_secret_is_in_a_command(first_deploy: Rehearsal) -> None:
    secrets = secrets_sent(first_deploy) | set(GIVEN.values())
    assert [c.command for c in first_deploy.commands if any(secret in c.command for secret in secrets)] == []


def test_no_secret_is_in_the_fullest_output(first_deploy: Rehearsal) -> None:
    secrets = secrets_sent(first_deploy) | set(GIVEN.values())
    assert [line for line in first_deploy.output.splitlines() if any(secret in line for secret in secrets)] == []
    assert "/etc/haproxy/haproxy.cfg (new)" in first_deploy.output  # it does show differences


@pytest.mark.parametrize("option", ["--debug-operations", "--debug-facts", "--dry", "--json"])
def test_no_secret_is_in_what_pyinfra_says_for_debugging(stage: Stage, option: str) -> None:
    run = stage.rehearse("-vvv", option)
    assert run.exit_code == 0, run.output
    assert not [value for value in GIVEN.values() if value in run.output]
    assert "PRIVATE KEY" not in run.output


def test_no_secret_is_in_the_inventory(stage: Stage) -> None:
    run = stage.rehearse(operation="debug-inventory")
    assert "cluster_name" in run.output
    assert not [value for value in GIVEN.values() if value in run.output]


def test_a_secret_is_only_ever_the_input_of_a_command_that_keeps_it(first_deploy: Rehearsal) -> None:
    """A file of root's that at most its program's group may read, or a program that reads it and writes it nowhere."""
    secrets = secrets_sent(first_deploy)
    for command in (c for c in first_deploy.commands if holds_secret(c, secrets)):
        text = command.command
        file = text.startswith("sh -c 'umask 077; t=$(mktemp ") and re.search(
            "chown root:(root.+chmod 600|(etcd|postgres).+chmod 640)", text
        )
        program = text.startswith(("runuser -u postgres -- psql", "sh -s", "curl ")) and "-o " not in text
        assert file or program, text


def test_a_file_that_is_there_and_differs_shows_its_difference_unless_it_is_secret(stage: Stage) -> None:
    """The content of a secret file is not even asked for."""
    run = stage.rehearse("-y", "-vvv", "--diff", answers=[(".", SURVEY, living(stage.deployed_before()))])
    asked = [c.command for c in run.commands if "base64" in c.command and SURVEY not in c.command]
    assert asked
    for command in asked:
        shown = re.search(r"for p in (\S[^;]*); do \[ -f \"\$p\" \] && echo \"content", command)
        assert shown
        assert not re.search(r"\.key|\.pem|secrets\.yml|statistics-users", shown[1])
