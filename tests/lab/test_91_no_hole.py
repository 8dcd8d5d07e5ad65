"""What was acknowledged while the repository was away is archived afterwards, though the primary's host is lost for good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from backups import HOST, NEEDS_A_KEEPER, archived, as_keeper, restored, written
from helpers import Site
from hosts import DATABASES, wait_until

pytestmark = [pytest.mark.usefixtures("healed"), NEEDS_A_KEEPER]


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


def test_the_one_that_takes_over_archives_what_the_lost_primary_could_not(joined: Site) -> None:
    with joined.connect(5000) as app:
        app.execute("drop table if exists acknowledged")
        app.execute("create table acknowledged (n int primary key)")
    lost = joined.leader()
    with repository_off(joined):
        files = write(joined, range(10))
        assert archived(joined) < min(files), "the repository was to take nothing"
        joined.lab.off(lost)
        wait_until(lambda: joined.leader() != lost and joined.connect(5000).close() is None, "another one takes writes")
    leader = joined.leader()
    (other,) = {*DATABASES} - {leader, lost}
    last = written(joined)
    wait_until(lambda: archived(joined) >= last, "all that it has is archived")
    listed = joined.on(HOST, "cd /var/lib/pgbackrest/archive/*/18-1; find . -type f -printf '%f\\n'")
    assert [name for name in files if name not in listed] == []
    timeline = int(last[:8], 16)
    assert restored(joined, other, "select count(*) from acknowledged", str(timeline)) == "10"
    joined.replace_with_blank(lost)
    joined.deployed()
    wait_until(joined.healthy, "the cluster is whole")
