"""A restore of the cluster itself: a table that was dropped is there again on all hosts, and so is what was before a restore."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from commands import finish, invoke, start, status
from helpers import Site, refused
from hosts import DATA, DATABASES, SPEC, wait_until
from keeping import HOST, LOCAL, ONLY_WITH_BACKUPS, as_keeper, drilled, info, rules, write_settings, written
from object_store import stored
from proving import switch_over

pytestmark = ONLY_WITH_BACKUPS
PATIENT = 900
DRILL = "pgquorum-backup-drill.service"


def fulls(site: Site) -> list[str]:
    return [backup["label"] for backup in info(site)["backup"] if backup["type"] == "full"]


def now(site: Site) -> str:
    """The primary's time, between what was committed before and what will be after."""
    time.sleep(1)
    said = site.psql(site.leader(), "select clock_timestamp() at time zone 'UTC'")
    time.sleep(1)
    return f"{datetime.fromisoformat(said).replace(tzinfo=UTC).isoformat()}"


def rows(site: Site, host: str | None = None) -> list[int]:
    """What table `orders` has, by the word of one host's own PostgreSQL."""
    return [int(row) for row in site.psql(host or site.leader(), "select n from orders order by n").split()]


def timeline(site: Site) -> int:
    return int(site.psql(site.leader(), "select timeline_id from pg_control_checkpoint()"))


def restored(site: Site, *words: str, then: str = "") -> str:
    """A restore that must succeed, and what it said. After it the cluster is whole by others' words. `then`: a command for the
    host that keeps the backups, right after it."""
    before = fulls(site)
    code, out, err = invoke(site, "restore", *words, "--yes", seconds=PATIENT)
    assert code == 0, out + err
    if then:
        site.on(HOST, then)
    site.healthy()
    assert sorted(site.states().values()) == ["leader", *["streaming"] * (len(DATABASES) - 1)]
    with site.connect(5000) as connection:
        connection.execute("select 1")
    wait_until(lambda: set(fulls(site)) - set(before), "a new full backup")
    return out


def forget_old_data(site: Site) -> None:
    site.on_all(f"rm -rf {DATA}.before-* /var/lib/pgquorum-wal/pgquorum/pg_wal.before-*", DATABASES)


@pytest.fixture(scope="module")
def joined(site: Site) -> Iterator[Site]:
    """The cluster with its host for backups, a full backup and a table, with moments between its rows."""
    if not site.keeps_backups:
        site.lab.up()
    site.deployed()
    wait_until(lambda: fulls(site), "the first full backup")
    site.psql(site.leader(), "drop table if exists orders; create table orders (n int); insert into orders values (1)")
    yield site
    forget_old_data(site)


@pytest.fixture(scope="module")
def moments(joined: Site) -> dict[str, str]:
    """When there was one row, and when there were two. Both lie on a timeline that another one goes on from."""
    found = {"one": now(joined)}
    joined.psql(joined.leader(), "insert into orders values (2)")
    assert invoke(joined, "backup.mark", "two_rows")[0] == 0
    found["two"] = now(joined)
    joined.psql(joined.leader(), "drop table orders")
    assert invoke(joined, "backup")[0] == 0  # of what a restore to those moments leaves
    switch_over(joined)
    return found


def test_what_can_not_be_is_refused_and_nothing_is_touched(moments: dict[str, str], joined: Site) -> None:
    before = joined.postmasters()
    for to, why in (
        ("2001-01-01 00:00:00+00:00", "no backup leads to"),
        ("2099-01-01 00:00:00+00:00", "lies in the future"),
        (moments["two"].partition("+")[0], "has no zone"),
        ("FFFF/0", "is after the last of the write-ahead log"),
        ("three_rows", "no mark is called so (there are two_rows)"),
    ):
        code, _, err = invoke(joined, "restore", "--to", to, "--yes")
        assert code == 2 and why in err, err
    joined.lab.off(DATABASES[2])
    try:
        code, _, err = invoke(joined, "restore", "--to", moments["two"], "--yes")
        assert code == 2 and f"{DATABASES[2]} does not answer" in err, err
    finally:
        joined.lab.on(DATABASES[2])
        joined.heal()
    del before[DATABASES[2]]
    after = joined.postmasters()
    assert {host: after[host] for host in before} == before


