"""The deploy of a cluster that has a host for backups, and of one that has none, in rehearsals."""

from __future__ import annotations

import json
import re

import pytest
from conftest import BLANK_HOST, CIPHER, DATABASES, KEEPER, SURVEY, Answers, Rehearsal, Stage, living

from cluster.dynamic_config import difference, wanted_config

SETTING_UP = re.compile(
    r"stanza-create|pgquorum-backup|mktemp /etc/pgbackrest|apt-get .*pgbackrest|mask .*pgbackrest|pgbackrest-push"
)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """A deploy to blank hosts, one of which is to keep backups."""
    stage = Stage(tmp_path_factory.mktemp("backups"))
    stage.keep_backups()
    answers: Answers = [("db1", "/config --fail", ["{}"])]
    run = stage.rehearse("-y", "-vvv", "--diff", answers=answers)
    assert run.exit_code == 0, run.output
    return run


def test_a_cluster_without_such_a_host_hears_nothing_of_it(first_deploy: Rehearsal) -> None:
    about = [c.command for c in first_deploy.commands if c.executing and SETTING_UP.search(c.command)]
    assert about == []


def test_the_place_for_backups_is_there_before_postgresql_is_told_to_archive(first: Rehearsal) -> None:
    for host in (KEEPER, *DATABASES):
        assert first.last("enable --now --quiet pgbackrest.service", host) < first.first("enable --now --quiet patroni.service")
    made = first.first("stanza-create", KEEPER)
    assert first.last("enable --now --quiet patroni.service") < made < first.first("--request PATCH")
    assert first.first("--request PATCH") < first.first(" check --archive-timeout", KEEPER)


def test_the_keeper_alone_gives_up_early_what_a_lost_host_does_not_acknowledge(first: Rehearsal) -> None:
    assert first.output.count("+net.ipv4.tcp_retries2 = 8") == 1
    assert first.output.count("+net.ipv4.neigh.*.retrans_time_ms") == len({command.host for command in first.commands})


def test_the_first_backup_begins_last_and_nobody_waits_for_it(first: Rehearsal) -> None:
    begun = first.first("systemctl start --no-block pgquorum-backup@full.service", KEEPER)
    assert begun > first.first(" check --archive-timeout", KEEPER)
    assert begun > first.first("enable --now --quiet pgquorum-backup-full.timer pgquorum-backup-incr.timer", KEEPER)


def test_the_keeper_gets_postgresql_which_starts_nothing_and_drills_begin_by_a_timer(first: Rehearsal) -> None:
    about = [first.commands[n].command for n in first.executed("postgresql-18", KEEPER)]
    (install,) = (command for command in about if "apt-get" in command)
    assert re.search(r"mask --runtime --quiet .*postgresql\.service.* install .*postgresql-18", install)
    assert first.executed("mask --now --quiet postgresql.service", KEEPER)
    assert not first.executed("enable --now --quiet patroni.service", KEEPER)
    written = first.first("/etc/systemd/system/pgquorum-backup-drill.timer", KEEPER)
    assert written < first.first("enable --now --quiet pgquorum-backup-drill.timer", KEEPER)
    for host in DATABASES:
        assert first.executed("/etc/systemd/system/pgquorum-backup-drill.service", host)
        assert not first.executed("pgquorum-backup-drill.timer", host)


def test_without_a_schedule_the_timer_goes(stage: Stage) -> None:
    stage.keep_backups()
    stage.settings["backup_drill_schedule"] = None
    stage.write("group_data/backup.py", "backup_drill_schedule = None\n")
    there = ["stanza", "archived", "backed_up"]
    active: Answers = [(KEEPER, "systemctl show .*drill.timer", ["ActiveState=active", "UnitFileState=enabled"])]
    run = stage.rehearse("-y", answers=[*active, *settled(stage, there)])
    assert run.exit_code == 0, run.output
    assert run.executed("disable --now --quiet pgquorum-backup-drill.timer", KEEPER)
    assert not run.executed("enable --now --quiet pgquorum-backup-drill.timer", KEEPER)


def test_nothing_of_pgbackrests_runs_as_root(first: Rehearsal) -> None:
    commands = [c.command for c in first.commands if "pgbackrest --stanza" in c.command and "curl" not in c.command]
    assert commands
    for command in commands:
        assert command.count("pgbackrest --stanza") == command.count("runuser -u pgbackrest -- pgbackrest --stanza"), command


def test_the_cipher_gets_to_the_keeper_alone_and_is_shown_nowhere(first: Rehearsal) -> None:
    (cipher,) = CIPHER.values()
    assert {c.host for c in first.commands if cipher in c.stdin} == {KEEPER}
    assert not any(cipher in c.command for c in first.commands)
    assert cipher not in first.output


def settled(stage: Stage, said: list[str]) -> Answers:
    """A living cluster whose hosts are as they should be, but for what the keeper says is in its repository."""
    vault = stage.deployed_before()
    cluster = stage.cluster()
    config = json.dumps(wanted_config(cluster))
    assert difference(wanted_config(cluster), json.loads(config)) == {}
    return [
        (".", SURVEY, living(vault)),
        (KEEPER, "backup_info|archive.info", said),
        ("db1", "/config --fail", [config]),
    ]


@pytest.mark.parametrize(
    ("there", "done"),
    [
        ([], {"stanza-create", "check --archive-timeout", "start --no-block"}),
        (["stanza"], {"check --archive-timeout", "start --no-block"}),
        (["stanza", "archived"], {"start --no-block"}),
        (["stanza", "archived", "backed_up"], set()),
    ],
)
def test_what_is_there_of_a_repository_is_not_made_again(stage: Stage, there: list[str], done: set[str]) -> None:
    stage.keep_backups()
    run = stage.rehearse("-y", answers=settled(stage, there))
    assert run.exit_code == 0, run.output
    words = ("stanza-create", "check --archive-timeout", "start --no-block")
    assert {word for word in words if run.executed(word, KEEPER)} == done
    # A new one has none of the histories that were archived in the one before.
    touched = [host for host in DATABASES if run.executed("touch /etc/pgbackrest/pgbackrest.conf", host)]
    assert touched == ([] if there else [*DATABASES])
    if touched:
        assert run.last("touch /etc/pgbackrest/pgbackrest.conf") < run.first("stanza-create", KEEPER)


def test_a_host_may_join_that_keeps_backups_and_the_others_are_told_to_archive(stage: Stage) -> None:
    """Whoever lives keeps its secrets, and gets an authority more."""
    vault = stage.deployed_before()
    without = json.dumps(wanted_config(stage.cluster()))
    stage.keep_backups()
    answers: Answers = [(KEEPER, SURVEY, BLANK_HOST), (".", SURVEY, living(vault)), ("db1", "/config --fail", [without])]
    run = stage.rehearse("-y", answers=answers)
    assert run.exit_code == 0, run.output
    (patch,) = (run.commands[n].command for n in run.executed("--request PATCH"))
    assert "pgbackrest-push" in patch and '"archive_mode": ' not in patch
    assert run.first("stanza-create", KEEPER) < run.first("--request PATCH")


def test_the_server_ends_where_no_host_keeps_backups_any_more(stage: Stage) -> None:
    vault = stage.deployed_before()
    answers: Answers = [(".", SURVEY, living(vault)), ("db", "Written by the deploy", ["/etc/pgbackrest/pgbackrest.conf"])]
    run = stage.rehearse("-y", answers=answers)
    for host in DATABASES:
        assert run.executed("disable --now --quiet pgbackrest.service", host)
