"""What was acknowledged while the repository was away is archived afterwards, though the primary's host is lost for good."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from commands import invoke
from helpers import Site
from hosts import DATA, DATABASES, wait_until
from keeping import HOST, ONLY_WITH_BACKUPS, archived, as_keeper, recovered, rules, written
from proving import switch_over

pytestmark = [pytest.mark.usefixtures("healed"), ONLY_WITH_BACKUPS]


def write(site: Site, rows: range) -> list[str]:
    """A row in each of as many files of the write-ahead log. Names those that are ended: all but the last."""
    files = []
    for n in rows:
        with site.connect(5000) as app:
            app.execute("insert into acknowledged values (%s)", (n,))
        if n != rows[-1]:
            files.append(written(site))
    return files


@contextmanager
def repository_off(site: Site) -> Iterator[None]:
    """It takes nothing."""
    as_keeper(site, "stop")
    try:
        yield
    finally:
        as_keeper(site, "start")


def recycle(site: Site) -> None:
    """Every server gives up the write-ahead log that it needs no longer."""
    for _ in range(2):
        for host in (site.leader(), *site.replicas()):
            site.psql(host, "checkpoint")


def in_the_archive(site: Site) -> str:
    return site.on(HOST, "find /var/lib/pgbackrest/archive -type f -printf '%f\\n'")


def missing(site: Site, files: list[str]) -> list[str]:
    """Which of `files` are not archived, once all that the primary has is."""
    last = written(site)
    wait_until(lambda: archived(site) >= last, "all that the primary has is archived")
    there = in_the_archive(site)
    return [name for name in files if name not in there]


@pytest.fixture
def table(joined: Site) -> None:
    with joined.connect(5000) as app:
        app.execute("drop table if exists acknowledged")
        app.execute("create table acknowledged (n int primary key)")


@pytest.mark.long
@pytest.mark.usefixtures("table")
def test_a_switchover_while_the_repository_is_away_leaves_no_hole(joined: Site) -> None:
    with repository_off(joined):
        files = write(joined, range(5))
        recycle(joined)
        switch_over(joined)
    assert missing(joined, files) == []


@pytest.mark.usefixtures("table")
def test_what_a_primary_that_is_lost_for_good_could_not_archive_is_archived_by_the_one_that_takes_over(joined: Site) -> None:
    lost = joined.leader()
    with repository_off(joined):
        files = write(joined, range(10))
        assert archived(joined) < min(files), "the repository was to take nothing"
        recycle(joined)
        joined.lab.off(lost)
        wait_until(lambda: joined.leader() != lost and joined.takes_writes(), "another one takes writes")
    assert missing(joined, files) == []
    (other,) = {*DATABASES} - {joined.leader(), lost}
    timeline = str(int(written(joined)[:8], 16))
    assert recovered(joined, other, "select count(*) from acknowledged", database="app", timeline=timeline) == "10"
    joined.replace_with_blank(lost)
    joined.deployed()
    wait_until(joined.healthy, "the cluster is whole")


# Where PostgreSQL marks what is archived and what waits to be.
MARKS = f"{DATA}/pg_wal/archive_status"
# Each takes from PostgreSQL's user that it can mark anything there, or anything new, and gives it back with the marks there are.
TAKEN = {
    "not writable": (f"chown root: {MARKS}; chmod 555 {MARKS}", f"chown postgres: {MARKS}; chmod 700 {MARKS}"),
    "full": (
        f"""set -e; cd {MARKS}; names=$(ls); room=$(($(echo $names | wc -w) + 1))
        mount -t tmpfs -o nr_inodes=$room,mode=700,uid=$(id -u postgres),gid=$(id -g postgres) full {MARKS}
        cd {MARKS}; touch $names; chown postgres: $names; ! touch more""",
        f"""set -e; cd {MARKS}; names=$(ls); cd /; until umount {MARKS}; do sleep 0.1; done
        cd {MARKS}; rm -f *; touch $names; chown postgres: $names""",
    ),
}


@contextmanager
def taken(site: Site, hosts: list[str], way: str) -> Iterator[None]:
    take, give_back = TAKEN[way]
    site.on_all(take, hosts)
    try:
        yield
    finally:
        site.on_all(give_back, hosts)


@pytest.mark.long
@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("way", TAKEN)
def test_a_promotion_goes_on_where_nothing_can_be_marked_as_waiting(joined: Site, way: str) -> None:
    """On either replica. What is not archived by that is told until there is another backup."""
    lost, replicas = joined.leader(), joined.replicas()
    since = joined.on(lost, "date '+%F %T'")
    with repository_off(joined):
        files = write(joined, range(5))
        assert archived(joined) < min(files), "the repository was to take nothing"
        with taken(joined, replicas, way):
            joined.lab.off(lost)
            wait_until(lambda: joined.leader() != lost and joined.takes_writes(), "another one takes writes")
            new = joined.leader()
            with joined.connect(5000) as app:
                assert app.execute("select count(*) from acknowledged").fetchall() == [(5,)]
                app.execute("insert into acknowledged values (5)")
    said = joined.on(new, f"journalctl -u patroni --no-pager -o cat --since '{since}' | grep 'promotion gate' || true")
    assert f"{new} may be promoted" in said, said
    not_there = missing(joined, files)
    if way == "full":
        assert "files wait to be archived" in said and not_there == [], said
    else:
        assert "may be missing in the archive" in said and "Permission denied" in said, said
        assert not_there == files
        wait_until(lambda: "archive.hole" in rules(joined), "what is missing is told")
    joined.lab.on(lost)
    joined.heal()
    code, out, err = invoke(joined, "backup")
    assert code == 0, out + err
    wait_until(lambda: not rules(joined) & {"archive.hole", "archive.failing"}, "nothing is missing since")
    with joined.connect(5000) as app:
        assert app.execute("select count(*) from acknowledged").fetchall() == [(6,)]


@pytest.mark.long
@pytest.mark.usefixtures("table")
def test_what_one_that_was_made_anew_lacks_when_it_takes_over_is_archived_by_the_third(joined: Site) -> None:
    """Two failovers while the repository is away. Who leads in the end has never had the first files; who had to archive them
    first and second is lost for good."""
    first = joined.leader()
    with repository_off(joined):
        files = write(joined, range(10))
        recycle(joined)
        joined.lab.off(first)
        wait_until(lambda: joined.leader() != first and joined.takes_writes(), "another one takes writes")
        second = joined.leader()
        (third,) = {*DATABASES} - {first, second}
        joined.replace_with_blank(first)
        joined.deployed()
        wait_until(joined.healthy, "the cluster is whole")
        files += write(joined, range(10, 15))
        recycle(joined)
        log = joined.on(first, "ls /var/lib/postgresql/*/pgquorum/pg_wal")
        assert files[0][8:] not in log and files[-1][8:] in log, "it was to lack the first of them"
        invoke(joined, "switchover", "--to", first, "--yes")  # whether it was quick is for other tests
        wait_until(lambda: joined.leader() == first and joined.healthy(), "the one that was made anew leads")
        joined.lab.off(second)
        files += write(joined, range(15, 18))
        for host in (first, third):
            joined.psql(host, "checkpoint")
        time.sleep(30)  # longer than any program here takes to notice who leads
        joined.psql(third, "checkpoint")
        joined.on(third, "systemctl stop pgquorum-confirm-quorum")
    wait_until(lambda: files[-1] in in_the_archive(joined), "what the new primary has is archived", seconds=180)
    assert files[0] not in in_the_archive(joined), "nobody was to archive that yet"
    joined.on(third, "systemctl start pgquorum-confirm-quorum")
    wait_until(lambda: not set(files) - {name[:24] for name in in_the_archive(joined).split()}, "the third archives it", 180)
    assert missing(joined, files) == []
    timeline = str(int(written(joined)[:8], 16))
    assert recovered(joined, third, "select count(*) from acknowledged", database="app", timeline=timeline) == "18"
    joined.replace_with_blank(second)
    joined.deployed()
    wait_until(joined.healthy, "the cluster is whole")
    assert invoke(joined, "backup")[0] == 0
