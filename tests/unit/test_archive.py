"""What is in an archive, what is missing in it, and what comes of write-ahead log that can't be archived."""

from __future__ import annotations

import json
import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import views
from clusters import cluster, hosts, problems
from test_recovery import base

from agents.archived import since, stretches
from agents.parts import pgbackrest
from cluster.archive import PER_LOG, SEGMENT_BYTES, Archived, Hole, archived, name_of, segment_of
from cluster.errors import ClusterError
from cluster.recovery import Archive, Mark, Target, base_for, parse_target, unfit
from cluster.timelines import timelines
from health.finding import Finding
from health.questions import questions
from health.reading import backup_state
from health.rules import findings
from health.rules.archive import duration
from health.states import Archiver
from health.view import ClusterView
from operations.managed import render

SUM = "0123456789abcdef0123456789abcdef01234567"
END = "no recovery target specified"
# A failover in the middle of segment 5, one in the middle of segment 9.
HISTORY = {2: (f"1\t0/5800000\t{END}\n", 0.0), 3: (f"1\t0/5800000\t{END}\n\n2\t0/9000060\t{END}\n", 0.0)}
KNOWN = timelines(HISTORY)
LINE = KNOWN[3].line


def file(timeline: int, segment: int) -> str:
    return f"{name_of(timeline, segment)}-{SUM}.zst"


def has(**there: tuple[int, int]) -> Archived:
    """An archive that has of timeline n (`tn`) the segments from one to another; each got there at its number."""
    return Archived({int(name[1:]): {n: float(n) for n in range(first, last + 1)} for name, (first, last) in there.items()})


def missing(archive: Archived, begin: int = 0, line: Any = LINE) -> list[tuple[int, int, int]]:
    return [(hole.timeline, hole.first, hole.last) for hole in archive.holes(line, begin * SEGMENT_BYTES)]


def test_a_name_and_its_segment() -> None:
    assert PER_LOG == 256
    assert name_of(3, 256) == "000000030000000100000000" and segment_of("000000030000000100000000") == 256
    assert Hole(3, 255, 255, None).files == "0000000300000000000000FF"
    assert Hole(3, 255, 256, None).files == "0000000300000000000000FF to 000000030000000100000000"


def test_names_become_stretches_and_what_is_no_whole_file_is_left_out() -> None:
    names = [file(1, 255), file(1, 256), file(1, 253), file(2, 254), "00000002.history", f"{name_of(1, 254)}.partial-{SUM}.zst"]
    told = stretches((name, float(n)) for n, name in enumerate(names))
    assert told == {
        "0000000100000000": [(253, 253, 2.0), (255, 255, 0.0)],
        "0000000100000001": [(0, 0, 1.0)],
        "0000000200000000": [(254, 254, 3.0)],
    }
    assert archived(told).found == {1: {253: 2.0, 255: 0.0, 256: 1.0}, 2: {254: 3.0}}
    assert archived({}).holes(LINE, 0) == []


def test_only_what_may_matter_is_looked_at(tmp_path: Path) -> None:
    for name in (file(1, 3), file(1, 256), file(2, 257)):
        (tmp_path / name[:16]).mkdir(exist_ok=True)
        (tmp_path / name[:16] / name).touch()
    (tmp_path / "00000002.history").touch()
    assert since(tmp_path, name_of(2, 300)).keys() == {"0000000100000001", "0000000200000001"}
    assert since(tmp_path, name_of(1, 3)).keys() == {"0000000100000000", "0000000100000001", "0000000200000001"}


def test_where_all_is_there_nothing_is_missing() -> None:
    """Of a timeline that was left in the middle of a file that file is on the next one, from its beginning."""
    assert missing(has(t1=(1, 4), t2=(5, 8), t3=(9, 12)), 1) == []
    assert missing(has(t1=(1, 4)), 1) == missing(has(t1=(1, 4), t2=(5, 7)), 1) == []
    assert missing(has(t1=(3, 4), t2=(5, 8), t3=(9, 12)), 3) == []


def test_what_is_missing_is_found_within_a_timeline_and_at_its_end() -> None:
    assert missing(has(t1=(1, 4), t2=(5, 8), t3=(11, 12)), 1) == [(3, 9, 10)]
    assert missing(has(t1=(1, 2), t2=(5, 8), t3=(9, 12)), 1) == [(1, 3, 4)]
    assert missing(has(t1=(1, 4), t3=(9, 12)), 1) == [(2, 5, 8)]
    two = Archived({1: dict.fromkeys((1, 3), 0.0), 2: {}, 3: dict.fromkeys((10,), 0.0)})
    assert missing(two, 1) == [(1, 2, 2), (1, 4, 4), (2, 5, 8), (3, 9, 9)]


