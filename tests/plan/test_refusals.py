"""What must not be deployed to is refused before anything is touched: one message, a non-zero exit, no traceback."""

from __future__ import annotations

import base64
import json
import re

import pytest
from conftest import (
    BLANK_HOST,
    CIPHER,
    DATABASES,
    GIVEN,
    JUDGE,
    KEEPER,
    PROXIES,
    ROLES,
    SETTINGS,
    SURVEY,
    Rehearsal,
    Stage,
    living,
)

from cluster.certificates import make_authority
from cluster.layout import Layout, Note, layout_of
from cluster.shared import digests
from cluster.vault import Vault


def refused(run: Rehearsal, *sentences: str) -> None:
    assert run.exit_code != 0
    assert run.changed_nothing
    for sentence in sentences:
        assert run.output.count(sentence) == 1, run.output
    for word in ("Traceback", "Error:", "Exception"):
        assert word not in run.output, run.output


def says(host: str, *lines: str) -> list[tuple[str, str, list[str]]]:
    """A blank host whose survey also has `lines`, which win."""
    keys = {line.partition(" ")[0] for line in lines}
    return [(host, SURVEY, [line for line in BLANK_HOST if line.partition(" ")[0] not in keys] + list(lines))]


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["system fedora", "system_version 43"], "runs fedora 43: should be Debian or Ubuntu"),
        (["uid 1000", "user ann", "sudo sudo: a password is required"], "ann has no sudo without a password"),
        (["uid 1000"], "the SSH user is not root, and sudo fails (without a word)"),
        (["init runit"], "is run by 'runit': should be systemd"),
        (["free_bytes 1000"], "has 0 MiB free for data"),
        (["postgres_data foreign"], "/var/lib/postgresql/18/pgquorum holds something that"),
        (['marker {"cluster": "other", "id": "1"}'], "belongs to cluster 'other', not to 'shop'"),
    ],
)
def test_an_unfit_host(stage: Stage, lines: list[str], sentence: str) -> None:
    run = stage.rehearse("-y", answers=says(DATABASES[1], *lines))
    refused(run, f"host {DATABASES[1]}: {sentence}")
    # Not anew for each host that deploy.py is loaded for: the run is over by then.
    asked = [command.host for command in run.commands if SURVEY in command.command]
    assert sorted(asked) == sorted([*DATABASES, *PROXIES])


def test_a_login_shell_that_runs_nothing(stage: Stage) -> None:
    run = stage.rehearse("-y", answers=[(DATABASES[1], SURVEY, ["This account is currently not available."])])
    refused(run, f"host {DATABASES[1]}: runs no command of the SSH user, whose login shell there should be one (`chsh")


def test_dry_refuses_too(stage: Stage) -> None:
    refused(stage.rehearse("--dry", answers=says(DATABASES[1], "uid 1000")), f"host {DATABASES[1]}: the SSH user is not root")


def test_all_that_is_wrong_is_told_at_once(stage: Stage) -> None:
    answers = says(DATABASES[1], "init runit") + says(PROXIES[0], "system arch")
    refused(stage.rehearse("-y", answers=answers), f"host {DATABASES[1]}: is run by", f"host {PROXIES[0]}: runs arch")


def test_a_wrong_setting_reaches_no_host(stage: Stage) -> None:
    stage.write("group_data/all.py", SETTINGS + "durabilty = 'quorum'\ncertificate_days = 1\n")
    run = stage.rehearse("-y")
    refused(run, "durabilty is not a setting (did you mean 'durability'?)", "certificate_days = 1: should be at least 90")
    assert run.commands == []


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--limit", "nobody"), "--limit nobody: no host or group is called that"),
        (("--exclude", "proxy9"), "--exclude proxy9: no host or group is called that"),
        (("--no-wait",), "--no-wait: every phase"),
        (("--serial",), "--serial: every phase"),
        (("--data", "durability=maybe"), "durability = 'maybe': should be"),
    ],
)
def test_a_wrong_command_line_reaches_no_host(stage: Stage, arguments: tuple[str, ...], sentence: str) -> None:
    run = stage.rehearse("-y", *arguments)
    refused(run, sentence)
    assert run.commands == []


def test_a_new_cluster_is_made_on_all_its_hosts_or_not_at_all(stage: Stage) -> None:
    refused(stage.rehearse("-y", "--limit", DATABASES[0]), "a new cluster needs all its hosts")


@pytest.mark.parametrize("secrets", ["lost", "others"])
def test_a_living_cluster_is_not_touched_without_its_secrets(stage: Stage, secrets: str) -> None:
    vault = stage.deployed_before()
    marker = json.dumps({"cluster": "shop", "id": "another", "deployed_from": "ann@desk:/home/ann/pg"})
    if secrets == "lost":
        vault.directory.rename(stage.folder / "lost")
    lines = [line for line in living(vault) if not line.startswith("marker")] + [f"marker {marker}"]
    refused(stage.rehearse("-y", answers=[(".", SURVEY, lines)]), "It was first deployed from ann@desk:/home/ann/pg: copy")
    assert vault.directory.exists() == (secrets == "others")


