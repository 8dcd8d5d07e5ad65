"""While write-ahead log can't be archived: who comes back, what is told, what is given up where that was chosen; the faults."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from clients import Writers
from commands import invoke, status
from helpers import INVENTORY, Site
from hosts import DATA, DATABASES, wait_until
from keeping import HOST, ONLY_WITH_BACKUPS, archived, info, labels, recovered, rules, told, written
from proving import as_promised, run
from repository import ROOT
from test_78_proof import traces

pytestmark = [pytest.mark.usefixtures("healed", "backed_up"), ONLY_WITH_BACKUPS]
MANY = 33
DROPS = 'backup_when_stuck = "drop"\nbackup_drop_above = "64MB"'


@pytest.fixture
def backed_up(joined: Site) -> None:
    """There is a backup, whatever the deploy's own has come to."""
    if not labels(joined):
        code, out, err = invoke(joined, "backup")
        assert code == 0, out + err


@contextmanager
def silent(site: Site) -> Iterator[None]:
    """The host that keeps the backups answers nobody."""
    site.lab.cut(HOST)
    try:
        yield
    finally:
        site.lab.heal(HOST)


@contextmanager
def refusing(site: Site) -> Iterator[None]:
    """pgBackRest does not run there."""
    site.on(HOST, "systemctl stop pgbackrest")
    try:
        yield
    finally:
        site.on(HOST, "systemctl start pgbackrest")


def end_files(site: Site, count: int) -> list[str]:
    """Has the primary end so many files of its write-ahead log, each with something in it. Their names."""
    names = []
    for n in range(count):
        site.psql(site.leader(), f"insert into kept values ({n})")
        names.append(written(site))
    return names


def in_the_archive(site: Site) -> str:
    return site.on(HOST, "find /var/lib/pgbackrest/archive -type f -printf '%f\\n'")


def all_archived(site: Site) -> bool:
    last = written(site)
    return wait_until(lambda: archived(site) >= last, "all that waits is archived", seconds=300)


def tried(site: Site, host: str, since: str) -> int:
    """How often Patroni has called archive_command on a host."""
    return int(site.on(host, f"journalctl -u patroni --since @{since} --no-pager | grep -c 'Trying to archive' || true"))


@pytest.mark.long
def test_a_former_primary_is_back_soon_although_files_wait_there_and_the_repository_is_silent(joined: Site) -> None:
    """Each try would take ten seconds, which is more for all of them than anybody waits here."""
    lost = joined.leader()
    with silent(joined):
        end_files(joined, MANY)
        since = joined.on(lost, "date +%s")
        joined.lab.off(lost)
        wait_until(lambda: joined.leader() != lost, "another one leads")
        joined.lab.on(lost)
        wait_until(lambda: joined.states()[lost] == "streaming", "the former primary is back, as a replica")
        assert tried(joined, lost, since) >= MANY, "it was to find them waiting"
        assert joined.psql(lost, "select count(*) from kept") == joined.psql(joined.leader(), "select count(*) from kept")
    assert all_archived(joined)
    wait_until(lambda: not rules(joined) & {"archive.failing", "archive.hole"}, "nothing is missing")


@pytest.mark.long
def test_a_server_that_hangs_is_given_up_and_used_again_when_it_goes_on(joined: Site) -> None:
    """It takes connections, and no more: pgBackRest waits three times for its first word."""
    joined.on(HOST, "systemctl kill -s STOP pgbackrest")
    try:
        end_files(joined, 2)
        wait_until(lambda: "archive.failing" in rules(joined), "that archiving fails is told", seconds=600)
    finally:
        joined.on(HOST, "systemctl kill -s CONT pgbackrest")
    assert all_archived(joined)


@pytest.mark.long
def test_what_was_given_up_is_told_and_nothing_goes_back_there_until_a_backup_is_made(joined: Site) -> None:
    assert invoke(joined, "backup")[0] == 0
    with joined.deployed_with("group_data/backup.py", DROPS):
        end_files(joined, 1)
        assert all_archived(joined)
        with refusing(joined):
            names = end_files(joined, 9)
            wait_until(lambda: "archive.dropping" in rules(joined), "that it is given up is told")
            dropped = "journalctl -u patroni --no-pager | grep -c 'dropped WAL file' || true"
            wait_until(lambda: int(joined.on(joined.leader(), dropped)) > 0, "pgBackRest gives the oldest up")
        assert all_archived(joined)
        there = in_the_archive(joined)
        missing = [name for name in names if name not in there]
        assert missing and missing[0] == names[0] and names[-1] in there
        (hole,) = [one for one in status(joined)["findings"] if one["rule"] == "archive.hole"]
        assert hole["text"].startswith(missing[0]) and missing[-1] in hole["text"]
        code, _, err = invoke(joined, "restore", "--to", "latest", "--dry")
        assert code == 2 and f"{missing[0]}" in err and "is missing in the archive" in err
        assert invoke(joined, "backup")[0] == 0
        assert "archive.hole" not in rules(joined)
        code, out, err = invoke(joined, "restore", "--to", "latest", "--dry")
        assert code == 0, out + err
    wait_until(lambda: not rules(joined) & {"archive.failing", "archive.dropping"}, "all is well")