def test_what_is_not_archived_yet_is_not_missing_nor_what_is_before_the_backup() -> None:
    assert missing(has(t1=(1, 2)), 1) == []  # the primary went on, and was replaced twice
    assert missing(has(t1=(1, 2), t2=(5, 8), t3=(9, 12)), 6) == []
    assert missing(has(), 1) == []


def test_the_file_in_which_a_timeline_was_left_is_needed_from_the_next_one() -> None:
    assert missing(has(t1=(1, 5), t2=(6, 8), t3=(9, 9)), 1) == [(2, 5, 5)]


def test_a_timeline_that_was_abandoned_fills_no_hole() -> None:
    back = timelines({2: ("1\t0/3000000\tbefore 2026\n", 0.0)})[2].line
    assert missing(has(t1=(1, 9), t2=(5, 6)), 1, back) == [(2, 3, 4)]


def test_a_hole_says_when_the_file_before_it_was_archived() -> None:
    (hole,) = has(t1=(1, 4), t2=(5, 6), t3=(9, 12)).holes(LINE, 0x1000000)
    assert (hole.first, hole.last, hole.before, hole.start) == (7, 8, 6.0, 0x7000000)


HOLED = has(t1=(1, 4), t2=(5, 6), t3=(9, 12))
ONE = Archive((), KNOWN, "", {"local": HOLED}, {})
OLD, NEW = base("old", 1.0, 1, 0x1000100), base("new", 11.0, 3, 0xA000000)


@pytest.mark.parametrize(
    ("to", "fits"),
    [("0/6FFFFFF", True), ("0/7000000", False), ("0/9500000", False), ("1970-01-01 00:00:06+00:00", True),
     ("1970-01-01 00:00:07+00:00", False), ("latest", False)],
)  # fmt: skip
def test_no_backup_leads_over_a_hole(to: str, fits: bool) -> None:
    why = unfit(OLD, KNOWN[3], parse_target(to), None, HOLED)
    assert (why is None) == fits
    if why:
        assert why == (
            "000000020000000000000007 to 000000020000000000000008 is missing in the archive (what is there ends at 1970-01-01"
            " 00:00:06 UTC, 0/7000000), and nothing after it can be reached from there"
        )
    assert unfit(OLD, KNOWN[3], parse_target(to), None, has(t1=(1, 4), t2=(5, 8), t3=(9, 12))) is None


def test_a_mark_in_a_hole_is_not_reached_and_one_before_it_is() -> None:
    mark = Target("name", "release")
    assert unfit(OLD, KNOWN[3], mark, Mark("release", 2, 0x6500000, ""), HOLED) is None
    assert "is missing" in str(unfit(OLD, KNOWN[3], mark, Mark("release", 3, 0x9500000, ""), HOLED))


def test_the_backup_after_a_hole_is_taken_where_that_leads_there_and_the_hole_is_told_where_none_does() -> None:
    assert base_for((OLD, NEW), KNOWN[3], parse_target("latest"), None, None, ONE) is NEW
    with pytest.raises(ClusterError, match=r"(?s)no backup leads to 0/9500000.*old: .* is missing in the archive.*new: it ends"):
        base_for((OLD, NEW), KNOWN[3], parse_target("0/9500000"), None, None, ONE)
    with pytest.raises(ClusterError, match=r"--set old does not lead to latest: 000000020000000000000007 to "):
        base_for((OLD, NEW), KNOWN[3], parse_target("latest"), None, "old", ONE)


def told(archiver: Archiver | None = None, of: Any = views.BACKED_UP, **keeper: Any) -> dict[str, Finding]:
    view = views.backed_up(archiver, keep1=views.keeper(backups=views.backups(**keeper)))
    return {f.rule: f for f in findings(view, of) if f.rule.startswith("archive")}


GB = 1024**3


def stuck(**differs: Any) -> Archiver:
    """64 files, one GiB, wait, the first since 1024 s; 100 GiB are free."""
    return replace(Archiver("A8", 1024.0, "A9", 5.0, 64, 1024.0, room=100 * GB), **differs)


def test_it_is_told_when_the_disk_is_full_and_within_a_day_by_a_rule_of_its_own() -> None:
    found = told(stuck())
    assert found.keys() == {"archive.failing", "archive.lagging"}
    assert found["archive.lagging"].text.endswith(
        "; backup_when_stuck is keep: at this rate the disk of pg_wal is full in 28.4 hours"
    )
    assert told(stuck(room=85 * GB)).keys() == {"archive.failing", "archive.lagging"}
    assert "archive.fills-disk" in told(stuck(room=84 * GB))
    assert "archive.fills-disk" not in told(stuck(room=GB, oldest=200.0, waiting=2))  # not late: a moment's trouble
    assert "full in" not in told(stuck(room=None))["archive.lagging"].text


