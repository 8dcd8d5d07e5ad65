"""Where a restore goes: what may be asked for, on which timeline it lies, and which backup leads there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from cluster.errors import ClusterError
from cluster.recovery import Mark, Target, base_for, mark_called, parse_target, parse_timeline, timeline_of
from cluster.timelines import Base, bases, lsn, position, timelines

END = "no recovery target specified"
# A failover at 1,000; at 2,000 a restore to 1,500; a failover at 3,000.
HISTORIES = {
    2: (f"1\t0/3000000\t{END}\n", 1_000.0),
    3: (f"1\t0/3000000\t{END}\n\n2\t0/5000000\tbefore 2026-11-29 07:00:00+00\n", 2_000.0),
    4: (f"1\t0/3000000\t{END}\n\n2\t0/5000000\tbefore 2026-11-29 07:00:00+00\n\n3\t0/6000000\t{END}\n", 3_000.0),
}
KNOWN = timelines(HISTORIES)


def at(seconds: float) -> Target:
    return Target("time", f"at {seconds}", time=datetime.fromtimestamp(seconds, UTC))


def base(label: str, ended: float, timeline: int, where: int, **differs: Any) -> Base:
    return Base(**{
        "label": label, "kind": "full", "ended": ended, "timeline": timeline, "lsn": where, "size": 10, "damaged": False,
        **differs,
    })  # fmt: skip


BASES = (
    base("first", 500.0, 1, 0x2000000),
    base("second", 1_200.0, 2, 0x4000000),
    base("abandoned", 1_800.0, 2, 0x5500000),
    base("new", 2_500.0, 3, 0x5800000),
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2026-11-29 07:00:00+00:00", "2026-11-29 07:00:00.000000+00"),
        ("2026-11-29T08:00:00.25+01:00", "2026-11-29 07:00:00.250000+00"),
        ("2026-11-29 07:00:00Z", "2026-11-29 07:00:00.000000+00"),
        ("2026-11-29 07:00:00 UTC", "2026-11-29 07:00:00.000000+00"),
        ("2026-11-29 07:00+02", "2026-11-29 05:00:00.000000+00"),
        ("0/5f6adf0", "0/5F6ADF0"),
        ("1A/0", "1A/0"),
        ("before_the_release", "before_the_release"),
        ("latest", ""),
    ],
)
def test_what_may_be_asked_for(text: str, value: str) -> None:
    assert parse_target(text).value == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2026-11-29 07:00:00", "has no zone, so it could be any of many moments: such as '2026-11-29 07:00:00+00:00' for UTC"),
        ("2026-11-29", "has no zone"),
        ("2026-13-01 07:00:00+00:00", "should be a time with its zone"),
        ("0/5F6ADF0Z", "should be a time with its zone"),
        ("", "should be a time with its zone"),
        ("last tuesday", "should be a time with its zone"),
        ("'; drop table", "should be a time with its zone"),
    ],
)
def test_what_is_none_is_refused_with_what_would_be_right(text: str, why: str) -> None:
    with pytest.raises(ClusterError) as error:
        parse_target(text)
    assert repr(text) in str(error.value) and why in str(error.value)


def test_a_timeline_is_a_number() -> None:
    assert (parse_timeline(None), parse_timeline("12")) == (None, 12)
    with pytest.raises(ClusterError, match="--timeline '0x2': should be a number"):
        parse_timeline("0x2")


def test_positions_as_postgresql_writes_them() -> None:
    assert position("1/5F6ADF0") == 2**32 + 0x5F6ADF0
    assert lsn(position("1A/5F6ADF0")) == "1A/5F6ADF0"


@pytest.mark.parametrize(
    ("seconds", "timeline"),
    [
        (500, 2),  # written on 1, which 2 goes on from: 1 alone would end before a moment near its end
        (1_400, 2),
        (1_600, 2),  # before the restore, and gone by it
        (2_000, 4),
        (2_500, 4),
        (9_999, 4),
    ],
)
def test_a_time_lies_on_the_timeline_that_was_written_then_and_goes_on_as_far_as_that_does(seconds: int, timeline: int) -> None:
    assert timeline_of(KNOWN, at(seconds), None, None).number == timeline


def test_positions_and_the_end_are_those_of_the_newest_timeline_unless_one_is_named() -> None:
    for target in (Target("latest", "latest"), Target("lsn", "0/5100000", lsn=0x5100000)):
        assert timeline_of(KNOWN, target, None, None).number == 4
        assert timeline_of(KNOWN, target, None, 2).number == 2
    with pytest.raises(ClusterError, match="--timeline 7: no such timeline is in the archive, which has 1, 2, 3, 4"):
        timeline_of(KNOWN, Target("latest", "latest"), None, 7)


def test_a_mark_lies_on_the_newest_timeline_that_has_it() -> None:
    name = Target("name", "m")
    assert timeline_of(KNOWN, name, Mark("m", 2, 0x4800000, ""), None).number == 4  # before the restore went back
    assert timeline_of(KNOWN, name, Mark("m", 2, 0x5200000, ""), None).number == 2  # taken back by the restore


def test_a_restore_to_before_a_failover_lacks_what_both_timelines_had_after_it() -> None:
    """A failover came after the moment, so the restore went along the timeline which that had begun. PostgreSQL notes where it
    stopped as the end of that one, before the end of the one that it comes from."""
    back = timelines({
        2: (f"1\t0/3000000\t{END}\n", 1_000.0),
        3: (f"1\t0/3000000\t{END}\n\n2\t0/6000000\t{END}\n", 2_000.0),
        4: (f"1\t0/3000000\t{END}\n\n2\t0/6000000\t{END}\n\n3\t0/5000000\tbefore 2026-11-29 07:00:00+00\n", 3_000.0),
    })  # fmt: skip
    mark = Mark("m", 2, 0x5800000, "2026-11-29T07:00:00+00:00")
    assert timeline_of(back, parse_target("m"), mark, None).number == 3
    assert back[4].has(2, 0x5000000) and not back[4].has(2, 0x5000001)
    assert back[4].line == ((1, 0), (2, 0x3000000), (3, 0x5000000), (4, 0x5000000))
    late = base("late", 1_900.0, 2, 0x5500000)
    with pytest.raises(ClusterError, match="late: it is of timeline 2, which does not lead there"):
        base_for([late], back[4], parse_target("latest"), None, None)


def test_a_second_failover_from_one_timeline_is_the_one_that_was_followed() -> None:
    """Whoever was lost before anybody followed has left a history, too."""
    known = timelines({2: (f"1\t0/3000000\t{END}\n", 10.0), 3: (f"1\t0/3000000\t{END}\n", 12.0)})
    assert timeline_of(known, at(5), None, None).number == 3


@pytest.mark.parametrize(
    ("target", "named", "label"),
    [
        (at(500), None, "first"),  # it ended then
        (at(1_199), None, "first"),
        (at(1_900), None, "abandoned"),
        (at(2_100), None, "second"),  # what was made on the abandoned part does not lead there
        (at(2_600), None, "new"),
        (Target("lsn", "0/4000000", lsn=0x4000000), None, "second"),
        (Target("lsn", "0/3FFFFFF", lsn=0x3FFFFFF), None, "first"),
        (Target("lsn", "0/5700000", lsn=0x5700000), 2, "abandoned"),
        (Target("latest", "latest"), None, "new"),
        (Target("latest", "latest"), 2, "abandoned"),
    ],
)
def test_the_newest_backup_that_leads_there_is_taken(target: Target, named: int | None, label: str) -> None:
    along = timeline_of(KNOWN, target, None, named)
    assert base_for(BASES, along, target, None, None).label == label


def test_where_no_backup_leads_it_is_said_why_of_each() -> None:
    with pytest.raises(ClusterError) as error:
        base_for(BASES, timeline_of(KNOWN, at(499), None, None), at(499), None, None)
    assert str(error.value).splitlines() == [
        "no backup leads to at 499: one has to have ended before that moment",
        "  - first: it ended at 1970-01-01 00:08:20 UTC, after that",
        "  - second: it ended at 1970-01-01 00:20:00 UTC, after that",
        "  - abandoned: it ended at 1970-01-01 00:30:00 UTC, after that",
        "  - new: it is of timeline 3, which does not lead there",
    ]
    with pytest.raises(ClusterError, match="there is no backup"):
        base_for((), KNOWN[4], at(9), None, None)


def test_a_backup_that_is_named_has_to_lead_there() -> None:
    latest, end = Target("latest", "latest"), KNOWN[4]
    assert base_for(BASES, end, latest, None, "first").label == "first"
    with pytest.raises(ClusterError, match="--set abandoned does not lead to latest: it is of timeline 2"):
        base_for(BASES, end, latest, None, "abandoned")
    with pytest.raises(ClusterError, match=r"--set frist \(did you mean 'first'\?\)"):
        base_for(BASES, end, latest, None, "frist")


def test_a_damaged_backup_is_passed_over() -> None:
    found = (*BASES, base("damaged", 2_900.0, 4, 0x6500000, damaged=True))
    assert base_for(found, KNOWN[4], Target("latest", "latest"), None, None).label == "new"


def test_a_mark_bounds_the_backup_as_a_position_does() -> None:
    mark = Mark("m", 2, 0x4800000, "")
    assert base_for(BASES, KNOWN[4], Target("name", "m"), mark, None).label == "second"


def test_a_mark_that_is_not_known_is_refused_with_those_that_are() -> None:
    there = {"release": Mark("release", 1, 1, "")}
    assert mark_called("release", there).lsn == 1
    with pytest.raises(ClusterError, match=r"--to relaese \(did you mean 'release'\?\): no mark is called so"):
        mark_called("relaese", there)


def test_backups_as_pgbackrest_tells_them() -> None:
    info = [{
        "db": [{"id": 1}, {"id": 2}],
        "backup": [{"database": {"id": 1}, "label": "20250101-010000F"}, {
            "database": {"id": 2},
            "archive": {"start": "00000002000000000000000A", "stop": "00000002000000010000000B"}, "error": None,
            "info": {"size": 23}, "label": "20261129-031500F", "lsn": {"start": "0/A000028", "stop": "1/B000120"},
            "timestamp": {"start": 5, "stop": 9}, "type": "full",
        }],
    }]  # fmt: skip
    assert bases(info, "local") == (base("20261129-031500F", 9.0, 2, position("1/B000120"), size=23),)
