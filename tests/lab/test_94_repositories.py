"""Backups that lie elsewhere, too: in an object store that keeps old versions, and on an SFTP server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from commands import invoke, status
from helpers import Site, refused
from hosts import ADDRESS, DATA, DATABASES, PROXY, SPEC, wait_until
from keeping import HOST, LOCAL, ONLY_WITH_BACKUPS, as_keeper, recovered, rules, write_settings, written
from object_store import BUCKET, ObjectStore, stored

pytestmark = [pytest.mark.usefixtures("healed"), ONLY_WITH_BACKUPS]
CIPHER = "/etc/pgbackrest/conf.d/cipher.conf"
NUMBERS = {"local": 1, "s3": 2, "away": 3}
# Who may come by SFTP to a host of the lab: one user, to one directory, and nowhere else.
SFTP_SERVER = """set -e
id shop >/dev/null 2>&1 || useradd --create-home --home-dir /srv/sftp/shop --shell /usr/sbin/nologin shop
mkdir -p /etc/ssh/shop /srv/sftp/shop/backups
chown root:root /srv/sftp /srv/sftp/shop && chmod 755 /srv/sftp /srv/sftp/shop && chown shop: /srv/sftp/shop/backups
echo '{key}' >/etc/ssh/shop/keys && chmod 644 /etc/ssh/shop/keys
printf '%s\\n' 'Match User shop' 'ChrootDirectory /srv/sftp/shop' 'ForceCommand internal-sftp' \\
    'AuthorizedKeysFile /etc/ssh/shop/keys' 'DisableForwarding yes' >/etc/ssh/sshd_config.d/shop.conf
