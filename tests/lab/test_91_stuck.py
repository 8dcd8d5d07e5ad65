"""While write-ahead log can't be archived: who comes back, what is told, what is given up where that was chosen; the faults."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from commands import invoke, status
from helpers import Site
from hosts import DATABASES, wait_until
from keeping import HOST, ONLY_WITH_BACKUPS, archived, labels, rules, written
from proving import as_promised, run
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
    # One file after the other, by their names alone.
    new = sorted({name[8:24] for name in set(in_the_archive(joined).split()) - before if re.match(r"[0-9A-F]{24}-", name)})
    numbers = [int(name[:8], 16) * 256 + int(name[8:], 16) for name in new]
    assert len(numbers) >= 2 and numbers == list(range(numbers[0], numbers[-1] + 1))


@pytest.mark.long
def test_after_that_the_backup_leads_to_all_that_the_cluster_has(joined: Site) -> None:
    code, out, err = invoke(joined, "backup.drill", seconds=900)
    assert code == 0, out + err


@pytest.mark.long
def test_a_new_repository_in_place_of_one_that_is_lost_begins_with_a_deploy_and_a_backup(joined: Site) -> None:
    """As the runbook has it."""
    before = labels(joined)
    joined.replace_with_blank(HOST)
    written(joined)
    joined.deployed()
    wait_until(lambda: labels(joined) and not set(labels(joined)) & set(before), "the first backup of the new one", seconds=300)
    assert invoke(joined, "backup.check")[0] == 0
    wait_until(
        lambda: not {rule for rule in rules(joined) if rule.startswith(("backups", "archive")) and "." in rule}, "all is well"
    )
    assert joined.changes() == 0