# So much is left on the disk with the write-ahead log, in bytes. It has to be a disk of its own: the machine's is under all labs.
ROOM = 400 * 1024**2
FILL = f"""set -e; mount=$(df --output=target {DATA}/pg_wal/ | tail -n 1); [ $mount != / ]; file=$mount/pgquorum-test.fill
fallocate --length $(($(df --block-size=1 --output=avail $mount | tail -n 1) - {ROOM})) $file"""
EMPTY = "rm -f $(awk '{ print $2 \"/pgquorum-test.fill\" }' /proc/mounts)"
FULL = "journalctl -u patroni --no-pager -o cat --since @{since} | grep -c 'No space left on device' || true"
LOG = "select count(pg_logical_emit_message(false, 'test', repeat('x', 8000))) from generate_series(1, 2000)"


@contextmanager
def small_disks(site: Site) -> Iterator[None]:
    """Every server has little room for write-ahead log, and needs less between two checkpoints."""
    with site.deployed_with("group_data/postgres.py", "postgres_parameters['max_wal_size'] = '128MB'"):
        site.on_all(FILL, DATABASES)
        try:
            yield
        finally:
            site.on_all(EMPTY, DATABASES)


def in_a_row(site: Site, before: set[str]) -> bool:
    """Whether the archive has one file of the log after the other, by their names alone, since it had what was there `before`."""
    new = sorted({name[8:24] for name in {*in_the_archive(site).split()} - before if re.match(r"[0-9A-F]{24}-", name)})
    numbers = [int(name[:8], 16) * 256 + int(name[8:], 16) for name in new]
    return len(numbers) >= 2 and numbers == list(range(numbers[0], numbers[-1] + 1))


@pytest.mark.long
def test_where_all_is_kept_the_disk_runs_full_and_neither_a_row_nor_a_file_of_the_archive_is_lost_by_it(joined: Site) -> None:
    """By the word of clients that write across all of it. Once the repository is back and the disks have room nobody does
    anything."""
    assert invoke(joined, "backup")[0] == 0 and all_archived(joined)
    before = {*in_the_archive(joined).split()}
    since = joined.on(DATABASES[0], "date +%s")
    with small_disks(joined), Writers(joined) as writers:
        with refusing(joined):
            pour(joined)
            with joined.edited("group_data/backup.py", "backup_max_archive_lag = 60"):
                wait_until(lambda: told(joined, "archive.failing", "archive.fills-disk"), "that the disk will be full is told")

            def full() -> bool:
                for _ in range(4):
                    pour(joined)
                so_far = len(writers.acknowledged)
                time.sleep(15)
                return len(writers.acknowledged) == so_far

            wait_until(full, "nobody can write any more", seconds=900)
            said = joined.on_all(FULL.format(since=since), DATABASES)
            assert any(int(count) for count in said.values()), said
        joined.on_all(EMPTY, DATABASES)
        wait_until(joined.healthy, "the cluster is whole", seconds=600)
        so_far = len(writers.acknowledged)
        wait_until(lambda: len(writers.acknowledged) > so_far + 100, "writes go on")
    assert writers.lost() == set()
    assert all_archived(joined) and in_a_row(joined, before)
    wait_until(lambda: not rules(joined) & {"archive.hole", "archive.failing", "archive.fills-disk"}, "nothing is missing")
    count, last = "select count(*) from written", written(joined)
    wait_until(lambda: archived(joined) >= last, "the last row is archived")
    there = recovered(joined, joined.replicas()[0], count, database="app", timeline=str(int(last[:8], 16)))
    assert there == joined.psql(joined.leader(), count, "app") and int(there) >= len(writers.acknowledged)


def pour(site: Site) -> None:
    """Has whoever leads write some log, if anybody does, and can."""
    with suppress(AssertionError, subprocess.TimeoutExpired):
        site.psql(site.leader(), LOG)


FAULTS = (
    pytest.param("repository-off", marks=pytest.mark.long),
    pytest.param("repository-full", marks=pytest.mark.long),
    pytest.param("archive-hangs", marks=pytest.mark.long),
    pytest.param("host-lost-for-good", marks=pytest.mark.long),
)


