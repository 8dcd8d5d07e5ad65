"""Backups: a host for them joins a cluster that lives; what gets there, and that it can be read again without this tool."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime

import pytest
from commands import invoke
from helpers import Site
from hosts import ADDRESS, DATA, DATABASES, IN_URL, PROXY, SPEC, wait_until
from keeping import (
    HOST,
    ONLY_WITH_BACKUPS,
    archived,
    as_keeper,
    drilled,
    in_repository,
    info,
    labels,
    manifest,
    older,
    recovered,
    rules,
    told,
    written,
)
from proving import switch_over

from cluster.certificates import Wanted, make_authority, make_certificate

pytestmark = [pytest.mark.usefixtures("healed"), ONLY_WITH_BACKUPS]
UNITS = ("pgbackrest", "pgquorum-backup@full")
# When each begins, by the settings that the tests are deployed with.
TIMERS = {
    "pgquorum-backup-full.timer": "Sun 01:00",
    "pgquorum-backup-incr.timer": "Mon..Sat 01:00",
    "pgquorum-backup-drill.timer": "Sun 04:00",
}
SETTINGS = "group_data/backup.py"
DAY = 86_400
# Suites of TLS 1.2, and whether they are to be taken.
TLS_1_2 = {"ECDHE-ECDSA-AES128-GCM-SHA256": True, "ECDHE-ECDSA-AES256-SHA384": False, "ECDHE-ECDSA-AES128-SHA": False}


def test_a_host_for_backups_joins_a_living_cluster_and_a_second_deploy_changes_nothing(joined: Site) -> None:
    wait_until(lambda: labels(joined), "the first full backup, which the deploy has begun")
    assert joined.changes() == 0
    assert rules(joined) & {"backups.none", "archive.failing", "files.edited"} == set()


@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_wrong_with_its_units(joined: Site, name: str) -> None:
    done = joined.eyes(HOST).run(f"systemd-analyze verify --man=no {name}.service")
    assert done.rc == 0, done.stderr
    assert name not in done.stderr
    assert joined.eyes(HOST).service("pgquorum-backup-full.timer").is_enabled
    for host in (HOST, *DATABASES):
        assert joined.eyes(host).service("pgbackrest").is_running


def test_each_schedule_of_the_settings_has_a_timer_that_waits_for_it(joined: Site) -> None:
    waiting = joined.on(HOST, "systemctl list-timers --no-legend --output=json")
    assert {*TIMERS} <= {one["unit"] for one in json.loads(waiting)}
    for timer, schedule in TIMERS.items():
        goes_off = joined.on(HOST, f"systemctl show -P NextElapseUSecRealtime {timer}")
        assert goes_off in joined.on(HOST, f"systemd-analyze calendar '{schedule}'"), timer


def clock(site: Site) -> int:
    """The hosts' time, in seconds since 1970: they have one clock."""
    return int(site.on(DATABASES[0], "date +%s"))


