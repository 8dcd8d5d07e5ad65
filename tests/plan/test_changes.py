"""What a deploy says of what it changes, and what it leaves unsaid."""

from __future__ import annotations

import hashlib
import json
import re

from conftest import DATABASES, HOSTS, NO_DATABASES, PROXIES, SURVEY, Answers, Rehearsal, Stage, living

from cluster import paths
from cluster.dynamic_config import wanted_config
from operations.changes import changes, proposed

NOISE = ("Starting operation", "No changes", "Skipped", "Success", "Connected", "Grand total")


def test_each_host_is_named_with_what_was_changed_on_it() -> None:
    done = [("Configure etcd", ["db2", "db1"]), ("Start etcd", ["db2"]), ("etcd has a quorum", [])]
    assert changes(done, []) == ["changed:", "  db1: 1: Configure etcd", "  db2: 2: Configure etcd, Start etcd"]


def test_that_nothing_was_or_would_be_changed_is_one_line() -> None:
    assert changes([("Configure etcd", [])], []) == ["nothing was changed: all is as the settings say"]
    assert proposed([("Configure etcd", [])], []) == ["nothing would be changed: all is as the settings say"]


def test_nothing_is_said_of_hosts_that_were_left_out() -> None:
    (said,) = changes([("Configure HAProxy", [])], ["db1", "db2"])
    assert said == "nothing was changed: what was looked at, not db1, db2, is as the settings say"
    (said,) = proposed([("Configure HAProxy", [])], ["db1"])
    assert said == "nothing would be changed: what was looked at, not db1, is as the settings say"


def test_a_deploy_says_what_it_changes_where_and_nothing_of_the_rest(stage: Stage) -> None:
    run = stage.rehearse("-y")
    assert run.exit_code == 0, run.output
    while_it_ran, _, in_the_end = run.output.partition("changed:\n")
    assert f"\n  Configure HAProxy: {', '.join(PROXIES)}\n" in while_it_ran
    assert "The cluster is locked:" not in while_it_ran
    assert f" verified: {DATABASES[0]} leads" in while_it_ran
    assert [line.split(": ")[0].strip() for line in in_the_end.splitlines()] == sorted(HOSTS)
    assert [word for word in NOISE if word in run.output] == []


def test_all_of_pyinfras_output_is_there_with_v(first_deploy: Rehearsal) -> None:
    assert [word for word in NOISE if word not in first_deploy.output] == []
    assert f"\n  Configure HAProxy: {', '.join(PROXIES)}\n" not in first_deploy.output  # which has said so already


def test_errors_are_said_without_v_and_end_the_run_with_the_reason(stage: Stage) -> None:
    run = stage.rehearse("-y", answers=[(DATABASES[1], "apt-get -q", None)])
    assert run.exit_code != 0
    assert re.search(rf"\[{DATABASES[1]}\] +it failed", run.output), run.output
    assert "the deploy stopped at 'Install packages'" in run.output
    assert "changed:" not in run.output


def test_a_question_that_a_host_does_not_answer_ends_the_run_without_a_place_in_the_code(stage: Stage) -> None:
    run = stage.rehearse("-y", answers=[(DATABASES[1], "stat --format %U /dev/watchdog", None, True)])
    assert run.exit_code != 0
    assert re.search(rf"\[{DATABASES[1]}\] +it failed", run.output), run.output
    assert f"the deploy stopped; when it is mended, the same command goes on from there:\n  - {DATABASES[1]}: " in run.output
    assert "Traceback" not in run.output and "Greenlet" not in run.output, run.output


def test_dry_says_what_would_be_changed_where(stage: Stage) -> None:
    run = stage.rehearse("--dry")
    assert f"would be changed:\n  Configure apt: {', '.join(HOSTS)}\n" in run.output
    assert "The cluster is locked" not in run.output
    assert [word for word in (*NOISE, "\nchanged:") if word in run.output] == []


def test_the_log_stays_writable_where_it_is_until_the_data_is_made_anew(stage: Stage) -> None:
    vault = stage.deployed_before()
    said = [*living(vault), "place postgres_data_directory /data/shop", "place pg_wal /old/wal/pg_wal"]
    config = json.dumps(wanted_config(stage.cluster()))
    answers: Answers = [
        ("db2", SURVEY, said), (".", SURVEY, living(vault)), ("db1", "dathasloginevt", [NO_DATABASES]),
        ("db1", "/config --fail", [config]),
    ]  # fmt: skip
    run = stage.rehearse("-y", answers=answers)
    assert run.exit_code == 0, run.output
    units = {
        run.commands[n].host: run.commands[n].stdin for n in run.executed("mktemp /etc/systemd/system/pgquorum-confirm-quorum")
    }
    assert {host for host, unit in units.items() if "ReadWritePaths=-/old/wal\n" in unit} == {DATABASES[1]}


def test_which_deploy_it_was_is_noted_on_all_and_anew_only_where_that_is_missing(stage: Stage) -> None:
    there = living(stage.deployed_before())
    asked: Answers = [
        ("db1", "dathasloginevt", [NO_DATABASES]),
        ("db1", "/config --fail", [json.dumps(wanted_config(stage.cluster()))]),
    ]

    def noted(*surveys: tuple[str, str, list[str]]) -> dict[str, str]:
        run = stage.rehearse("-y", answers=[*surveys, *asked])
        assert run.exit_code == 0, run.output
        return {run.commands[n].host: run.commands[n].stdin for n in run.executed(f"mktemp {paths.LAST_DEPLOY}")}

    first = noted((".", SURVEY, there))
    assert first.keys() == HOSTS.keys() and len({*first.values()}) == 1
    (note,) = {*first.values()}
    on_disk = [
        f"owner {paths.LAST_DEPLOY} root:root 644",
        f"hash {paths.LAST_DEPLOY} {hashlib.sha256(note.encode()).hexdigest()}",
    ]
    had: Answers = [(f"db|{PROXIES[0]}", f"managed .*{paths.LAST_DEPLOY}", on_disk)]
    asked += had
    later = noted((PROXIES[1], SURVEY, there), (".", SURVEY, [*there, f"last_deploy {note.strip()}"]))
    assert later == {PROXIES[1]: note}


def test_dry_and_yes_together_would_show_nothing(stage: Stage) -> None:
    run = stage.rehearse("--dry", "-y")
    assert run.exit_code != 0
    assert "--dry with -y (or PYINFRA_YES)" in run.output