def test_dry_prints_the_plan_and_does_nothing(moments: dict[str, str], joined: Site) -> None:
    before = joined.postmasters()
    made = joined.reserve(joined.leader(), f"{joined.cluster.postgres.data_directory}/pg_wal")
    try:
        code, out, err = invoke(joined, "restore", "--to", moments["two"], "--dry")
    finally:
        joined.on(joined.leader(), " ".join(["rm -f", *made]))
    assert code == 0, err
    assert "What was written since is lost:" in out and "begin a full backup" in out
    assert re.search(r"[1-9]\d* transactions?\b", out), out
    assert joined.postmasters() == before


def test_a_table_that_was_dropped_is_there_again(moments: dict[str, str], joined: Site) -> None:
    before, drills = timeline(joined), len(drilled(joined))
    left = info(joined)["backup"][-1]["label"]
    out = restored(joined, "--to", moments["two"], then=f"systemctl start --no-block {DRILL}")
    assert " transaction" in out
    assert timeline(joined) > before
    for host in DATABASES:
        wait_until(lambda host=host: rows(joined, host) == [1, 2], f"{host} has the rows")
    assert invoke(joined, "verify")[0] == 0
    assert joined.changes() == 0
    for host in DATABASES:
        assert joined.on(host, f"ls -d {DATA}.before-*/PG_VERSION | wc -l") == "1"
        assert joined.on(host, "ls /etc/systemd/system/patroni.service.d 2>/dev/null | wc -l") == "0"
    # What is archived now is the new timeline's, and by whoever leads.
    assert invoke(joined, "backup.check")[0] == 0
    assert int(info(joined)["archive"][-1]["max"][:8], 16) == timeline(joined)
    # The timer's drill, which has come while the newest backup was one of the course that was left, or a moment later.
    (proven,) = wait_until(lambda: drilled(joined)[drills:], "the drill has come to its end", seconds=PATIENT)
    assert proven["passed"], proven["failures"]
    assert proven["backup"] != left and int(proven["timeline"]) == timeline(joined)


@pytest.mark.long
def test_a_second_restore_goes_to_before_what_the_first_one_went_to(moments: dict[str, str], joined: Site) -> None:
    joined.psql(joined.leader(), "insert into orders values (3)")
    forget_old_data(joined)
    restored(joined, "--to", moments["one"])
    assert rows(joined) == [1]


@pytest.mark.long
def test_a_moment_behind_the_last_transaction_of_a_course_that_was_left_is_refused_before_anything_is_touched(
    moments: dict[str, str], joined: Site
) -> None:
    """After the first restore's marker, which was written on it, nothing was."""
    before = joined.postmasters()
    left_on = timeline(joined) - 1
    code, _, err = invoke(joined, "restore", "--to", now(joined), "--timeline", str(left_on), "--yes")
    assert code == 2 and f"the last transaction on timeline {left_on} ended at " in err, err
    assert f"`--to latest --timeline {left_on}` is all there is" in err and joined.postmasters() == before


@pytest.mark.long
def test_a_mark_is_found_on_the_timeline_that_the_restores_have_left(joined: Site) -> None:
    forget_old_data(joined)
    restored(joined, "--to", "two_rows")
    assert rows(joined) == [1, 2]