@pytest.mark.parametrize("fault", FAULTS)
def test_what_was_acknowledged_is_archived_whatever_happens_to_the_repository(joined: Site, fault: str) -> None:
    before = set(in_the_archive(joined).split())
    (trial,) = run(joined, "--fault", fault)["trials"]
    as_promised(trial)
    assert trial["aftermath"] == []
    assert traces(joined) == ""
    assert joined.on(HOST, "grep pgquorum-fault /proc/mounts; nft list tables | grep fault; true") == ""
    failed = joined.on_all(
        "journalctl -u patroni --no-pager --since '-10min' | grep -c 'archive command failed' || true", DATABASES
    )
    assert sum(map(int, failed.values())) > 0, "archiving was to fail meanwhile"
    assert in_a_row(joined, before)


@pytest.mark.long
def test_after_that_the_backup_leads_to_all_that_the_cluster_has(joined: Site) -> None:
    code, out, err = invoke(joined, "backup.drill", seconds=900)
    assert code == 0, out + err


def page(title: str) -> list[list[str]]:
    """The commands of a page of the runbook, each as its words."""
    text = (ROOT / "docs/runbook.md").read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = (line.partition("#")[0].split() for line in text.splitlines() if line.startswith("    "))
    return [words for words in lines if words]


@pytest.mark.long
def test_a_new_repository_in_place_of_one_that_is_lost_is_had_by_the_page_of_the_runbook(joined: Site) -> None:
    """Its commands are taken from there, one after the other; and what it says of the time before and after is so."""
    before = labels(joined)
    joined.psql(joined.leader(), "insert into kept values (4715)")
    assert invoke(joined, "backup.mark", "before_it_was_lost")[0] == 0
    try:
        walk_through(joined, before)
    finally:
        invoke(joined, "backup.mark", "before_it_was_lost", "--remove")


def walk_through(site: Site, before: list[str]) -> None:
    site.lab.off(HOST)
    with Writers(site) as writers:
        name = written(site)
        code, _, err = invoke(site, "restore", "--to", "latest", "--dry")
        assert code == 2 and f"{HOST} does not answer" in err, err
        site.replace_with_blank(HOST)
        deploy, listing, drill = page("The repository is lost")
        assert deploy[0] == "pyinfra" and deploy[2:] == ["deploy.py"]
        site.deployed()

        def listed() -> list[str]:
            code, out, err = invoke(site, *listing[1:])
            assert code == 0, out + err
            return [label for label in labels(site) if label in out]

        made = wait_until(listed, "the full backup that the deploy has begun", seconds=300)
        assert not {*made} & {*before} and info(site)["backup"][0]["type"] == "full"
        so_far = len(writers.acknowledged)
        wait_until(lambda: len(writers.acknowledged) > so_far + 100, "writes go on")
    assert writers.lost() == set()
    code, out, err = invoke(site, *drill[1:], seconds=900)
    assert code == 0 and made[-1] in out, out + err
    assert invoke(site, "backup.check")[0] == 0
    wait_until(lambda: archived(site) >= name, "what has waited is archived there")
    wait_until(
        lambda: not {rule for rule in rules(site) if rule.startswith(("backups", "archive")) and "." in rule}, "all is well"
    )
    code, _, err = invoke(site, "restore", "--to", "before_it_was_lost", "--dry")
    assert code == 2 and "no backup leads to" in err, err
    query = "select count(*) from kept where n = 4715"
    timeline = str(int(written(site)[:8], 16))
    assert recovered(site, site.replicas()[0], query, timeline=timeline) == "1"
    assert site.changes() == 0


@pytest.mark.long
def test_a_host_of_another_name_keeps_the_backups_once_the_one_that_is_lost_has_left(joined: Site) -> None:
    """And then the other way round, with one that answers."""
    for leaves, comes in ((HOST, "pg-vault"), ("pg-vault", HOST)):
        before = labels(joined)
        if leaves == HOST:
            joined.lab.off(HOST)
        code, out, err = invoke(joined, "host.remove", leaves, "--yes")
        assert code == 0 and f"{leaves} is out." in out, out + err
        joined.replace_with_blank(HOST)  # the inventory is written anew by that
        inventory = joined.folder / INVENTORY
        inventory.write_text(inventory.read_text().replace(f"('{HOST}', ", f"('{comes}', "))
        joined.deployed()
        made = wait_until(lambda: labels(joined), "the first backup of the new one", seconds=300)
        assert not {*made} & {*before}
        code, out, err = invoke(joined, "backup.check")
        assert code == 0, out + err
        assert joined.changes() == 0