def test_dry_on_blank_hosts_changes_nothing_and_says_what_would_be_done(stage: Stage) -> None:
    run = stage.rehearse("--dry")
    assert run.exit_code == 0, run.output
    assert run.changed_nothing
    for step in (
        "Install packages",
        "Configure etcd",
        "Start etcd",
        "Configure Patroni",
        "Start PostgreSQL",
        "Configure HAProxy",
    ):
        assert step in run.output
    assert not [path for path in (stage.folder / "secrets").rglob("*") if path.is_file()]


def noted(stage: Stage, **differs: object) -> str:
    """The line of the survey with what a host of this cluster has noted of its layout, with settings that differ."""
    layout = layout_of(stage.cluster())
    return f"layout {Note(3, Layout({**layout.settings, **differs}, layout.hosts)).text.strip()}"


@pytest.mark.parametrize("option", ["-y", "--dry"])
def test_what_a_living_cluster_can_not_take_is_refused_with_the_way_that_works(stage: Stage, option: str) -> None:
    lived = living(stage.deployed_before())
    directory = noted(stage, etcd_data_directory="/var/lib/etcd/other")
    # One host missed what the others have noted.
    answers = [(DATABASES[0], SURVEY, lived), (".", SURVEY, [*lived, directory])]
    run = stage.rehearse(option, answers=answers)
    refused(run, "etcd_data_directory = '/var/lib/etcd/pgquorum': the cluster lives with '/var/lib/etcd/other'")
    assert "mount that one there" in run.output


def test_no_host_leaves_by_omission(stage: Stage) -> None:
    lived = [*living(stage.deployed_before()), noted(stage)]
    text = (stage.folder / "inventory.py").read_text()
    stage.write("inventory.py", text + f"\nhaproxy = [one for one in haproxy if one[0] != {PROXIES[1]!r}]\n")
    run = stage.rehearse("-y", answers=[(".", SURVEY, lived)])
    refused(run, f"host {PROXIES[1]} (haproxy) is not in the inventory any more, and is part of the cluster")
    assert f"`invoke host.remove {PROXIES[1]}`" in run.output


def test_another_authority_than_hosts_trust_is_refused_with_the_file_and_the_way(stage: Stage) -> None:
    vault = stage.deployed_before()
    trusts = base64.b64encode(make_authority("another").certificate).decode()
    run = stage.rehearse("-y", answers=[(".", SURVEY, [*living(vault), f"authority etcd {trusts}"])])
    refused(run, "secrets/shop/etcd-ca.crt lacks the certificate of the authority by which", "A new certificate authority")


DIAL = "/dev/tcp/10.0.0.3/"


def shared(stage: Stage, **environment: str) -> list[str]:
    """The survey of a host that was deployed to before, with what held for all hosts then."""
    stage.settings |= {"postgres_roles": [{"name": "app"}], "postgres_databases": [{"name": "app", "owner": "app"}]}
    cluster, vault = stage.cluster(), stage.deployed_before()
    layout = layout_of(cluster, digests(cluster, Vault(cluster, GIVEN | environment)))
    return [*living(vault), f"layout {Note(3, layout).text.strip()}"]


def test_what_holds_for_all_hosts_is_not_changed_on_some(stage: Stage) -> None:
    lived = shared(stage, PGQUORUM_PASSWORD_REWIND="another-password-before")
    stage.write("group_data/postgres.py", ROLES + "postgres_parameters = {'work_mem': '8MB'}\n")
    answers = [(".", SURVEY, lived), (".", DIAL, [DATABASES[2]])]
    run = stage.rehearse("-y", "--limit", DATABASES[0], "--limit", DATABASES[1], answers=answers)
    refused(run, "password rewind, postgres_parameters: not as @fake/db1, @fake/db2 were deployed with", "deploy to all")
    assert f"but {DATABASES[2]} run and are left out by --limit" in run.output


@pytest.mark.parametrize("differs", [True, False])
def test_hosts_that_are_down_may_be_left_out_and_those_that_run_where_nothing_differs(stage: Stage, differs: bool) -> None:
    lived = shared(stage)
    if differs:
        stage.write("group_data/postgres.py", ROLES + "postgres_parameters = {'work_mem': '8MB'}\n")
    answers = [(DATABASES[0], SURVEY, lived), (".", DIAL, [] if differs else [DATABASES[2]])]
    run = stage.rehearse("--dry", "--limit", DATABASES[0], answers=answers)
    assert run.exit_code == 0, run.output
    assert differs == any(DIAL in command.command for command in run.commands)
    assert differs == ("not asked whether PostgreSQL would start there" in run.output)