@pytest.mark.long
def test_a_position_is_gone_back_to_and_the_way_back_leads_to_all_there_was(joined: Site) -> None:
    """A transaction that was open at that position, and is committed by the very next record, is none of what was there. By the
    timeline that is named in the end it is there again, and nothing of what was written in between (the runbook's page After a
    restore)."""
    forget_old_data(joined)
    old, found = timeline(joined), "select string_agg(n::text, ' ' order by n) from positions"
    with joined.connect(5000) as app:
        app.execute("drop table if exists positions")
        app.execute("create table positions (n int)")
        app.execute("insert into positions values (1)")
        with app.transaction():
            app.execute("insert into positions values (2)")
            ((position,),) = app.execute("select pg_current_wal_insert_lsn()::text").fetchall()
    out = restored(joined, "--to", position)
    assert f"`invoke restore --to latest --timeline {old}` goes back to where it was before" in out, out
    for host in DATABASES:
        wait_until(lambda host=host: joined.psql(host, found, "app") == "1", f"{host} has the one row")  # type: ignore[misc]
    joined.psql(joined.leader(), "insert into positions values (3)", "app")
    forget_old_data(joined)
    restored(joined, "--to", "latest", "--timeline", str(old))
    for host in DATABASES:
        wait_until(lambda host=host: joined.psql(host, found, "app") == "1 2", f"{host} has both rows")  # type: ignore[misc]
    joined.psql(joined.leader(), "drop table positions", "app")
    assert invoke(joined, "verify")[0] == 0


@pytest.mark.long
def test_a_switchover_and_a_failover_go_on_after_it(joined: Site) -> None:
    """The promotion gate, and what it has noted, are of the new course."""
    joined.psql(joined.leader(), "insert into orders values (4)")
    kept = rows(joined)
    switch_over(joined)
    old = joined.leader()
    joined.lab.off(old)
    try:
        wait_until(lambda: joined.leader() != old and rows(joined) == kept, "another one leads")
    finally:
        joined.lab.on(old)
        joined.heal()


def test_one_that_is_cut_off_half_way_is_told_and_goes_on_by_the_same_command(joined: Site) -> None:
    """Ctrl-C while the backup is copied or replayed: nobody leads, nobody can start Patroni, and the same command ends it."""
    forget_old_data(joined)
    kept = rows(joined)
    process = start(joined, "restore", "--to", "latest", "--yes")
    noted = f"get --print-value-only /pgquorum/{SPEC.name}/restore"
    wait_until(lambda: json.loads(joined.etcdctl(DATABASES[0], noted, DATABASES))["done"] >= 9, "the data is aside")
    process.send_signal(signal.SIGINT)
    code, out, err = finish(joined, process, PATIENT)
    assert code == 130, out + err
    document = status(joined)
    assert "restore.unfinished" in {finding["rule"] for finding in document["findings"]}
    refused(joined.deploy("-y"), "a restore of the cluster is under way or was interrupted")
    for host in DATABASES:
        joined.on(host, "systemctl start patroni; ! systemctl is-active patroni")
    out = restored(joined, "--to", "latest")
    assert "and not finished" in out
    assert rows(joined) == kept
    assert "restore.unfinished" not in {finding["rule"] for finding in status(joined)["findings"]}