def test_where_it_is_given_up_it_is_told_when_that_begins_and_that_it_goes_on() -> None:
    found = told(stuck(), views.DROPPING)
    assert found["archive.lagging"].text.endswith(
        "; backup_when_stuck is drop: at this rate the oldest is given up in 51.2 minutes"
    )
    # What was given up counts as archived with PostgreSQL.
    full = told(stuck(waiting=256, archived=1.0), views.DROPPING)
    assert full.keys() == {"archive.lagging", "archive.dropping"}
    assert told(stuck(waiting=255, archived=1.0), views.DROPPING).keys() == {"archive.lagging"}
    assert "archive.dropping" not in told(stuck(waiting=256))


def test_a_limit_that_the_disk_has_no_room_for_saves_nothing() -> None:
    assert "archive.fills-disk" in told(stuck(room=2 * GB), views.DROPPING)
    assert "archive.fills-disk" not in told(stuck(room=4 * GB), views.DROPPING)


def test_an_archive_of_somebody_s_own_that_fails_is_told_where_no_host_keeps_backups() -> None:
    def of(archiver: Archiver, shop: Any = views.SHOP) -> dict[str, str]:
        view = views.view(db1=views.database("db1", postgres=views.postgres("db1", archiver=archiver)))
        return {f.rule: f.text for f in findings(view, shop) if f.rule.startswith("archive")}

    failing = of(stuck(archived_wal=None, archived=None))
    assert failing.keys() == {"archive.failing"}
    assert failing["archive.failing"].startswith(
        "archiving A9 has failed 5 s ago; nothing ever got there; 64 files (1.0 GiB) wait to be archived, and stay in pg_wal;"
        " at this rate its disk is full in 28.4 hours"
    )
    assert "backup.check" not in failing["archive.failing"]
    # What is given up only ever is where a host keeps backups.
    dropping = cluster(backup_when_stuck="drop")
    assert of(stuck(room=84 * GB), dropping).keys() == {"archive.failing", "archive.fills-disk"}
    hangs = of(stuck(failed=None, failed_wal=None))
    assert hangs.keys() == {"archive.lagging"}
    assert "64 files (1.0 GiB) wait to be archived, and stay in pg_wal, the first since 1024 s" in hangs["archive.lagging"]
    # A failure from before, of which nothing is left; a command that does nothing, with a file that is on its way.
    assert of(stuck(waiting=0, oldest=None)) == of(Archiver("A8", 1.0, None, None, 1, 0.1)) == {}


def kept(view: ClusterView) -> list[str]:
    return [f.rule for f in findings(view, views.BACKED_UP) if f.rule.startswith("archive.")]


def test_what_waits_longer_than_a_replica_s_slot_keeps_it_is_told_before_and_after() -> None:
    assert kept(views.unarchived(0.03)) == kept(views.unarchived(5.9)) == []
    assert kept(views.unarchived(6.1)) == ["archive.nearly-unkept"]
    # The primary has a slot of its own, which may be lost before those of replicas.
    assert kept(views.unarchived(9, lost=("db1",))) == ["archive.nearly-unkept"]
    # A slot that was lost is dropped and made anew, and shows nothing of that itself.
    assert kept(views.unarchived(9, lost=("db2", "db3"))) == ["archive.unkept"]
    assert kept(views.unarchived(5, lost=("db2",))) == []  # the other one has it, and archives it for whoever leads
    assert kept(views.unarchived(0.03, lost=("db2", "db3"))) == []  # what is on its way


def test_a_replica_without_a_slot_keeps_nothing_and_one_that_is_not_seen_has_no_part() -> None:
    view = views.unarchived(5, lost=("db2",))
    db3 = view.hosts["db3"].postgres
    assert db3
    for slots in ((), (replace(db3.slots[-1], wal_status="unreserved"),)):
        hosts = view.hosts | {"db3": replace(view.hosts["db3"], postgres=replace(db3, slots=slots))}
        assert kept(ClusterView(hosts)) == ["archive.unkept"]
    unseen = view.hosts | {name: views.database(name, postgres=None) for name in ("db2", "db3")}
    assert "archive.unkept" not in kept(ClusterView(unseen))