def test_the_last_slot_is_not_taken_while_a_host_is_down_that_has_a_copy(stage: Stage) -> None:
    stage.settings["postgres_slots"] = [{"name": "orders", "database": "app"}]
    lived = shared(stage)
    run = stage.rehearse("--dry", "--exclude", DATABASES[2], answers=[(".", SURVEY, lived)])
    refused(run, f"postgres_slots is empty, but was not, and {DATABASES[2]} may have copies of the slots")


def test_a_library_that_a_host_lacks_is_refused_with_the_host(stage: Stage) -> None:
    vault = stage.deployed_before()
    stage.write("group_data/postgres.py", ROLES + "postgres_parameters = {'session_preload_libraries': 'gone'}\n")
    library = "/usr/lib/postgresql/18/lib/gone.so"
    run = stage.rehearse("-y", answers=[(".", SURVEY, living(vault)), (DATABASES[1], f"^for f in {library}", [library])])
    refused(run, f"{DATABASES[1]}: postgres_parameters[session_preload_libraries] = 'gone': there is no {library}")


def test_parameters_that_postgresql_does_not_take_on_a_blank_host_end_the_deploy_before_it_is_started(stage: Stage) -> None:
    why = 'invalid value for parameter "log_timezone": "Europe/Berln"'
    refuses = (DATABASES[1], JUDGE, [json.dumps({"refused": [why]})], True)
    run = stage.rehearse("-y", answers=[refuses, (".", "^false$", None)])
    assert run.exit_code != 0 and "Traceback" not in run.output, run.output
    end = run.output[run.output.index("the deploy stopped at 'PostgreSQL takes the parameters'") :]
    reason = f"{DATABASES[1]}: PostgreSQL was not started here: PostgreSQL would not start with these parameters: {why}"
    assert end.strip().splitlines()[1:] == [f"  - {reason}"]
    asked = [command for command in run.commands if re.search(JUDGE, command.command)]
    assert sorted(command.host for command in asked) == DATABASES and all(command.executing for command in asked)
    assert not run.executed("--now --quiet patroni.service") and not run.executed("start patroni.service"), run.output


def test_a_slots_name_that_another_one_has_is_refused_with_the_host(stage: Stage) -> None:
    vault = stage.deployed_before()
    stage.write("group_data/postgres.py", ROLES + "postgres_slots = [{'name': 'orders', 'database': 'app'}]\n")
    there = json.dumps([{"name": "orders", "database": "app", "plugin": "wal2json"}])
    run = stage.rehearse("-y", answers=[(".", SURVEY, living(vault)), (DATABASES[0], "pg_replication_slots' 2", [there])])
    refused(run, f"{DATABASES[0]}: postgres_slots: 'orders' is there already, of database 'app' with plugin 'wal2json'")


def test_an_sshd_that_was_narrowed_on_a_living_host_is_refused(stage: Stage) -> None:
    lived = living(stage.deployed_before())
    run = stage.rehearse("-y", answers=[(DATABASES[2], SURVEY, [*lived, "ssh_sessions 2"]), (".", SURVEY, lived)])
    refused(run, f"{DATABASES[2]}: MaxSessions 2 in its sshd's configuration: should be at least 10")


@pytest.mark.parametrize("used", [True, False])
def test_another_password_for_backups_is_refused_where_there_are_any(stage: Stage, used: bool) -> None:
    stage.keep_backups()
    lived = shared(stage, **(CIPHER | {"PGQUORUM_PASSWORD_BACKUP_CIPHER": "another-password-before"}))
    answers = [(".", SURVEY, lived), (KEEPER, "find /var/lib/pgbackrest/archive/shop", ["used"] if used else [])]
    run = stage.rehearse("--dry", answers=answers)
    if used:
        refused(run, "the password of backup_cipher in ", "bring the old value back")
        assert "this deploy changes it on all hosts" not in run.output
    else:
        assert run.exit_code == 0, run.output
        assert "this deploy changes it on all hosts" in run.output


@pytest.mark.parametrize("made", [True, False])
def test_another_port_of_pgbackrests_is_refused_while_a_backup_is_being_made(stage: Stage, made: bool) -> None:
    stage.keep_backups()
    lived = living(stage.deployed_before())
    answers = [
        (".", SURVEY, lived),
        (KEEPER, "^case .*tls-server-port", ["restarts", *["a backup is being made (incr)"] * made]),
    ]
    run = stage.rehearse("--dry", answers=answers)
    if made:
        refused(run, "backup_port = 8432: pgBackRest's servers restart for it, and @fake/keep1: a backup is being made (incr)")
    else:
        assert run.exit_code == 0, run.output