@pytest.mark.long
@pytest.mark.parametrize("lost", ["that is restored to", "whose data is to follow", "whose data is to follow, for good"])
def test_a_host_that_is_lost_in_the_middle_of_it_is_told_and_the_same_command_goes_on_when_it_is_back(
    joined: Site, lost: str
) -> None:
    """Its power is cut while the log is replayed, all other data aside by then. In place of one that was lost for good there is
    a blank one, to which a deploy may go then."""
    forget_old_data(joined)
    joined.psql(joined.leader(), "create table if not exists orders (n int); insert into orders values (10)")
    kept, led, follows = rows(joined), joined.leader(), joined.replicas()
    host = led if lost == "that is restored to" else follows[0]
    for _ in range(12):  # so that there is something to replay
        written(joined)
    unit = "systemctl show pgquorum-restore -P"
    replays = f"echo $({unit} Description) $({unit} ActiveState); ls {DATA}/recovery.signal"
    process = start(joined, "restore", "--to", "latest", "--yes")
    wait_until(lambda: joined.on(led, replays).startswith("recover active"), "the log is replayed", PATIENT)
    joined.lab.off(host)
    code, out, err = finish(joined, process, PATIENT)
    assert code == 1 and f"problem  {host}: " in out and "the same command goes on with it" in out, out + err
    # Who is there goes on as far as that leads.
    runs = "systemctl is-active patroni || true"
    if host == led:
        assert [joined.on(one, runs) for one in follows] == ["inactive", "inactive"]
    else:
        wait_until(lambda: rows(joined, follows[1]) == kept, "the other replica has the rows")
        wait_until(joined.takes_writes, "writes are taken")
        with joined.connect(5000) as app:
            app.execute("create table if not exists meanwhile (n int)")
    assert "restore.unfinished" in {finding["rule"] for finding in status(joined)["findings"]}
    code, _, err = invoke(joined, "restore", "--to", "latest", "--yes")
    assert code == 2 and f"{host} does not answer" in err and "Bring it back" in err, err
    if lost.endswith("for good"):
        joined.replace_with_blank(host)
        run = joined.deploy("-y")  # which does all there is to do, and ends with what is left
        assert run.exit_code != 0 and "the deploy stopped at 'Verify'" in run.output, run.output
        assert run.last_words.count("  - ") == 2 and "goes on with it" in run.last_words, run.output
    else:
        joined.lab.on(host)
        wait_until(lambda: joined.etcdctl(host, "endpoint health"), "its etcd is back")
        assert joined.on(host, f"systemctl start patroni; {runs}") == "inactive"
    out = restored(joined, "--to", "latest")
    assert "and not finished" in out
    for one in DATABASES:
        wait_until(lambda one=one: rows(joined, one) == kept, f"{one} has the rows")  # type: ignore[misc]
    assert "restore.unfinished" not in {finding["rule"] for finding in status(joined)["findings"]}
    with joined.connect(5000) as app:
        app.execute("drop table if exists meanwhile")


@pytest.mark.long
def test_where_the_operator_is_killed_it_goes_on_as_well(joined: Site) -> None:
    joined.psql(joined.leader(), "insert into orders values (5)")
    kept = rows(joined)
    forget_old_data(joined)
    process = start(joined, "restore", "--to", "latest", "--yes", "--discard-old-data")
    noted = f"get --print-value-only /pgquorum/{SPEC.name}/restore"
    wait_until(lambda: json.loads(joined.etcdctl(DATABASES[0], noted, DATABASES))["done"] >= 3, "it has begun")
    process.kill()
    process.communicate(timeout=60)
    restored(joined, "--to", "latest", "--discard-old-data")
    assert rows(joined) == kept
    assert joined.on_all(f"ls -d {DATA}.before-* 2>/dev/null | wc -l", DATABASES) == dict.fromkeys(DATABASES, "0")


@pytest.mark.long
def test_one_that_is_not_finished_can_be_called_off(joined: Site) -> None:
    """Also where the restored server was promoted already, so that the archive has a history of its timeline."""
    forget_old_data(joined)
    moment = now(joined)
    joined.psql(joined.leader(), "create table if not exists orders (n int); insert into orders values (7)")
    before, old, host = rows(joined), timeline(joined), joined.leader()

    def said(words: str) -> int:
        return int(joined.on(host, f"journalctl -u pgquorum-restore -o cat | grep -c '{words}' || true"))

    begun, promoted = said("starting backup recovery"), said("archive recovery complete")
    process = start(joined, "restore", "--to", moment, "--yes")
    wait_until(lambda: said("starting backup recovery") > begun, "the recovery has begun, which goes on by itself")
    process.kill()
    process.communicate(timeout=60)
    wait_until(lambda: said("archive recovery complete") > promoted, "the restored server is promoted")
    code, out, err = invoke(joined, "restore", "--cancel", "--yes", seconds=PATIENT)
    assert code == 0, out + err
    assert rows(joined) == before and joined.healthy()
    assert joined.on_all(f"ls -d {DATA}.before-* 2>/dev/null | wc -l", DATABASES) == dict.fromkeys(DATABASES, "0")
    # The old course goes on, and its files do not clash in the archive with what the restored server has left there.
    assert timeline(joined) > old
    assert invoke(joined, "backup.check")[0] == 0
    assert int(info(joined)["archive"][-1]["max"][:8], 16) == timeline(joined)


