"""Where backups can lie: what the settings may be, the owner's keys, what pgBackRest is told, and what a store says of it."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import paramiko
import pytest
import views
from clusters import cluster, hosts, problems

from agents import drill_files
from agents.sent import store
from cluster import paths
from cluster.dynamic_config import postgres_parameters
from cluster.errors import ClusterError
from cluster.recovery import archive_of, parse_as_of, parse_target
from cluster.repositories import file_problems
from cluster.repository_keys import keys_of
from cluster.stores import asked_of, cipher_problems, used_command, wrong
from cluster.tls import OPENSSL_SUITES
from cluster.topology import Cluster
from cluster.vault import Vault
from day2.recovery.obstacles import objections, unreadable
from day2.recovery.plan import planned, read, steps
from day2.recovery.steps import Fetch
from day2.recovery.words import reading
from health.backup_states import BackupRun, Repository
from health.finding import Finding
from health.rules import findings
from operations.managed import render
from operations.pgbackrest import PUSH_TIMES
from operations.repositories import Repository as There
from operations.repositories import store_of

S3 = {"type": "s3", "bucket": "shop-backups", "endpoint": "s3.example.com", "region": "eu-central-1"}
PRINT = "SHA256:" + "A" * 43
SFTP = {"type": "sftp", "host": "files.example.com", "user": "shop", "host_key": PRINT, "path": "/backups"}
LOCAL = {"type": "directory"}
DAY = 86_400.0
KEYS = {"PGQUORUM_REPOSITORY_S3_KEY": "owner", "PGQUORUM_REPOSITORY_S3_KEY_SECRET": "not-to-be-seen"}
TWO = cluster(backup=True, backup_repositories={"local": LOCAL, "s3": S3})
SSH = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"


def with_repositories(**entries: dict[str, Any]) -> Cluster:
    return cluster(backup=True, backup_repositories=entries)


def refused(**entries: Any) -> list[str]:
    return problems(hosts(backup=True, backup_repositories=entries))


def config(of: Cluster, host: str) -> dict[str, str]:
    """What stands in pgBackRest's file, but for its sections."""
    text = render("pgbackrest/pgbackrest.conf.j2", cluster=of, host=of.host(host))
    return dict(line.split("=", 1) for line in text.splitlines() if re.match(r"[a-z0-9-]+=", line))