def in_minutes(site: Site, minutes: int) -> tuple[str, int]:
    """A minute that is to come, as a schedule each day has it, and when it begins."""
    begins = (clock(site) // 60 + minutes) * 60
    return site.on(HOST, f"date -d @{begins} +%H:%M:00"), begins


@pytest.mark.long
def test_a_schedule_s_timer_elapses_by_itself_and_makes_a_backup_and_the_drill_s_proves_one(joined: Site) -> None:
    """Both are set to a minute that is to come, by that host's clock; then nobody does anything but look."""
    wait_until(lambda: labels(joined), "the first full backup")
    before, drills = labels(joined), drilled(joined)
    (at, due), (later, _) = in_minutes(joined, 2), in_minutes(joined, 3)
    with joined.deployed_with(SETTINGS, f"backup_incr_schedule = {at!r}\nbackup_drill_schedule = {later!r}"):
        made = wait_until(lambda: [one for one in info(joined)["backup"] if one["label"] not in before], "a backup is made", 900)
        new = wait_until(lambda: [one for one in drilled(joined) if one not in drills], "a drill has come to its end", 900)
        for timer in ("pgquorum-backup-incr.timer", "pgquorum-backup-drill.timer"):
            assert joined.on(HOST, f"systemctl show -P LastTriggerUSec {timer}") not in ("", "n/a"), timer
    assert [one["type"] for one in made] == ["incr"] and made[0]["timestamp"]["start"] >= due
    (proven,) = new
    assert proven["passed"] and proven["backup"] in (before[-1], made[0]["label"]), proven
    assert "backups.failed" not in rules(joined)


@pytest.mark.long
def test_a_backup_that_was_due_while_its_host_was_off_is_made_when_that_is_back(joined: Site) -> None:
    wait_until(lambda: labels(joined), "the first full backup")
    before = labels(joined)
    at, due = in_minutes(joined, 3)
    with joined.deployed_with(SETTINGS, f"backup_incr_schedule = {at!r}"):
        assert labels(joined) == before
        joined.lab.off(HOST)
        assert clock(joined) < due, "the host was to be off by then"
        wait_until(lambda: clock(joined) > due + 60, "the minute has passed", 400)
        joined.lab.on(HOST)
        made = wait_until(lambda: [one for one in info(joined)["backup"] if one["label"] not in before], "it is made", 400)
    assert [one["type"] for one in made] == ["incr"]


def test_a_timer_that_was_stopped_is_told(joined: Site) -> None:
    joined.on(HOST, "systemctl stop pgquorum-backup-incr.timer")
    try:
        assert "backups.not-scheduled" in rules(joined)
    finally:
        joined.on(HOST, "systemctl start pgquorum-backup-incr.timer")
    assert "backups.not-scheduled" not in rules(joined)


def test_a_newest_backup_that_is_too_old_is_told(joined: Site) -> None:
    wait_until(lambda: labels(joined), "the first full backup")
    with older(joined, {labels(joined)[-1]: 31 * 3600}):
        assert "backups.too-old" in rules(joined)
        with joined.edited(SETTINGS, "backup_max_age_hours = 32"):
            assert "backups.too-old" not in rules(joined)
    assert "backups.too-old" not in rules(joined)


def test_a_backup_is_encrypted_and_nobody_else_may_read_its_password(joined: Site) -> None:
    secret = joined.vault.password("backup_cipher")
    assert info(joined)["cipher"] == "aes-256-cbc"
    assert joined.on(HOST, "stat -c '%a %U %G' /etc/pgbackrest/conf.d/cipher.conf") == "640 root pgbackrest"
    for host in (HOST, *DATABASES):
        found = joined.on(host, "grep -rlF -f - /etc /run/pgbackrest 2>/dev/null || true", stdin=secret)
        assert found == ("/etc/pgbackrest/conf.d/cipher.conf" if host == HOST else ""), host
    assert secret not in joined.on(HOST, "journalctl --no-pager --boot")
    assert joined.on(HOST, "grep -ac backup: /var/lib/pgbackrest/backup/*/backup.info || true") == "0"


def test_a_full_and_an_incremental_backup_are_made_and_listed(joined: Site) -> None:
    for kind in ("full", "incr"):
        joined.psql(joined.leader(), "insert into kept select 0 from generate_series(1, 20000)")
        code, out, err = invoke(joined, "backup", "--type", kind)
        assert code == 0, out + err
    made = info(joined)["backup"][-2:]
    assert [backup["type"] for backup in made] == ["full", "incr"]
    assert made[1]["prior"] == made[0]["label"]
    code, out, _ = invoke(joined, "backup.list", "--json")
    document = json.loads(out)
    assert code == 0 and document["format"] == "pgquorum backups 1"
    assert [row["label"] for row in document["backups"]] == labels(joined)
    assert document["archive"]["last"] == archived(joined)
    now = float(joined.on(HOST, "date +%s.%N"))
    for row, backup in zip(document["backups"], info(joined)["backup"], strict=True):
        assert (row["wal_first"], row["wal_last"]) == (backup["archive"]["start"], backup["archive"]["stop"])
        assert (row["size"], row["stored"]) == (backup["info"]["size"], backup["info"]["repository"]["delta"])
        assert datetime.fromisoformat(row["ended"]).timestamp() == backup["timestamp"]["stop"]
        assert 0 <= now - backup["timestamp"]["stop"] - row["age"] < 60, "it was asked a moment ago"
    # From a replica: whoever takes writes was asked for nothing but where the backup begins and ends.
    journal = joined.on(HOST, "journalctl --no-pager --unit 'pgquorum-backup@full.service'")
    assert "wait for replay on the standby to reach" in journal


def test_backups_are_compressed_bundled_and_incremental_by_blocks(joined: Site) -> None:
    """As pgBackRest has noted of the last incremental one, and as files lie there."""
    label = next(backup["label"] for backup in reversed(info(joined)["backup"]) if backup["type"] == "incr")
    noted = manifest(joined, label)
    assert noted["backup:option"]["option-compress-type"] == "zst"
    assert noted["backup"]["backup-bundle"] is True and noted["backup"]["backup-block-incr"] is True
    files = noted["target:file"].values()
    assert any("bni" in about for about in files), "a file in a bundle"
    assert any("bim" in about and "reference" not in about for about in files), "a file of which changed blocks are there"
    segments = [path for path in in_repository(joined, f"archive/{SPEC.name}") if re.search(r"/[0-9A-F]{24}-", path)]
    assert segments and all(path.endswith(".zst") for path in segments)


def test_two_backups_are_never_made_at_once(joined: Site) -> None:
    before = labels(joined)
    joined.on(HOST, "systemctl start --no-block pgquorum-backup@full pgquorum-backup@incr")
    wait_until(lambda: len(labels(joined)) == len(before) + 2, "one is made after the other")
    times = [(b["timestamp"]["start"], b["timestamp"]["stop"]) for b in info(joined)["backup"][-2:]]
    assert times[0][1] <= times[1][0]
    assert joined.on(HOST, "systemctl is-failed 'pgquorum-backup@*' || true") == "" or "backups.failed" not in rules(joined)


@pytest.mark.parametrize(("suite", "taken"), TLS_1_2.items())
def test_pgbackrest_takes_only_suites_that_authenticate(joined: Site, suite: str, taken: bool) -> None:
    tls = "/etc/pgbackrest/tls"
    dialled = f"openssl s_client -connect {IN_URL[HOST]}:8432 -tls1_2 -cipher {suite}:@SECLEVEL=0"
    pair = f"-cert {tls}/server.crt -key {tls}/server.key -CAfile {tls}/ca.crt"
    said = joined.on(DATABASES[0], f"{dialled} {pair} </dev/null 2>/dev/null || true")
    assert re.search(rf"Cipher +: {suite if taken else '0000'}", said), said


def asked(user: str, host: str, shown: str) -> str:
    """What a user's pgBackRest asks the one on a host, with a certificate and a key in files that are called so but for their
    endings."""
    ca = "/etc/pgbackrest/tls/ca.crt"
    pair = f"--repo1-host-cert-file={shown}.crt --repo1-host-key-file={shown}.key"
    there = f"--repo1-host={ADDRESS[host]} --repo1-host-type=tls --repo1-host-port=8432 --repo1-host-ca-file={ca} {pair}"
    own = "--config=/dev/null --log-level-file=off --log-level-console=off --log-level-stderr=error"
    return f"runuser -u {user} -- pgbackrest {own} --stanza={SPEC.name} {there} repo-ls"


@pytest.mark.parametrize("host", [HOST, DATABASES[1]], ids=["the keeper", "a database host"])
@pytest.mark.parametrize("who", ["without a certificate", "of another authority", "with another name"])
def test_a_stranger_is_told_nothing_by_pgbackrest_but_its_version(joined: Site, who: str, host: str) -> None:
    """He comes from a host from which the packet filter lets him through, and shows what none of the hosts shows that pgBackRest
    talks to."""
    comes, user = (DATABASES[0], "postgres") if host == HOST else (HOST, "pgbackrest")
    name, authority, place = comes, make_authority("somebody's own"), "/run/stranger"
    if who == "with another name":
        name, authority = PROXY, joined.vault.authorities["backup"]
    pair = make_certificate(Wanted(name, (name,), 1), authority)
    shown = "" if who == "without a certificate" else f"{place}/own"
    dialled = f"timeout 30 openssl s_client -quiet -connect {IN_URL[host]}:8432"
    dialled += f" -cert {shown}.crt -key {shown}.key" if shown else ""
    try:
        joined.on(comes, f"install -d -o {user} -m 700 {place}")
        for suffix, content in (("crt", pair.certificate), ("key", pair.key)):
            joined.on(comes, f"install -o {user} -m 600 /dev/stdin {place}/own.{suffix}", stdin=content.decode())
        # A line that no pgBackRest says ends the connection; of the answer to it only what can be read is wanted.
        heard = joined.on(comes, f"echo nothing | {dialled} 2>/dev/null | tr -cd '\\n -~'")
        # pgBackRest itself does not go without one.
        tried = joined.eyes(comes).run(asked(user, host, shown)) if shown else None
    finally:
        joined.on(comes, f"rm -rf {place}")
    greeting = {"name": "pgBackRest", "service": "remote", "version": joined.on(HOST, "pgbackrest version").split()[-1]}
    assert heard == "" if who == "of another authority" else json.loads(heard.splitlines()[0]) == greeting, heard
    assert not [name for name in (SPEC.name, "/var/lib", *DATABASES, HOST) if name in heard], heard
    if tried:
        refusal = "access denied" if who == "with another name" else "unknown ca"
        assert tried.rc != 0 and tried.stdout == "" and refusal in tried.stderr, tried
    if host == HOST:  # whoever may is told by the same command
        assert "backup" in joined.on(comes, asked(user, host, "/etc/pgbackrest/tls/server")).split()


def test_archiving_goes_on_after_a_switchover(joined: Site) -> None:
    old = joined.leader()
    switch_over(joined)
    assert joined.leader() != old
    name = written(joined)
    wait_until(lambda: archived(joined) >= name, "what the new primary has written is archived")
    assert invoke(joined, "backup.check")[0] == 0
    assert rules(joined) & {"archive.failing", "archive.lagging"} == set()


@pytest.fixture
def cut_off(joined: Site) -> Iterator[Site]:
    """The cluster, none of whose hosts reaches the one that keeps the backups."""
    joined.on(HOST, "systemctl stop pgbackrest")
    try:
        yield joined
    finally:
        joined.on(HOST, "systemctl start pgbackrest")


def test_writes_go_on_while_archiving_fails_and_it_is_told_until_it_works_again(joined: Site, cut_off: Site) -> None:
    name = written(joined)
    with joined.connect(5000) as connection:
        connection.execute("select 1")
    wait_until(lambda: told(joined, "archive.failing", "backups.not-serving"), "that archiving fails is told")
    assert invoke(joined, "backup.check")[0] == 1
    joined.on(HOST, "systemctl start pgbackrest")
    written(joined)  # PostgreSQL tries again at once when a file is ended, and each minute
    wait_until(lambda: archived(joined) >= name, "what was written meanwhile is archived")
    wait_until(lambda: "archive.failing" not in rules(joined), "and nothing is told of it any more")


def test_a_row_is_there_again_after_a_plain_restore(joined: Site) -> None:
    """By pgBackRest and PostgreSQL alone, on a replica's host, beside its data."""
    joined.psql(joined.leader(), "insert into kept values (4711)")
    assert invoke(joined, "backup")[0] == 0
    joined.psql(joined.leader(), "insert into kept values (4712)")
    name = written(joined)
    wait_until(lambda: archived(joined) >= name, "the last row is archived")
    query = "select n from kept where n > 4000 order by n"
    assert recovered(joined, joined.replicas()[0], query).split() == ["4711", "4712"]


@pytest.mark.parametrize("repository", ["there", pytest.param("away", marks=pytest.mark.long)])
def test_a_replica_that_is_made_anew_comes_from_the_repository_where_that_is_there(joined: Site, repository: str) -> None:
    victim, leader = joined.replicas()[0], joined.leader()
    joined.psql(leader, "delete from kept where n = 4713; insert into kept values (4713)")
    since = f"--since=@{joined.on(victim, 'date +%s')}"
    if repository == "away":
        joined.on(HOST, "systemctl stop pgbackrest")
    try:
        code, out, err = invoke(joined, "reinit", victim, "--yes", seconds=900)
        assert code == 0, out + err
    finally:
        joined.on(HOST, "systemctl start pgbackrest")
    said = joined.on(victim, f"journalctl --no-pager -u patroni -o cat {since}")
    method = {"there": "repository", "away": "basebackup"}[repository]
    assert f"replica has been created using {method}" in said, said[-3000:]
    assert ("a replica was made from backup" in said) == (repository == "there")
    copied = joined.on(
        leader, f"journalctl --no-pager -u patroni -o cat {since} | grep -c application_name=pg_basebackup || true"
    )
    assert (copied == "0") == (repository == "there")
    rows = "select n from kept where n = 4713"
    wait_until(lambda: joined.psql(victim, rows) == "4713", "it has what was written since the backup")


@pytest.mark.long
def test_a_host_that_is_replaced_gets_its_data_from_the_repository_and_not_from_the_primary(joined: Site) -> None:
    """A blank host with the same name. PostgreSQL itself keeps what its data began from; a base backup has a manifest, too."""
    victim, leader = joined.replicas()[0], joined.leader()
    joined.psql(leader, "delete from kept where n = 4714; insert into kept values (4714)")
    since = f"--since=@{joined.on(leader, 'date +%s')}"
    joined.replace_with_blank(victim)
    joined.deployed()
    wait_until(joined.healthy, "the cluster is whole")
    begun = joined.on(victim, f"grep ^LABEL: {DATA}/backup_label.old; ls {DATA}/backup_manifest 2>/dev/null || true")
    assert begun.startswith("LABEL: pgBackRest backup") and "manifest" not in begun, begun
    said = joined.on(victim, "journalctl --no-pager -u patroni -o cat")
    assert "replica has been created using repository" in said, said[-3000:]
    copied = f"journalctl --no-pager -u patroni -o cat {since} | grep -c application_name=pg_basebackup || true"
    assert {joined.on(host, copied) for host in DATABASES} == {"0"}
    assert joined.leader() == leader and joined.psql(victim, "select n from kept where n = 4714") == "4714"
    assert joined.changes() == 0


def test_a_backup_that_fails_is_told_until_one_is_made(joined: Site) -> None:
    joined.on(HOST, "mv /etc/pgbackrest/conf.d/cipher.conf /root/")
    try:
        code, out, _ = invoke(joined, "backup", "--type", "diff")
        assert code == 1 and "has failed" in out
    finally:
        joined.on(HOST, "mv /root/cipher.conf /etc/pgbackrest/conf.d/")
    assert "backups.failed" in rules(joined)
    joined.on(HOST, "systemctl reset-failed 'pgquorum-backup@*'")  # as a reboot does
    assert "backups.failed" in rules(joined)
    assert invoke(joined, "backup", "--type", "diff")[0] == 0
    assert "backups.failed" not in rules(joined)


@pytest.mark.long
def test_a_backup_that_a_power_cut_has_ended_is_told_until_one_is_made(joined: Site) -> None:
    unit = "pgquorum-backup@full"
    begun = "until [ -e /var/lib/pgquorum-backup/full ]; do sleep 0.01; done"
    joined.on(HOST, f"systemctl start --no-block {unit}; {begun}; systemctl kill --signal=STOP {unit}")
    assert joined.on(HOST, f"systemctl show -P ActiveState {unit}") == "activating"
    joined.lab.off(HOST)
    joined.lab.on(HOST)
    wait_until(lambda: joined.on(HOST, "systemctl is-active pgbackrest"), "the host is back")
    assert "backups.failed" in rules(joined)
    # The primary has a session of the one that was ended, until it finds nobody at the other end of it.
    wait_until(lambda: invoke(joined, "backup", "--type", "full")[0] == 0, "another one is made")
    assert "backups.failed" not in rules(joined)


@pytest.mark.long
def test_so_many_full_backups_are_kept_as_the_settings_say_and_the_archive_from_the_oldest_on(joined: Site) -> None:
    with joined.deployed_with(SETTINGS, "backup_keep_full = 2"):
        made = []
        for _ in range(3):
            code, out, err = invoke(joined, "backup", "--type", "full")
            assert code == 0, out + err
            made.append(labels(joined)[-1])
        kept_since(joined, made[1:])


@pytest.mark.long
def test_what_it_takes_to_go_back_for_so_many_days_is_kept_where_the_settings_say_days(joined: Site) -> None:
    """Three full backups, as if the first two had been made three and two days ago. To go back for one day takes the second."""
    with joined.deployed_with(SETTINGS, "backup_keep_days = 1"):
        for _ in range(3 - sum(backup["type"] == "full" for backup in info(joined)["backup"])):
            assert invoke(joined, "backup", "--type", "full")[0] == 0
        assert invoke(joined, "backup", "--type", "full")[0] == 0
        *first, second, last = (backup["label"] for backup in info(joined)["backup"] if backup["type"] == "full")
        with older(joined, dict.fromkeys(first, 3 * DAY) | {second: 2 * DAY}):
            as_keeper(joined, "expire")
            kept_since(joined, [second, last])


def kept_since(site: Site, fulls: list[str]) -> None:
    """These full backups are all there are, with what builds on them, and the archive begins where the first of them does."""
    there = info(site)
    assert [backup["label"] for backup in there["backup"] if backup["type"] == "full"] == fulls
    assert {backup["label"].partition("_")[0] for backup in there["backup"]} == {*fulls}
    begins = next(backup["archive"]["start"] for backup in there["backup"])
    assert there["archive"][-1]["min"] == begins
    segments = {path.rpartition("/")[2][:24] for path in in_repository(site, f"archive/{SPEC.name}")}
    assert min(name for name in segments if re.fullmatch("[0-9A-F]{24}", name)) == begins