def test_a_cluster_without_a_limit_or_a_note_has_nothing_to_tell() -> None:
    view = views.unarchived(7)
    for host in view.hosts.values():
        if host.postgres:
            slots = tuple(replace(one, room=None) for one in host.postgres.slots)
            view = ClusterView(view.hosts | {host.name: replace(host, postgres=replace(host.postgres, slots=slots))})
    assert kept(view) == []
    assert kept(views.backed_up()) == []


def test_a_note_that_stands_still_while_all_is_archived_is_no_log_that_waits() -> None:
    view = views.unarchived(9, lost=("db2", "db3"))
    db1 = view.hosts["db1"].postgres
    assert db1
    nothing = replace(db1, archiver=replace(db1.archiver, waiting=1))
    assert kept(ClusterView(view.hosts | {"db1": replace(view.hosts["db1"], postgres=nothing)})) == []


def test_a_hole_since_the_newest_backup_is_told_until_there_is_another_backup() -> None:
    gap = views.archived((5, 7), (10, 12))
    assert told(archived=gap, history=(3, "")).keys() >= {"archive.hole"}
    last = "00000003000000000000000B"
    newer = views.backup(wal_first=last, wal_last=last)
    view = views.backed_up(keep1=views.keeper(backups=views.backups(views.backup(), newer, archived=gap, history=(3, ""))))
    assert not any(f.rule == "archive.hole" for f in findings(view, views.BACKED_UP))
    assert "archive.hole" not in told(archived=views.archived((5, 12)), history=(3, ""))
    assert "archive.hole" not in told(archived=None)


