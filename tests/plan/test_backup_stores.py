"""A deploy whose backups lie in an object store, too, in rehearsals: what is asked before, and who gets the keys."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import BLANK_HOST, DATABASES, KEEPER, SURVEY, Answers, Rehearsal, Stage, living

S3 = {"type": "s3", "bucket": "shop-backups", "endpoint": "s3.example.com", "region": "eu-central-1"}
BOTH = {"local": {"type": "directory"}, "s3": S3}
SECRET = "rehearsed-secret-of-a-store"
# How agents/sent/store.py is asked: nothing secret in the arguments.
ASKED = r"python3 -I -S .*'\{\}'$"


def set_up(stage: Stage, repositories: dict[str, Any], *, keys: bool = True) -> None:
    stage.keep_backups()
    stage.settings["backup_repositories"] = repositories
    stage.write("group_data/backup.py", f"backup_repositories = {repositories!r}\n")
    if keys:
        stage.write("secrets/shop/repository-s3.json", json.dumps({"key": "owner", "key_secret": SECRET}))
        (stage.folder / "secrets/shop/repository-s3.json").chmod(0o600)


def says(answer: dict[str, str]) -> Answers:
    return [(KEEPER, ASKED, [json.dumps(answer)]), ("db1", "/config --fail", ["{}"])]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """A deploy to blank hosts."""
    stage = Stage(tmp_path_factory.mktemp("stores"))
    set_up(stage, BOTH)
    run = stage.rehearse("-y", "-vvv", "--diff", answers=says({"s3": ""}))
    assert run.exit_code == 0, run.output
    return run


def test_the_store_is_asked_before_anything_is_changed_by_the_host_that_will_use_it(first: Rehearsal) -> None:
    (asked,) = [n for n, one in enumerate(first.commands) if SECRET in one.stdin and not one.executing]
    assert first.commands[asked].host == KEEPER and "python3 -I -S" in first.commands[asked].command
    assert asked < min(n for n, one in enumerate(first.commands) if one.executing)


def test_the_key_gets_to_one_file_of_the_keeper_and_is_shown_nowhere(first: Rehearsal) -> None:
    written = [one for one in first.commands if SECRET in one.stdin and one.executing]
    assert {one.host for one in written} == {KEEPER} and len(written) == 1
    assert "conf.d/cipher.conf" in written[0].command and "chown root:pgbackrest" in written[0].command
    assert not any(SECRET in one.command for one in first.commands) and SECRET not in first.output


def test_database_hosts_go_through_the_keeper(first: Rehearsal) -> None:
    for host in DATABASES:
        (config,) = [one.stdin for one in first.commands if one.host.endswith(host) and "pgbackrest.conf.XXXXXX" in one.command]
        assert "repo2-host=10.0.0.8" in config and "s3" not in config
        assert first.executed("/var/spool/pgbackrest", host)


def test_a_store_that_does_not_take_the_key_ends_it_before_anything_is_changed(stage: Stage) -> None:
    set_up(stage, BOTH)
    run = stage.rehearse("-y", answers=says({"s3": "the key's secret is another one"}))
    assert run.exit_code != 0 and run.changed_nothing
    assert "keep1: backup_repositories[s3]: the key's secret is another one" in run.output


def test_without_a_key_it_ends_with_the_two_places_where_it_may_be(stage: Stage) -> None:
    set_up(stage, BOTH, keys=False)
    run = stage.rehearse("-y", answers=says({"s3": ""}))
    assert run.exit_code != 0 and run.changed_nothing
    assert "PGQUORUM_REPOSITORY_S3_KEY" in run.output and "repository-s3.json" in run.output


def test_one_that_joins_gets_a_stanza_and_a_backup_and_the_others_keep_theirs(stage: Stage) -> None:
    set_up(stage, BOTH)
    vault = stage.deployed_before()
    answers: Answers = [
        (KEEPER, SURVEY, BLANK_HOST),
        (".", SURVEY, living(vault)),
        (
            KEEPER,
            "^sh -c .*--repo=2 --output=json info",
            ['[{"name": "shop", "status": {"code": 1, "message": "missing stanza path"}}]'],
        ),
        (KEEPER, "archive.info", ["stanza", "archived", "backed_up"]),
        *says({"s3": ""}),
    ]
    run = stage.rehearse("-y", answers=answers)
    assert run.exit_code == 0, run.output
    assert run.executed("stanza-create", KEEPER) and run.executed("check --archive-timeout", KEEPER)
    # Incremental where there is something to begin from, which the new one has not.
    assert run.executed("start --no-block pgquorum-backup@incr.service", KEEPER)
    assert not run.executed("start --no-block pgquorum-backup@full.service", KEEPER)


def test_an_empty_one_does_not_become_this_cluster_s_beside_one_that_has_another_s(stage: Stage) -> None:
    """As after the loss of all hosts: the cluster that runs is new, and the store has the one that is to come back."""
    set_up(stage, BOTH)
    vault = stage.deployed_before()
    stored = '[{"name": "shop", "status": {"code": 0, "message": "ok"}, "db": [{"id": 1, "system-id": 7}]}]'
    for system, code in (("8", 1), ("7", 0)):
        answers: Answers = [
            (KEEPER, SURVEY, BLANK_HOST),
            (".", SURVEY, living(vault)),
            (KEEPER, "^sh -c .*--repo=2 --output=json info", [stored]),
            ("db1", "pg_controldata", [system]),
            (KEEPER, "^false$", None),
            *says({"s3": ""}),
        ]
        run = stage.rehearse("-y", answers=answers)
        assert (run.exit_code != 0) == bool(code), run.output
        assert bool(run.executed("stanza-create", KEEPER)) == (not code)
        assert ("s3 in backup_repositories has the backups of another cluster" in run.output) == bool(code)


def test_what_a_place_has_left_that_is_none_any_more_goes(stage: Stage) -> None:
    stage.keep_backups()
    vault = stage.deployed_before()
    gone = "/etc/pgbackrest/sftp-away.key"
    answers: Answers = [
        (".", SURVEY, living(vault)), (KEEPER, "ls -d /etc/pgbackrest/ca", [gone]),
        (KEEPER, f"stat -c .*{gone}", [f"owner {gone} root:pgbackrest 640", f"hash {gone} 0"]), ("db1", "/config --fail", ["{}"]),
    ]  # fmt: skip
    run = stage.rehearse("-y", answers=answers)
    assert run.exit_code == 0, run.output
    assert run.executed(f"rm -f {gone}", KEEPER)