def test_without_a_word_about_it_there_is_one_on_the_host_that_keeps_backups() -> None:
    (place,) = cluster(backup=True).repositories
    assert (place.number, place.name, place.kind, place.elsewhere) == (1, "local", "directory", False)
    assert cluster().repositories == ()


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({}, "backup_repositories = {}: should have at least 1"),
        ({"a": {"type": "nfs"}}, "backup_repositories[a][type] = 'nfs': should be 'directory', 's3' or 'sftp'"),
        ({"a": {**S3, "bucket": "No_Bucket"}}, "backup_repositories[a][bucket] = 'No_Bucket': should be the name of a bucket"),
        ({"a": {**S3, "endpoint": "http://s3.example.com"}}, "it is always spoken to by TLS"),
        ({"a": {**S3, "path": "backups"}}, "backup_repositories[a][path] = 'backups': should be an absolute path"),
        ({"a": {**SFTP, "host_key": "ssh-ed25519 AAAA"}}, "ssh-keyscan HOST | ssh-keygen -lf -"),
        ({"a": {**SFTP, "bucket": "shop-backups"}}, "a repository of type 'sftp' has no bucket"),
        ({"a": {"type": "s3", "bucket": "shop"}}, "a repository of type 's3' needs endpoint, region"),
        ({"a": {**LOCAL, "path": "/b"}}, "a repository of type 'directory' has no path (its place is backup_directory)"),
        ({"a": {**LOCAL, "keep_full": 2, "keep_days": 3}}, "should have keep_full or keep_days, not both"),
        ({"a": LOCAL, "b": LOCAL}, "backup_repositories: a and b are both of type 'directory'"),
        ({"a": S3, "b": dict(S3)}, "backup_repositories: a and b are the same place"),
        ({"A": LOCAL}, "should be lower-case letters, digits and underscores"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_would_be_right(entries: dict[str, Any], said: str) -> None:
    (problem,) = refused(**entries)
    assert said in problem and problem.startswith("backup_repositories")


@pytest.mark.parametrize("name", ["key", "key_secret"])
def test_a_key_has_no_place_in_the_settings_and_is_not_shown(name: str) -> None:
    (problem,) = refused(s3={**S3, name: "not-to-be-seen"})
    assert "come from the environment or the secrets directory" in problem and "not-to-be-seen" not in problem


def test_no_setting_ends_the_verification_of_certificates() -> None:
    (problem,) = refused(s3={**S3, "verify_tls": False})
    assert "it is always verified" in problem
    text = render("pgbackrest/pgbackrest.conf.j2", cluster=(of := with_repositories(s3=S3)), host=of.host("keep1"))
    assert "verify" not in text


def test_the_keeper_alone_knows_where_they_lie_and_the_others_go_through_it() -> None:
    of = with_repositories(local={**LOCAL, "keep_full": 2}, s3={**S3, "keep_days": 30, "uri_style": "path"}, away=SFTP)
    keeper, database = config(of, "keep1"), config(of, "db1")
    assert (keeper["repo1-path"], keeper["repo1-retention-full"]) == ("/var/lib/pgbackrest", "2")
    assert keeper["repo2-type"] == "s3" and keeper["repo2-path"] == "/pgbackrest" and keeper["repo2-s3-uri-style"] == "path"
    assert (keeper["repo2-retention-full-type"], keeper["repo2-retention-full"]) == ("time", "30")
    assert keeper["repo3-sftp-host-key-check-type"] == "fingerprint"
    assert keeper["repo3-sftp-host-fingerprint"] == "0" * 64 and keeper["repo3-sftp-private-key-file"].endswith("sftp-away.key")
    for number in (1, 2, 3):
        assert keeper[f"repo{number}-cipher-type"] == "aes-256-cbc" and keeper[f"repo{number}-bundle"] == "y"
        assert database[f"repo{number}-host"] == "10.0.0.8"
    assert not [name for name in database if "s3" in name or "sftp" in name or re.match(r"repo.*cipher", name)]


def test_with_one_repository_a_file_is_handed_to_pgbackrest_and_with_several_to_what_asks_each() -> None:
    one, two = (render("pgbackrest/archive-push.sh.j2", cluster=of, **PUSH_TIMES) for of in (with_repositories(s3=S3), TWO))
    assert '\npgbackrest --stanza=shop $limits archive-push "$1" &\n' in one and paths.ARCHIVE_EACH not in one
    assert f'\n{paths.ARCHIVE_EACH} "$1" "$limits" &\n' in two and "\npgbackrest" not in two
    assert postgres_parameters(TWO)["archive_command"] == f"{paths.ARCHIVE_PUSH} %p"


def archive(tmp_path: Path, failing: set[str], waiting: list[str], *option: str) -> tuple[int, list[str]]:
    """What asks two repositories for the first file that waits: its exit code, and what each was handed in turn."""
    status = tmp_path / "pg_wal/archive_status"
    status.mkdir(parents=True)
    for name in waiting:
        (status / f"{name}.ready").touch()
    (tmp_path / "pgbackrest").write_text(
        f'#!/bin/sh\nfor last; do :; done\necho "$1 $last" >>{tmp_path}/asked; echo "$3 $4" >>{tmp_path}/options\n'
        f"case $1 in {'|'.join(f'*archive-{name}.conf' for name in failing) or 'none'}) exit 82;; esac\n"
    )
    (tmp_path / "pgbackrest").chmod(0o755)
    script = render("pgbackrest/archive-each.sh.j2", cluster=TWO)
    command, environment = (
        ["sh", "-c", script, "pgbackrest-push-each", f"pg_wal/{waiting[0]}", *option],
        {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    asked = [line.removeprefix("--config=/etc/pgbackrest/archive-") for line in (tmp_path / "asked").read_text().splitlines()]
    return done.returncode, asked


FILES = ["000000010000000000000001", "000000010000000000000002", "000000010000000000000003"]


def test_each_repository_is_handed_the_file(tmp_path: Path) -> None:
    code, asked = archive(tmp_path, set(), FILES)
    assert code == 0
    assert sorted(asked) == [f"local.conf pg_wal/{FILES[0]}", f"s3.conf pg_wal/{FILES[0]}"]


def test_options_of_pgbackrests_are_handed_on(tmp_path: Path) -> None:
    assert archive(tmp_path, set(), FILES, "--io-timeout=2 --protocol-timeout=2")[0] == 0
    assert (tmp_path / "options").read_text().split() == ["--io-timeout=2", "--protocol-timeout=2"] * 2


def test_one_that_is_away_keeps_no_later_file_from_the_others_and_postgresql_keeps_all(tmp_path: Path) -> None:
    code, asked = archive(tmp_path, {"s3"}, [*FILES, "00000002.history"])
    assert code == 82  # so PostgreSQL asks again
    assert sorted(asked[:2]) == [f"local.conf pg_wal/{FILES[0]}", f"s3.conf pg_wal/{FILES[0]}"]
    assert asked[2:] == [f"local.conf pg_wal/{FILES[2]}"]  # which sends all that wait


def test_where_all_are_away_nothing_more_is_tried(tmp_path: Path) -> None:
    code, asked = archive(tmp_path, {"local", "s3"}, FILES)
    assert code == 82 and len(asked) == 2


def test_each_has_a_file_of_its_own_for_that() -> None:
    texts = [render("pgbackrest/archive.conf.j2", cluster=TWO, place=place) for place in TWO.repositories]
    for place, text in zip(TWO.repositories, texts, strict=True):
        assert f"repo{place.number}-host=10.0.0.8" in text and text.count("-host=") == 1
        assert f"lock-path=/run/pgbackrest/{place.name}\n" in text and f"spool-path=/var/spool/pgbackrest/{place.name}\n" in text
        assert f"\ntls-cipher-12={OPENSSL_SUITES}\n" in text
        wait = dict(line.split("=") for line in text.splitlines() if "timeout=" in line)
        assert int(wait["archive-timeout"]) > int(wait["io-timeout"])


def test_the_keys_get_into_one_file_and_into_nothing_else(tmp_path: Path) -> None:
    of = cluster(backup=True, backup_repositories={"local": LOCAL, "s3": S3}, secrets_directory=str(tmp_path / "secrets"))
    vault = Vault(of, KEYS)
    text = render("pgbackrest/cipher.conf.j2", cluster=of, vault=vault)
    assert "repo2-s3-key-secret=not-to-be-seen" in text and text.count("-cipher-pass=") == 2
    assert "s3-key" not in text.split("repo2-", 1)[0]
    vault.save()
    stored = b"".join(file.read_bytes() for file in (tmp_path / "secrets/shop").iterdir())
    assert b"not-to-be-seen" not in stored  # what the environment has is never written


def test_the_copy_of_a_drill_reaches_stores_through_this_host_alone() -> None:
    of = with_repositories(local=LOCAL, s3=S3)
    keep1, place = of.host("keep1"), "/var/lib/pgbackrest-drill"
    text = render("pgbackrest/drill.conf.j2", cluster=of, host=keep1, directory=place)
    assert "repo1-path=/var/lib/pgbackrest\n" in text and f"repo2-host={keep1.address}\n" in text and "s3" not in text
    template = "pgbackrest/pgquorum-backup-drill.service.j2"
    unit = render(template, cluster=of, host=keep1, user="pgbackrest", directory=place)
    assert "IPAddressDeny=any" in unit and f"IPAddressAllow={keep1.address}" in unit and "PrivateNetwork" not in unit
    alone = cluster(backup=True)
    assert "PrivateNetwork=true" in render(template, cluster=alone, host=keep1, user="pgbackrest", directory=place)
    assert keep1 in of.answered_by_pgbackrest(keep1) and keep1 not in alone.answered_by_pgbackrest(keep1)


def keys(entry: dict[str, Any], directory: Path, environment: dict[str, str]) -> dict[str, str]:
    (place,) = with_repositories(s3=entry).repositories
    return keys_of(place, directory, environment)


def test_an_owner_brings_the_keys_in_the_environment_or_as_a_file(tmp_path: Path) -> None:
    assert keys(LOCAL, tmp_path, {}) == {}
    assert keys(S3, tmp_path, KEYS) == {"key": "owner", "key_secret": "not-to-be-seen"}
    (tmp_path / "repository-s3.json").write_text('{"key": "filed", "key_secret": "hidden"}')
    assert keys(S3, tmp_path, {}) == {"key": "filed", "key_secret": "hidden"}
    assert keys(S3, tmp_path, KEYS)["key"] == "owner"  # the environment goes before
    (tmp_path / "repository-s3.ssh").write_text(SSH)
    assert keys(SFTP, tmp_path, {}) == {"private_key": SSH}


@pytest.mark.parametrize(
    ("entry", "environment", "file", "said"),
    [
        (S3, {}, None, r"PGQUORUM_REPOSITORY_S3_KEY and PGQUORUM_REPOSITORY_S3_KEY_SECRET in the environment, or .*s3\.json"),
        (SFTP, {}, None, r"ssh-keygen -q -t ed25519 -N '' -f .*repository-s3\.ssh\) makes one"),
        (S3, {"PGQUORUM_REPOSITORY_S3_KEY": "not-to-be-seen"}, None, r"_KEY_SECRET is not in the environment"),
        (S3, KEYS | {"PGQUORUM_REPOSITORY_S3_KEY": "not to be seen"}, None, r"key should be printable ASCII"),
        (S3, {}, '{"key": "not-to-be-seen"}', r"should be .\"key\""),
        (SFTP, {"PGQUORUM_REPOSITORY_S3_PRIVATE_KEY": "not-to-be-seen"}, None, r"should be a private key of SSH"),
    ],
)
def test_a_key_that_is_missing_or_wrong_is_told_without_showing_it(
    entry: dict[str, Any], environment: dict[str, str], file: str | None, said: str, tmp_path: Path
) -> None:
    if file:
        (tmp_path / "repository-s3.json").write_text(file)
    with pytest.raises(ClusterError, match=said) as error:
        keys(entry, tmp_path, environment)
    assert "not-to-be-seen" not in str(error.value) and "not to be seen" not in str(error.value)


def test_a_file_of_authorities_that_is_none_is_refused(tmp_path: Path) -> None:
    for content in (None, "no certificate"):
        file = tmp_path / "ca.crt"
        if content:
            file.write_text(content)
        (problem,) = file_problems(with_repositories(s3={**S3, "ca_file": str(file)}).repositories)
        assert problem.startswith(f"backup_repositories[s3][ca_file] = '{file}': should be the path of a PEM file here")


def test_a_request_is_signed_as_amazon_says() -> None:
    """The figures of the example 'GET Bucket (List Objects)' in Amazon's own description of Signature Version 4."""
    spec = {
        "region": "us-east-1",
        "keys": {"key": "AKIAIOSFODNN7EXAMPLE", "key_secret": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"},
    }
    at = time.struct_time((2013, 5, 24, 0, 0, 0, 4, 144, 0))
    head = store.signed(spec, "examplebucket.s3.amazonaws.com", "/", "max-keys=2&prefix=J", at)
    assert head["authorization"].endswith("Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")


def test_what_a_store_says_is_told_by_its_name(tmp_path: Path) -> None:
    of = cluster(backup=True, backup_repositories={"local": LOCAL, "s3": S3}, secrets_directory=str(tmp_path / "secrets"))
    asked = asked_of(of, Vault(of, KEYS))
    assert set(asked) == {"s3"} and asked["s3"]["uri_style"] == "host"
    assert list(wrong('{"s3": "", "away": "there is no bucket x"}', "")) == ["backup_repositories[away]: there is no bucket x"]
    assert list(wrong("", "Traceback\nOSError: no")) == ["backup_repositories could not be looked at: OSError: no"]
    deployed = tmp_path / "deployed"
    deployed.write_text("as it was")
    digest = store.hashlib.sha256(b"as it was").hexdigest()
    unasked = {"s3": {"kind": "none that there is"}}
    assert store.look({"stores": unasked, "files": {str(deployed): digest}}) == {}
    with pytest.raises(KeyError):
        store.look({"stores": unasked, "files": {str(deployed): "another"}})


def info(code: int, **stanza: Any) -> list[str]:
    return [json.dumps([{"name": "shop", "status": {"code": code, "message": "..."}, **stanza}])]


@pytest.mark.parametrize(
    ("output", "there"),
    [
        ([], There()),  # nothing is deployed there yet
        (["[]"], There()),
        (info(1), There()),
        (info(2, archive=[], backup=[]), There(stanza=True)),
        (info(2, archive=[{"max": "A1"}], backup=[]), There(stanza=True, archived=True)),
        (info(0, archive=[{"max": "A1"}], backup=[{}]), There(True, True, True)),
        ([*info(2, archive=[], backup=[]), "backed_up"], There(stanza=True, backed_up=True)),
        (info(99), There(True, True, True)),  # it can't be seen: no deploy mends that
    ],
)
def test_what_a_store_has_is_read_from_what_pgbackrest_says(output: list[str], there: There) -> None:
    assert store_of(output) == there


def told(**state: Any) -> list[Finding]:
    """What is found wrong with two repositories that both have a backup, but for what is said of them."""
    both = (views.ARCHIVED, Repository("s3", "", "000000030000000000000001", "000000030000000000000009"))
    there = (views.backup(), views.backup(age=3000.0, repository="s3"))
    whole = replace(views.backups(*there), repositories=both)
    found = findings(views.backed_up(keep1=views.keeper(backups=replace(whole, **state))), TWO)
    return [one for one in found if one.rule.startswith("backups.")]


def test_each_repository_is_judged_by_itself() -> None:
    assert told() == []
    local, s3 = views.backup(), views.backup(age=3000.0, repository="s3")
    (none,) = told(backups=(local,))
    assert none.rule == "backups.none" and "in repository s3" in none.text
    (old,) = told(backups=(views.backup(age=40 * 3600.0), s3))
    assert old.rule == "backups.too-old" and "in repository local is 40 hours old" in old.text


def test_one_that_is_away_is_told_with_what_goes_on() -> None:
    away = Repository("s3", "[ProtocolError] unable to connect")
    (found,) = told(repositories=(views.ARCHIVED, away), backups=(views.backup(),))
    assert (found.rule, found.level) == ("backups.no-repository", "problem")
    assert "unable to connect; backups and the archive go on in local" in found.text


@pytest.mark.parametrize(
    ("ended", "named"),
    [
        ({"local": 950, "s3": 400}, "(s3)"),  # the run made the one of local, and failed at that of s3
        ({"local": 950, "s3": 960}, "(local, s3)"),  # both are there, and something else has failed
        ({"local": 1100, "s3": 400}, "(s3)"),
        ({"local": 1100, "s3": 1200}, None),
    ],
)
def test_of_a_run_that_failed_those_are_named_that_have_got_no_backup(ended: dict[str, int], named: str | None) -> None:
    run = BackupRun("full", running=False, failed=True, ended=1000, began=900)
    found = told(backups=tuple(views.backup(repository=name, ended=at, age=60.0) for name, at in ended.items()), runs=(run,))
    assert [one.text.split(" or was cut off ")[1].split(":")[0] for one in found] == ([named] if named else [])


def test_each_is_to_be_proven() -> None:
    old = 20 * 86_400.0
    there = (views.backup(age=old), views.backup(age=old - 10, repository="s3"), views.backup(), views.backup(repository="s3"))
    (found,) = told(backups=there, drills=(views.drill(repository="local"),))
    assert found.rule == "backups.not-proven" and "in repository s3" in found.text


def told_of(system: int, label: str, ended: float, at: float, *numbers: int) -> dict[str, Any]:
    """What agents/sent/archive.py says of a repository with one backup, and with files of the log of these numbers."""
    backup = {
        "database": {"id": 1}, "archive": {"stop": "000000010000000000000005"}, "error": False, "info": {"size": 10},
        "label": label, "lsn": {"stop": "0/2000000"}, "timestamp": {"stop": ended}, "type": "full",
    }  # fmt: skip
    return {
        "info": [{"db": [{"id": 1, "system-id": system}], "backup": [backup]}],
        "histories": {"2": ["1\t0/3000000\tno recovery target specified\n", at]},
        "files": {"0000000100000000": [[number, number, at] for number in numbers]},
    }


def test_a_restore_sees_the_backups_of_all_that_can_be_read_and_when_the_first_had_a_history() -> None:
    told = {"local": told_of(7, "A", 100, 500.0, 5, 7), "s3": told_of(7, "B", 200, 900.0, 6), "away": {"problem": "no answer"}}
    archive = archive_of(told)
    assert [(base.label, base.repository) for base in archive.bases] == [("A", "local"), ("B", "s3")]
    assert archive.timelines[2].began == 500.0
    assert archive.system == "7" and archive.silent == {"away": "no answer"}
    local, s3 = archive.bases
    assert replace(archive, silent={}).beside(local).found[1].keys() == {5, 6, 7}  # what one lacks is read from another
    assert replace(archive, silent={}, apart=True).beside(local).found[1].keys() == {5, 7}  # as a clone reads
    assert archive.beside(local).found[1].keys() == {5, 7} and archive.beside(s3).found[1].keys() == {6}


def test_repositories_of_different_clusters_and_none_that_can_be_read_are_refused() -> None:
    with pytest.raises(ClusterError, match=r"of different clusters \(local: 7, s3: 8\)"):
        archive_of({"local": told_of(7, "A", 100, 500.0), "s3": told_of(8, "B", 200, 900.0)})
    with pytest.raises(ClusterError, match="repository s3: it does not know the key"):
        archive_of({"s3": {"problem": "it does not know the key"}})


def test_a_backup_is_restored_from_its_own_repository_as_it_was_where_that_is_asked_for() -> None:
    archive = archive_of({"s3": told_of(7, "B", 200, 900.0)})
    made = planned(
        TWO, parse_target("latest"), archive.bases[0], archive.timelines[2], archive.timelines, 0, "db1",
        id="1", began="now", before=2, live=True, keep=True, as_of="2026-11-29 07:00:00+00",
    )  # fmt: skip
    assert made.options == ("--repo=2", "--repo-target-time=2026-11-29 07:00:00+00")
    assert reading(made) == " --repo=2 '--repo-target-time=2026-11-29 07:00:00+00'"
    assert reading(replace(made, as_of="")) == ""  # the archive is read wherever it can be
    (step,) = [one for one in steps(made) if isinstance(one, Fetch)]
    assert step.options == made.options and "of repository s3" in str(step)
    assert read(made.text) == made


@pytest.mark.parametrize(
    ("as_of", "repository", "said"),
    [
        ("2026-11-29 07:00:00", "s3", "should be a time with its zone"),
        ("yesterday", "s3", "should be a time with its zone"),
        ("2026-11-29 07:00:00Z", None, "needs --repository"),
    ],
)
def test_a_moment_as_of_which_nothing_can_be_read_is_refused(as_of: str, repository: str | None, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        parse_as_of(as_of, repository)
    assert parse_as_of("2026-11-29 08:00:00+01:00", "s3") == "2026-11-29 07:00:00+00"


def test_drills_take_each_repository_in_turn(tmp_path: Path) -> None:
    words = dict.fromkeys(("cluster", "host", "binaries", "config", "include", "runtime"), "")
    plan = drill_files.Plan(**words, directory=str(tmp_path), repositories={"local": 1, "s3": 2})
    assert drill_files.turns(plan, 10.0) == [("local", True), ("s3", False)]
    plan.results.mkdir()
    for n, name in enumerate(("s3", "local"), 1):
        (plan.results / f"{n}.json").write_text(json.dumps({"repository": name, "ended": float(n)}))
    assert drill_files.turns(plan, 10.0) == [("s3", True), ("local", False)]
    (plan.results / "3.json").write_text(json.dumps({"ended": 3.0}))  # of before there were several
    assert drill_files.turns(plan, 10.0) == [("s3", True), ("local", False)]
    assert drill_files.turns(replace(plan, repositories={}), 10.0) == [("", True)]


@pytest.mark.parametrize(("names", "most"), [("a", 1), ("ab", 1), ("abc", 2), ("abcde", 4)])
def test_however_many_there_are_a_drill_each_week_proves_each_within_the_days_after_which_status_complains(
    tmp_path: Path, names: str, most: int
) -> None:
    words = dict.fromkeys(("cluster", "host", "binaries", "config", "include", "runtime"), "")
    plan = drill_files.Plan(**words, directory=str(tmp_path), repositories=dict.fromkeys(names, 1), proven_days=15)
    plan.results.mkdir()
    last: dict[str, float] = {}
    for week in range(12):
        now = 1_800_000_000.0 + week * 7 * DAY + week % 3 * 600
        due = [name for name, due in drill_files.turns(plan, now) if due]
        assert len(due) == len(names) if week == 0 else len(due) <= most
        for name in due:
            last[name] = now + 3600
            (plan.results / f"{week}-{name}.json").write_text(json.dumps({"repository": name, "ended": last[name]}))
        # Just before the next one.
        assert all(now + 7 * DAY - ended <= 15 * DAY for ended in last.values()) and last.keys() == set(names)


HOST_KEYS = [paramiko.ECDSAKey.generate(), paramiko.RSAKey.generate(2048)]


def serve(listening: socket.socket) -> None:
    """Begins each connection as an SSH server does, by another one's program."""
    with suppress(OSError):
        while True:
            transport = paramiko.Transport(listening.accept()[0])
            for key in HOST_KEYS:
                transport.add_server_key(key)
            transport.start_server(threading.Event(), paramiko.ServerInterface())


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[dict[str, Any], Path]]:
    """An SFTP server that listens, what is asked about it, and where a program `sftp` says what it says."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        known = 'for word; do case $word in UserKnownHostsFile=*) cp "${word#*=}" known_hosts;; esac; done'
        (tmp_path / "sftp").write_text(f"#!/bin/sh\ncd {tmp_path}\n{known}\ncat >asked\nexit 0\n")
        (tmp_path / "sftp").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        monkeypatch.setattr(store, "PRIVATE", str(tmp_path))
        where = {"host": "127.0.0.1", "port": listening.getsockname()[1], "user": "shop", "path": "/backups"}
        yield {**where, "host_key": store.fingerprint(HOST_KEYS[1].asbytes()), "keys": {"private_key": SSH}}, tmp_path / "sftp"


def test_an_sftp_server_is_known_by_its_own_key(server: tuple[dict[str, Any], Path]) -> None:
    spec, program = server
    assert store.sftp(spec) == ""
    assert (program.parent / "asked").read_text() == "ls /backups\n"  # nothing is made there to find out
    known = paramiko.HostKeys(str(program.parent / "known_hosts"))
    assert known.check(f"[127.0.0.1]:{spec['port']}", HOST_KEYS[1]) and len(known) == 1
    said = store.sftp({**spec, "host_key": PRINT})
    assert said.startswith(f"host_key is {PRINT}, but 127.0.0.1 has SHA256:")
    assert all(store.fingerprint(key.asbytes()) in said for key in HOST_KEYS)


def test_where_there_is_no_program_for_it_the_server_s_key_is_compared_all_the_same(
    server: tuple[dict[str, Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, program = server
    program.unlink()
    monkeypatch.setenv("PATH", str(program.parent))
    assert store.sftp(spec) == ""
    assert "but 127.0.0.1 has SHA256:" in store.sftp({**spec, "host_key": PRINT})


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (b"220 files FTP server ready\r\n", "it does not speak SSH"),
        (b"SSH-2.0-x\r\n" + bytes(20), "what it says is no SSH"),
        (b"SSH-2.0-x\r\n\0\0\0\x0c\x0a\x63" + bytes(20), "it answers with message 63"),
        (b"SSH-2.0-x\r\n", "it ended the connection"),
        (b"SSH-2.0-x\r\n" + struct.pack(">IBB4sI3s", 17, 4, 1, bytes(4), 3, b"not") + bytes(4), "it ends the connection: not"),
    ],
)
def test_what_is_no_ssh_server_is_told(words: bytes, why: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            connection.sendall(words)
            connection.shutdown(socket.SHUT_WR)

        threading.Thread(target=answer, daemon=True).start()
        port = listening.getsockname()[1]
        assert (
            store.sftp({"host": "127.0.0.1", "port": port, "host_key": PRINT}) == f"no answer from 127.0.0.1, port {port}: {why}"
        )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("shop@127.0.0.1: Permission denied (publickey).", "127.0.0.1 does not take the key of user shop"),
        ('Can\'t ls: "/backups" not found', "/backups is no directory of shop's there: Can't ls: \"/backups\" not found"),
    ],
)
def test_one_that_does_not_let_us_in_is_told(server: tuple[dict[str, Any], Path], words: str, said: str) -> None:
    spec, program = server
    program.write_text(f"#!/bin/sh\ncat >/dev/null\necho {shlex.quote(words)} >&2\nexit 1\n")
    assert store.sftp(spec) == said


def test_one_that_does_not_listen_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    assert store.sftp({"host": "127.0.0.1", "port": port}) == f"no answer from 127.0.0.1, port {port}: Connection refused"


def test_a_restore_goes_on_without_one_that_can_not_be_read_and_asks_it_for_nothing() -> None:
    away = replace(views.backups(), repositories=(views.ARCHIVED, Repository("s3", "no answer")))
    view = views.backed_up(keep1=views.keeper(backups=away))
    archive = archive_of({"local": told_of(7, "A", 100, 500.0, 5), "s3": {"problem": "no answer"}})
    assert list(objections(view, TWO, {}, archive.bases[0], "db1", keep=True)) == []
    assert unreadable(view, TWO) == {"s3": "no answer"}
    made = planned(
        TWO, parse_target("latest"), archive.bases[0], archive.timelines[2], archive.timelines, 0, "db1",
        id="1", began="now", before=2, live=True, keep=True, away=archive.silent,
    )  # fmt: skip
    assert reading(made) == " --repo=1" and read(made.text) == made and made.away == ("s3",)
    noted = {key: value for key, value in json.loads(made.text).items() if key != "away"}
    assert read(json.dumps(noted)).away == ()  # of one that an older version has begun


@pytest.mark.parametrize("there", [None, "archive/shop/18-1", "backup/shop"])
def test_a_directory_is_in_use_where_it_has_a_file_of_this_cluster_s(tmp_path: Path, there: str | None) -> None:
    of = cluster(backup=True)
    (tmp_path / "kept/archive/shop").mkdir(parents=True)
    if there:
        (tmp_path / "kept" / there).mkdir(parents=True, exist_ok=True)
        (tmp_path / "kept" / there / "file").write_text("")
    command = used_command(of).replace(of.backup.directory, str(tmp_path / "kept"))
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert ("used" in lines) == bool(there)
    assert bool(list(cipher_problems(of, "secrets/shop", {"keep1": lines}))) == bool(there)


def test_another_password_for_backups_is_taken_for_new_places_alone() -> None:
    def configured(of: Cluster) -> list[str]:
        keeper = of.host("keep1")
        return render("pgbackrest/pgbackrest.conf.j2", cluster=of, host=keeper).splitlines()

    for name, entry, elsewhere in (("s3", S3, {"bucket": "another"}), ("away", SFTP, {"path": "/another"})):
        deployed = cluster(backup=True, backup_repositories={name: entry})
        moved = cluster(backup=True, backup_repositories={name: {**entry, **elsewhere}})
        (said,) = cipher_problems(deployed, "secrets/shop", {"keep1": configured(deployed)})
        assert f"nobody could read what lies in {name} (backup_repositories): bring the old value back" in said
        assert "/etc/pgbackrest/conf.d/cipher.conf on keep1" in said
        assert list(cipher_problems(moved, "secrets/shop", {"keep1": configured(deployed)})) == []
        # Of whom nobody can tell: a host that is left out, or a new one that is to go on with the same place.
        assert list(cipher_problems(moved, "secrets/shop", {})) and list(cipher_problems(moved, "secrets/shop", {"keep1": []}))
    local = cluster(backup=True)
    assert list(cipher_problems(local, "secrets/shop", {})) and not list(cipher_problems(local, "secrets/shop", {"keep1": []}))