@pytest.mark.parametrize(
    ("seconds", "said"), [(-1.0, "0 seconds"), (119.0, "119 seconds"), (7_100.0, "118.3 minutes"), (86_400.0 * 3, "3.0 days")]
)
def test_how_long_something_takes(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_limit_below_some_files_and_another_choice_are_refused() -> None:
    (small,) = problems(hosts(backup=True, backup_drop_above="1MB"))
    assert small.startswith("backup_drop_above = '1MB': should be at least 67108864")
    (other,) = problems(hosts(backup=True, backup_when_stuck="wait"))
    assert other.startswith("backup_when_stuck = 'wait': should be 'keep' or 'drop'")


@pytest.mark.parametrize("choice", ["keep", "drop"])
def test_pgbackrest_is_told_a_limit_only_where_that_was_chosen(choice: str) -> None:
    shop = cluster(backup=True, backup_when_stuck=choice, backup_drop_above="1GB")
    for host in (*shop.postgres_hosts, *shop.backup_hosts):
        limited = "archive-push-queue-max=1073741824\n" in render("pgbackrest/pgbackrest.conf.j2", cluster=shop, host=host)
        assert limited == (choice == "drop" and host in shop.postgres_hosts)


def test_the_collector_tells_what_is_archived_since_the_newest_backup(tmp_path: Path) -> None:
    place = tmp_path / "archive/shop/18-1"
    for name in (file(1, 4), file(2, 5), file(2, 7)):
        (place / name[:16]).mkdir(parents=True, exist_ok=True)
        (place / name[:16] / name).touch()
    for name in ("00000002.history", "0000000A.history.tmp"):
        (place / name).touch()
    until = time.monotonic() + 30
    spec = {
        "repositories": {"local": ""},
        "here": "local",
        "archive": str(place.parent),
        "stanza": "shop",
        "ask": {"local": "echo"},
    }
    info = [{"archive": [{"id": "18-1"}], "backup": [{"archive": {"stop": name_of(1, 4)}}]}]
    said = pgbackrest.archives(spec, {"local": {"is": info}}, until)["local"]
    assert said and said["history"] == [2, "repo-get archive/shop/18-1/00000002.history\n"]
    assert archived(said["files"]).found.keys() == {1, 2} and said["start"] == name_of(1, 4)
    for nothing in ([], [{"archive": [{"id": "18-1"}], "backup": []}], [{"archive": [{"id": "../x"}], "backup": [1]}]):
        assert pgbackrest.archives(spec, {"local": {"is": nothing}}, until) == {"local": None}
    assert pgbackrest.archives(spec, {"local": {"problem": "no answer within 5 s"}}, until) == {"local": None}
    document = {"repositories": {"local": {"is": []}}, "version": "pgBackRest 2.60.0", "runs": {}, "timers": {}, "drills": []}
    (state,) = backup_state({**document, "archives": {"local": said | {"history": [2, HISTORY[2][0]]}}}, 0.0).repositories
    assert state.history == (2, HISTORY[2][0]) and state.archived and state.start == 4 * SEGMENT_BYTES
    assert backup_state({**document, "archives": {"local": None}}, 0.0).repositories[0].archived is None
    asked = questions(views.BACKED_UP, views.BACKED_UP.host("keep1"))["pgbackrest"]
    assert shlex.split(asked["ask"]["local"]) == ["runuser", "-u", "pgbackrest", "--", "pgbackrest", "--stanza=shop", "--repo=1"]


# Stands for pgBackRest: what it lists is in files that are called like the place, and each place that it is asked for is noted.
LISTS = """#!/bin/sh
for place; do :; done
echo "$place" >>{asked}
case "$*" in *repo-get*) echo history ;; *) cat {there}/"$(echo "$place" | tr / _)" ;; esac
"""


def elsewhere(tmp_path: Path, directories: dict[str, list[str]], backup: str, newest: str) -> tuple[Any, list[str]]:
    """What the collector tells of an archive in a store, which has these files by directory, and which places it asks for."""
    tmp_path.mkdir(exist_ok=True)
    program, asked = tmp_path / "pgbackrest", tmp_path / "asked"
    program.write_text(LISTS.format(asked=asked, there=tmp_path))
    program.chmod(0o755)
    top = {
        ".": {"type": "path"},
        "00000002.history": {"type": "file", "time": 1},
        **{one: {"type": "path"} for one in directories},
    }
    for place, listed in {
        "": top,
        **{one: {name: {"type": "file", "time": 9} for name in of} for one, of in directories.items()},
    }.items():
        (tmp_path / f"archive/shop/18-1/{place}".rstrip("/").replace("/", "_")).write_text(json.dumps(listed))
    spec = {"repositories": {"s3": ""}, "here": "local", "archive": "/none", "stanza": "shop", "ask": {"s3": str(program)}}
    info = [{"archive": [{"id": "18-1", "max": newest}], "backup": [{"archive": {"stop": backup}}]}]
    told = pgbackrest.archives(spec, {"s3": {"is": info}}, time.monotonic() + 30)["s3"]
    return told, asked.read_text().split() if asked.exists() else []


def test_the_collector_asks_pgbackrest_for_an_archive_elsewhere_and_only_for_what_may_matter(tmp_path: Path) -> None:
    there = {
        name_of(1, 0)[:16]: [file(1, 200)],
        name_of(1, 256)[:16]: [file(1, 260), file(1, 262)],
        name_of(2, 512)[:16]: [file(2, 512)],
    }
    told, asked = elsewhere(tmp_path, there, name_of(1, 260), name_of(2, 512))
    assert told["history"] == [2, "history\n"] and told["start"] == name_of(1, 260)
    assert archived(told["files"]).found == {1: {260: 9.0, 262: 9.0}, 2: {512: 9.0}}
    # What is in the last one is seen first: whatever that is, what comes before it was there by then.
    assert set(asked[:2]) == {"archive/shop/18-1", f"archive/shop/18-1/{name_of(2, 512)[:16]}"}
    assert asked[2:] == [f"archive/shop/18-1/{name_of(1, 256)[:16]}", "archive/shop/18-1/00000002.history"]


def test_so_many_directories_as_would_cost_much_are_not_looked_into(tmp_path: Path) -> None:
    there = {name_of(1, 256 * n)[:16]: [file(1, 256 * n)] for n in range(1, 13)}
    told, asked = elsewhere(tmp_path, there, name_of(1, 256), name_of(1, 256 * 12))
    assert len(asked) == pgbackrest.MOST_DIRECTORIES + 2
    assert told["start"] == name_of(1, 256 * 5) and min(archived(told["files"]).found[1]) == 256 * 5


def test_what_is_elsewhere_and_can_not_be_listed_is_not_seen(tmp_path: Path) -> None:
    there = {name_of(1, 0)[:16]: [file(1, 4)]}
    assert elsewhere(tmp_path / "away", {}, name_of(1, 4), name_of(1, 4))[0] is None
    assert elsewhere(tmp_path / "new", there, name_of(1, 4), "")[0] is None


def test_a_hole_in_one_of_several_repositories_is_told_with_its_name() -> None:
    """Of one that was not looked into from the newest backup on only what was."""
    of_store = views.backup(repository="s3")
    whole = replace(views.ARCHIVED, archived=views.archived((5, 12)), history=(3, ""))
    gap = replace(whole, name="s3", archived=views.archived((5, 7), (10, 12)))
    found = told(backups=(views.backup(), of_store), repositories=(whole, gap))["archive.hole"].text
    assert found.startswith("000000030000000000000008 to 000000030000000000000009 is missing in the archive of repository s3: ")
    late = replace(gap, start=10 * SEGMENT_BYTES)
    assert "archive.hole" not in told(backups=(views.backup(), of_store), repositories=(whole, late))