@pytest.mark.long
def test_what_no_archive_has_yet_is_handed_in_from_the_hosts_where_nobody_leads(joined: Site) -> None:
    """A new leader's timeline, and a row in a file of the log that nobody has ended: then all servers crash."""
    forget_old_data(joined)
    as_keeper(joined, "stop")
    try:
        switch_over(joined)
        joined.psql(joined.leader(), "create table if not exists orders (n int); insert into orders values (9)")
        kept, led = rows(joined), timeline(joined)
        joined.on_all("systemctl kill --signal=KILL --kill-whom=all patroni; systemctl stop patroni", DATABASES)
        assert int(info(joined)["archive"][-1]["max"][:8], 16) < led, "the archive was to know nothing of it"
    finally:
        as_keeper(joined, "start")
    code, out, err = invoke(joined, "restore", "--to", "latest", "--dry")
    assert code == 0 and f"on timeline {led}, which " in out, out + err
    restored(joined, "--to", "latest")
    assert rows(joined) == kept and timeline(joined) > led
    assert invoke(joined, "backup.check")[0] == 0


@pytest.mark.long
def test_a_cluster_whose_database_hosts_are_all_lost_comes_back_from_the_archive(joined: Site) -> None:
    """The host that keeps the backups, and the secrets directory, are all there is."""
    joined.psql(joined.leader(), "create table if not exists orders (n int); insert into orders values (6)")
    kept = rows(joined)
    written = joined.psql(joined.leader(), "select pg_walfile_name(pg_current_wal_lsn())")
    joined.psql(joined.leader(), "select pg_switch_wal()")
    wait_until(lambda: info(joined)["archive"][-1]["max"] >= written, "all that was written is archived")
    joined.replace_with_blank(*DATABASES)
    joined.deployed()
    wait_until(lambda: "archive.failing" in rules(joined), "what another cluster writes is not taken into the archive")
    code, _, err = invoke(joined, "restore", "--to", datetime.now(UTC).isoformat(), "--yes")
    assert code == 2 and "`--to latest` is all there is" in err, err
    out = restored(joined, "--to", "latest")
    assert "is another one than the archive is of" in out
    assert rows(joined) == kept
    joined.deployed()
    assert joined.changes() == 0


@pytest.mark.long
def test_a_cluster_all_of_whose_hosts_with_data_are_lost_comes_back_from_a_store(
    joined: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The store, and the secrets directory, are all there is: the host that kept backups is lost, too. The store came after a
    change of the primary, of which it is told all the same."""
    forget_old_data(joined)
    switch_over(joined)
    with stored(joined, tmp_path_factory.mktemp("store")) as store:
        write_settings(joined, local=LOCAL, s3=store.entry)
        joined.deployed()
        of_store = "--repo=2 --output=json info"
        wait_until(lambda: json.loads(as_keeper(joined, of_store))[0]["backup"], "a backup in the store", seconds=300)
        joined.psql(joined.leader(), "insert into orders values (8)")
        kept = rows(joined)
        written = joined.psql(joined.leader(), "select pg_walfile_name(pg_current_wal_lsn())")
        joined.psql(joined.leader(), "select pg_switch_wal()")
        last = lambda: json.loads(as_keeper(joined, of_store))[0]["archive"][-1]["max"]  # noqa: E731
        wait_until(lambda: last() >= written, "all that was written is in the store", seconds=300)
        joined.replace_with_blank(*DATABASES, HOST)
        # What is empty beside it is not to become the new, empty cluster's.
        refused(joined.deploy("-y"), "s3 in backup_repositories has the backups of another cluster")
        assert joined.on(HOST, "find /var/lib/pgbackrest -name '*.info'") == ""
        write_settings(joined, s3=store.entry)
        joined.deployed()
        code, out, err = invoke(joined, "restore", "--to", "latest", "--yes", "--json", seconds=PATIENT)
        assert code == 0, out + err
        document = json.loads(out)
        assert document["passed"] and not document["live"], err
        assert rows(joined) == kept and joined.healthy()
        write_settings(joined, local=LOCAL, s3=store.entry)
        joined.deployed()
        wait_until(lambda: fulls(joined), "a full backup in the directory", seconds=300)
        assert joined.changes() == 0