systemctl reload ssh
"""


def info(site: Site, name: str) -> dict[str, Any]:
    """What pgBackRest itself says of one repository."""
    (stanza,) = json.loads(as_keeper(site, f"--repo={NUMBERS[name]} --output=json info"))
    return dict(stanza)


def labels(site: Site, name: str) -> list[str]:
    return [backup["label"] for backup in info(site, name)["backup"]]


def archived(site: Site, name: str) -> str:
    archives = info(site, name)["archive"]
    return str(archives[-1]["max"]) if archives else ""


@pytest.fixture(scope="module")
def store(joined: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """The object store; when all is done the cluster is as it was before."""
    with stored(joined, tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture(scope="module")
def both(joined: Site, store: ObjectStore) -> Site:
    """The cluster, whose backups lie on their host and in the store."""
    wait_until(lambda: labels(joined, "local"), "the first full backup")
    write_settings(joined, local=LOCAL, s3=store.entry)
    joined.deployed()
    wait_until(lambda: labels(joined, "s3"), "a backup in the store, which the deploy has begun")
    return joined


def test_what_can_not_be_used_is_refused_with_the_reason_before_anything_is_changed(joined: Site, store: ObjectStore) -> None:
    before = joined.on(HOST, "sha256sum /etc/pgbackrest/pgbackrest.conf")
    wrong = {"PGQUORUM_REPOSITORY_S3_KEY": store.keys["key"], "PGQUORUM_REPOSITORY_S3_KEY_SECRET": "another"}
    cases: list[tuple[dict[str, Any], dict[str, str], str]] = [
        ({}, wrong, "the key's secret is another one"),
        ({"bucket": "not-there"}, {}, "there is no bucket not-there"),
        ({"ca_file": str(joined.secrets / "backup-ca.crt")}, {}, "ca_file does not vouch for the certificate"),
        ({"endpoint": f"{ADDRESS[PROXY]}:9443"}, {}, "no answer from"),
    ]
    for differs, environment, reason in cases:
        write_settings(joined, local=LOCAL, s3={**store.entry, **differs})
        run = joined.deploy("-y", environment=environment)
        refused(run, f"backup_repositories[s3]: {reason}", "nothing was changed")
        assert store.keys["key_secret"] not in run.output
    assert joined.on(HOST, "sha256sum /etc/pgbackrest/pgbackrest.conf") == before


def test_a_store_joins_gets_a_backup_and_the_archive_and_a_second_deploy_changes_nothing(both: Site, store: ObjectStore) -> None:
    assert both.changes() == 0
    name = written(both)
    wait_until(lambda: archived(both, "s3") >= name and archived(both, "local") >= name, "both have what was written")
    assert rules(both) & {"backups.no-repository", "archive.failing", "files.edited"} == set()
    there = store.objects()
    assert any(f"pgbackrest/archive/{SPEC.name}/" in one and name in one for one in there)
    assert f"pgbackrest/backup/{SPEC.name}/backup.info" in there
    assert info(both, "s3")["cipher"] == "aes-256-cbc"


def test_one_file_on_one_host_has_the_key(both: Site, store: ObjectStore) -> None:
    secret = store.keys["key_secret"]
    assert both.on(HOST, f"stat -c '%a %U %G' {CIPHER}") == "640 root pgbackrest"
    for host in (HOST, *DATABASES):
        found = both.on(host, "grep -rlF -f - /etc /run/pgbackrest /var/spool/pgbackrest 2>/dev/null || true", stdin=secret)
        assert found == (CIPHER if host == HOST else ""), host
        assert secret not in both.on(host, "journalctl --no-pager --boot"), host


def test_each_gets_a_backup_and_both_are_listed(both: Site) -> None:
    before = {name: labels(both, name) for name in ("local", "s3")}
    code, out, err = invoke(both, "backup", "--type", "incr")
    assert code == 0, out + err
    for name, labels_before in before.items():
        assert len(labels(both, name)) == len(labels_before) + 1, name
    code, out, _ = invoke(both, "backup.list", "--json")
    document = json.loads(out)
    assert code == 0 and [one["name"] for one in document["repositories"]] == ["local", "s3"]
    for name in before:
        assert [row["label"] for row in document["backups"] if row["repository"] == name] == labels(both, name)


@pytest.mark.long
def test_one_that_hangs_holds_up_nobody_and_gets_what_it_lacks_when_it_is_back(both: Site, store: ObjectStore) -> None:
    with store.hanging():
        names = []
        for n in range(3):
            with both.connect(5000) as connection:
                connection.execute("create table if not exists hung (n int)")
                connection.execute(f"insert into hung values ({n})")
            names.append(written(both))
        wait_until(lambda: archived(both, "local") >= names[-1], "the other one gets all of it")
        wait_until(lambda: {"backups.no-repository", "archive.failing"} <= rules(both), "that it is away is told")
    written(both)  # PostgreSQL tries again at once when a file is ended, and each minute
    wait_until(lambda: archived(both, "s3") >= names[-1], "it gets what it lacks")
    stored = "\n".join(store.objects())
    assert all(name in stored for name in names)
    wait_until(lambda: rules(both) & {"backups.no-repository", "archive.failing"} == set(), "nothing is told of it any more")


@pytest.mark.long
@pytest.mark.parametrize("over", ["when another one leads", "at once"])
def test_what_a_lost_primary_could_not_archive_in_one_of_two_gets_there_from_the_one_that_takes_over(
    both: Site, store: ObjectStore, over: str
) -> None:
    """The store hangs while rows are acknowledged, and the primary's host is lost for good before that is over. Then each of the
    two, read alone, leads to the last row. Where it is over at once, the lost one is sent an answer that nobody acknowledges."""
    with both.connect(5000) as app:
        app.execute("drop table if exists handed_in")
        app.execute("create table handed_in (n int)")

    def insert_by_another_than(lost: str) -> None:
        wait_until(lambda: both.leader() != lost and both.takes_writes(), "another one takes writes")
        with both.connect(5000) as app:
            app.execute("insert into handed_in values (5)")

    lost, names = both.leader(), []
    with store.hanging():
        for n in range(5):
            with both.connect(5000) as app:
                app.execute("insert into handed_in values (%s)", (n,))
            names.append(written(both))
        wait_until(lambda: archived(both, "local") >= names[-1], "the other one gets all of it")
        both.lab.off(lost)
        if over == "when another one leads":
            insert_by_another_than(lost)
    if over == "at once":
        insert_by_another_than(lost)
    last = written(both)
    wait_until(lambda: archived(both, "s3") >= last and archived(both, "local") >= last, "both go on", seconds=300)
    there = "\n".join(store.objects())
    assert [name for name in names if name not in there] == []
    assert holes(both) == ""
    (other,) = {*DATABASES} - {both.leader(), lost}
    for name in ("local", "s3"):
        count, where = "select count(*) from handed_in", {"repository": NUMBERS[name], "timeline": str(int(last[:8], 16))}
        assert recovered(both, other, count, database="app", **where) == "6", name
    both.replace_with_blank(lost)
    both.deployed()
    wait_until(both.healthy, "the cluster is whole")


def holes(site: Site) -> str:
    return "\n".join(one["text"] for one in status(site)["findings"] if one["rule"] == "archive.hole")


@pytest.mark.long
def test_a_file_that_the_store_has_lost_is_told_until_there_is_another_backup(both: Site, store: ObjectStore) -> None:
    names = [written(both) for _ in range(3)]
    wait_until(lambda: archived(both, "s3") >= names[-1] and archived(both, "local") >= names[-1], "both have all of it")
    assert holes(both) == ""
    (lost,) = [one for one in store.objects() if names[1] in one]
    store.ask("delete", BUCKET, lost)
    wait_until(lambda: holes(both).startswith(f"{names[1]} is missing in the archive of repository s3: "), "the hole is told")
    assert holes(both).count("\n") == 0, "the other one has it"
    assert invoke(both, "backup", "--type", "incr", seconds=300)[0] == 0
    assert holes(both) == ""


@pytest.mark.long
def test_a_drill_proves_a_backup_from_the_store_by_the_keeper_s_own_pgbackrest(both: Site) -> None:
    code, out, err = invoke(both, "backup.drill", "--repository", "s3", "--json", seconds=600)
    told = json.loads(out) if out else {}
    assert code == 0 and told["passed"], err
    assert (told["repository"], told["backup"]) == ("s3", labels(both, "s3")[-1])
    assert told["compared"]["rows"] > 0 and told["compared"]["differences"] == []
    # The timer's takes the one whose turn it is.
    both.on(HOST, "systemctl start pgquorum-backup-drill.service", timeout=600)
    newest = both.on(HOST, 'cat "$(ls -t /var/lib/pgbackrest-drill/results/*.json | head -n 1)"')
    assert json.loads(newest)["repository"] == "local" and json.loads(newest)["passed"]


def now(site: Site) -> str:
    said = site.psql(site.leader(), "select pg_sleep(2); select clock_timestamp() at time zone 'UTC'").split("\n")[-1]
    site.psql(site.leader(), "select pg_sleep(2)")
    return datetime.fromisoformat(said).replace(tzinfo=UTC).isoformat()


@pytest.mark.long
def test_backups_that_somebody_has_deleted_lead_back_all_the_same(both: Site, store: ObjectStore) -> None:
    """By the versions that the store keeps: to a moment before, with a cluster that goes on meanwhile."""
    both.psql(both.leader(), "drop table if exists kept_in_store; create table kept_in_store (n int)")
    both.psql(both.leader(), "insert into kept_in_store values (1)")
    moment = now(both)
    # Only by what was committed later, and is in that archive, does a recovery know that the moment has come.
    both.psql(both.leader(), "insert into kept_in_store values (2)")
    name = written(both)
    wait_until(lambda: archived(both, "s3") >= name, "it is in the store")
    whole = now(both)
    both.psql(both.leader(), "drop table kept_in_store")
    store.ask("delete-all", BUCKET)
    assert store.objects() == []
    gone, kept = map(int, store.ask("destroy", BUCKET).split())
    assert gone == 0 and kept > 0, "each version is locked, also for whoever has the key of the repository"
    wait_until(lambda: "backups.none" in rules(both), "that nothing is left is told")
    both.deployed()
    wait_until(lambda: labels(both, "s3"), "a new backup in the store")
    code, out, err = invoke(both, "restore", "--to", moment, "--repository", "s3", "--yes", seconds=900)
    assert code == 2 and "no backup leads to" in err, out + err
    words = ("--repository", "s3", "--as-of", whole, "--yes")
    code, out, err = invoke(both, "restore", "--to", moment, *words, seconds=900)
    assert code == 0, out + err
    both.healthy()
    assert both.psql(both.leader(), "select n from kept_in_store") == "1"
    name = written(both)
    wait_until(lambda: archived(both, "s3") >= name and archived(both, "local") >= name, "both go on")


@pytest.mark.long
def test_a_restore_goes_on_without_a_store_that_hangs_and_that_gets_what_is_written_since(both: Site, store: ObjectStore) -> None:
    both.psql(both.leader(), "drop table if exists kept_without; create table kept_without (n int)")
    both.psql(both.leader(), "insert into kept_without values (1)")
    moment = now(both)
    with store.hanging():
        both.psql(both.leader(), "drop table kept_without")
        wait_until(lambda: "backups.no-repository" in rules(both), "that it is away is told")
        code, out, err = invoke(both, "restore", "--to", moment, "--repository", "s3", "--yes", seconds=900)
        assert code == 2 and "repository s3" in err, out + err
        code, out, err = invoke(both, "restore", "--to", moment, "--yes", "--json", seconds=1500)
        document = json.loads(out)
        assert document["stopped_by"] == "" and document["done"] == document["planned"], err
        assert [*document["away"]] == ["s3"] and document["repository"] == "local"
        wrong = {one["rule"] for one in document["findings"] if one["level"] == "problem"}
        assert (
            code == 1
            and "backups.no-repository" in wrong
            and {rule.partition(".")[0] for rule in wrong} <= {"archive", "backups"}
        )
        assert both.healthy()
        assert both.psql(both.leader(), "select n from kept_without") == "1"
    name = written(both)
    wait_until(lambda: archived(both, "s3") >= name and archived(both, "local") >= name, "both go on", seconds=300)
    histories = as_keeper(both, f"--repo={NUMBERS['s3']} --recurse repo-ls archive")
    assert f"{int(name[:8], 16):08X}.history" in histories, "also what the restored server wrote before it led"
    assert invoke(both, "backup", seconds=300)[0] == 0
    assert rules(both) & {"backups.no-repository", "archive.failing", "backups.failed"} == set()
    both.on_all(f"rm -rf {DATA}.before-* /var/lib/pgquorum-wal/pgquorum/pg_wal.before-*", DATABASES)


@pytest.mark.long
def test_a_directory_on_an_sftp_server_is_another_place(both: Site, store: ObjectStore) -> None:
    key = both.secrets / "repository-away.ssh"
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "shop", "-f", str(key)]
    subprocess.run(make, check=True, umask=0o077)
    both.on(PROXY, SFTP_SERVER.format(key=Path(f"{key}.pub").read_text().strip()))
    right = both.on(PROXY, "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
    away = {"type": "sftp", "host": ADDRESS[PROXY], "user": "shop", "host_key": right, "path": "/backups"}
    write_settings(both, local=LOCAL, s3=store.entry, away={**away, "host_key": f"SHA256:{'A' * 43}"})
    run = both.deploy("-y")
    refused(run, "backup_repositories[away]: host_key is SHA256:AAAA", right, "nothing was changed")
    write_settings(both, local=LOCAL, s3=store.entry, away=away)
    both.deployed()
    wait_until(lambda: labels(both, "away"), "a backup there, which the deploy has begun")
    name = written(both)
    wait_until(lambda: archived(both, "away") >= name, "it is archived there")
    assert both.on(PROXY, f"ls /srv/sftp/shop/backups/backup/{SPEC.name}").split()
    code, out, err = invoke(both, "backup.drill", "--repository", "away", "--json", seconds=600)
    told = json.loads(out) if out else {}
    assert code == 0 and told["passed"] and told["repository"] == "away" and told["compared"]["rows"] > 0, err
    names = [written(both) for _ in range(3)]
    wait_until(lambda: archived(both, "away") >= names[-1], "what follows is archived there")
    assert holes(both) == ""
    both.on(PROXY, f"find /srv/sftp/shop/backups/archive -name '{names[1]}-*' -delete")
    wait_until(lambda: f"{names[1]} is missing in the archive of repository away: " in holes(both), "a hole there is told")
    assert rules(both) & {"backups.no-repository", "archive.failing"} == set()
