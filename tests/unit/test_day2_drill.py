"""Drills of backups as an operator has them: what one is made of, what hosts are asked, and how its result is told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import views
from clusters import cluster
from drills import RESULT

from agents import drill_files
from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.commands.backups.drill import beside
from day2.commands.backups.listing import proven
from day2.hosts.ssh import CommandResult
from day2.recovery.drill import Drilling, Moment
from day2.recovery.drill_choice import Choice, choose, disk_of, refuse_without_room
from day2.report import drill as report
from health.backup_states import Backup, BackupRun
from health.states import Override
from health.view import ClusterView

WITH = views.BACKED_UP
KEEPER = WITH.backup_hosts[0]
GB = 1024**3
NOTHING = {
    **RESULT, "passed": False, "failures": ["pgbackrest has failed: <script>"], "restore_seconds": None, "rate": None,
    "rto": None, "recovered_to": None, "amcheck_seconds": None, "checksums_seconds": None, "compared": None,
    "rpo": None, "amcheck_complaints": None, "bad_blocks": None, "blocks": None,
}  # fmt: skip


def test_what_stat_says_of_a_disk_is_what_a_user_has_of_it() -> None:
    assert disk_of("4096 1000 300 250\n") == (250 * 4096, 950 * 4096)
    with pytest.raises(ClusterError, match="could not be seen: 'nonsense'"):
        disk_of("nonsense")


def chosen(of: Cluster = WITH, view: ClusterView | None = None, backup: str | None = None, host: str | None = None) -> Choice:
    return choose(view or views.backed_up(), of, of.backup_hosts[0], backup, host)


def test_without_options_the_newest_backup_is_restored_where_it_lies_and_compared_with_a_replica() -> None:
    both = views.backups(views.backup(age=7200.0), views.backup("incr", age=60.0))
    choice = chosen(view=views.backed_up(keep1=views.keeper(backups=both)))
    assert choice.where == KEEPER and choice.backup == both.backups[-1]
    # Not db2, from which pgBackRest has copied it.
    assert choice.replica and choice.replica.name == "db3"
    named = chosen(view=views.backed_up(keep1=views.keeper(backups=both)), backup=both.backups[0].label, host="db3")
    assert named.backup == both.backups[0] and named.where.name == "db3"
    assert named.replica and named.replica.name == "db2"  # the other one has nothing else to do


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"host": "db1"}, r"--host db1: is the primary.*should be keep1, db2, db3"),
        ({"host": "proxy1"}, r"--host proxy1: has no PostgreSQL.*should be keep1, db2, db3"),
        ({"host": "db9"}, r"--host: no host is called 'db9'"),
        ({"backup": "label-996401"}, r"--set label-996401: there is no such backup.*should be one of label-996400"),
    ],
)
def test_what_can_not_be_drilled_is_refused_with_what_would_be_right(words: dict[str, str], said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        chosen(**words)  # type: ignore[arg-type]


def test_a_keeper_without_backups_or_without_a_word_is_refused() -> None:
    with pytest.raises(ClusterError, match="there is no backup to prove"):
        chosen(view=views.backed_up(keep1=views.keeper(backups=replace(views.backups(), backups=()))))
    with pytest.raises(ClusterError, match="keep1: unreachable"):
        chosen(view=views.backed_up(keep1=views.unreachable("keep1")))


def test_whom_the_primary_waits_for_last_is_compared_with() -> None:
    waits = tuple(views.sender(name, sync_state=state) for name, state in (("db2", "sync"), ("db3", "async")))
    before = views.backed_up()
    primary = before.hosts["db1"]
    assert primary.postgres
    view = ClusterView({**before.hosts, "db1": replace(primary, postgres=replace(primary.postgres, senders=waits))})
    replica = chosen(view=view).replica
    assert replica and replica.name == "db3"


def test_where_nobody_can_be_compared_with_it_is_said_why() -> None:
    off = cluster(backup=True, backup_drill_pause=0)
    assert chosen(off).uncompared == "backup_drill_pause is 0"
    still = {
        name: replace(host, postgres=replace(host.postgres, replay_paused=True))
        for name, host in views.backed_up().hosts.items()
        if host.postgres and name != "db1"
    }
    choice = chosen(view=views.backed_up(**still))
    assert choice.replica is None and choice.uncompared == "no replica streams"


def streaming(names: str, *senders: tuple[str, str], **primary: Any) -> ClusterView:
    """Replicas stream, and confirm writes, in these ways."""
    before = views.backed_up()
    postgres = before.hosts["db1"].postgres
    assert postgres
    waits = tuple(views.sender(name, sync_state=state) for name, state in senders)
    changed = replace(postgres, senders=waits, synchronous_standby_names=names, **primary)
    return ClusterView({**before.hosts, "db1": replace(before.hosts["db1"], postgres=changed)})


TWO = (("db2", "quorum"), ("db3", "quorum"))


@pytest.mark.parametrize(
    ("names", "senders", "replica"),
    [
        ('ANY 1 ("db2","db3")', TWO, "db3"),
        ('ANY 1 ("db2","db3")', TWO[:1], None),
        ('ANY 2 ("db2","db3")', TWO, None),
        ("db2", (("db2", "sync"), ("db3", "potential")), "db3"),
        ("db2", (("db2", "sync"),), None),
        ("", (("db2", "async"),), "db2"),
    ],
)
def test_nobody_s_commits_hang_because_a_replica_s_replay_stands_still(
    names: str, senders: tuple[tuple[str, str], ...], replica: str | None
) -> None:
    """With remote_apply they wait for it, which status does not complain of: it waits for more than the durability asks for."""
    override = Override("app", "shop", "synchronous_commit=remote_apply")
    for who, primary in (
        ("the primary has", {"synchronous_commit": "remote_apply"}),
        ("role app in database shop has", {"overrides": (override,)}),
    ):
        choice = chosen(view=streaming(names, *senders, **primary))
        assert (choice.replica and choice.replica.name) == replica
        assert replica or choice.uncompared.startswith(f"{who} synchronous_commit = remote_apply: its commits would wait until")
    usual = chosen(view=streaming(names, *senders, overrides=(replace(override, setting="synchronous_commit=local"),)))
    assert usual.replica


def test_without_room_the_bytes_are_named_and_the_way_out() -> None:
    choice = chosen()
    refuse_without_room(choice, "/d", f"1 {GB} {GB} {GB}")
    with pytest.raises(ClusterError, match=r"keep1: /d: the drill needs .* bytes .* --host"):
        refuse_without_room(choice, "/d", "1 1000 1000 1000")
    # The first of two, after which the data has grown; what is in other repositories, or before it, is none of its.
    old, new = views.backup(age=7200.0), replace(views.backup("incr", age=60.0), size=2 * GB)
    others = (
        replace(views.backup(age=9000.0), size=9 * GB),
        old,
        new,
        replace(views.backup(age=30.0, repository="s3"), size=9 * GB),
    )
    grown = chosen(view=views.backed_up(keep1=views.keeper(backups=views.backups(*others))), backup=old.label)
    assert grown.backup == old and grown.data == 2 * GB
    with pytest.raises(ClusterError, match=f"bytes for {2 * GB:,}"):
        refuse_without_room(grown, "/d", f"1 {GB} {GB} {GB}")


def test_a_listed_backup_says_what_came_of_its_last_drill() -> None:
    assert (proven(None), proven(views.drill(7300.0)), proven(views.drill(90.0, passed=False))) == (
        "-",
        "2 h ago",
        "failed 90 s ago",
    )


def test_a_result_is_told_in_lines_a_text_and_a_page_that_needs_nothing_else() -> None:
    figures = {name: (figure, note) for name, figure, note in report.rows(RESULT)}
    assert figures["RTO"][0] == "4.4 s" and figures["RPO"][0] == "12.3 s"
    assert figures["compared"] == ("276 tables with 186,643 rows are the same", "with db3")
    assert "20261129-070434F is proven" in report.text(RESULT)
    page = report.page(RESULT)
    assert '<h1 class="good">20261129-070434F is proven</h1>' in page and "186,643" in page
    assert "src=" not in page and "http" not in page


def test_where_the_pause_was_too_short_for_any_table_it_says_that_nothing_was_compared() -> None:
    none = {**RESULT, "compared": {**RESULT["compared"], "tables": 0, "rows": 0, "left_out": 276}}
    figures = {name: (figure, note) for name, figure, note in report.rows(none)}
    why = "with db3; 276 tables were not reached in time; backup_drill_pause is too short"
    assert figures["compared"] == ("nothing is known to be the same", why)
    assert "<dd>-<small>nothing</small>" in report.page(none)


def test_a_row_that_did_not_get_to_the_archive_by_itself_is_no_rpo_and_is_told() -> None:
    figures = {name: figure for name, figure, _ in report.rows({**RESULT, "rpo": None, "paused_seconds": 2.5})}
    assert figures["RPO"] == "not seen"
    timers = report.rows({**RESULT, "rpo": None, "paused_seconds": None, "compared": None})
    assert "RPO" not in {name for name, _, _ in timers}, "nobody has written a row for that"


def test_a_drill_that_came_to_nothing_has_its_reason_on_the_page_as_text() -> None:
    assert [name for name, _, _ in report.rows(NOTHING)] == ["backup"]
    page = report.page(NOTHING)
    assert '<h1 class="bad">20261129-070434F is not proven</h1>' in page and "&lt;script&gt;" in page and "<script>" not in page
    assert "problem: pgbackrest has failed" in report.text(NOTHING)


def test_all_files_of_a_report_are_written(tmp_path: Path) -> None:
    assert [path.name for path in report.write(tmp_path / "r", RESULT)] == ["drill.json", "drill.txt", "drill.html"]
    assert json.loads((tmp_path / "r/drill.json").read_text()) == RESULT


class Hosts:
    """A fleet whose hosts answer a command by what is in it."""

    def __init__(self, **answers: str) -> None:
        self.answers, self.asked = answers, list[tuple[str, str, str]]()

    def run(self, host: str, command: str, stdin: str = "", seconds: float = 30) -> CommandResult:
        self.asked.append((host, command, stdin))
        return CommandResult(host, 0, next((said for part, said in self.answers.items() if part in command), ""))


def drilling(**answers: str) -> tuple[Drilling, Hosts]:
    fleet = Hosts(**answers)
    return Drilling(fleet, WITH, chosen(), print), fleet  # type: ignore[arg-type]


MOMENT = Moment("4c2f", "0/9000108", "1", "db2", {"app": {"public.t": [3, "17"]}}, 2.5)


def test_what_came_of_a_drill_is_the_result_of_the_order_that_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("day2.recovery.drill.uuid.uuid4", lambda: "1")
    one, fleet = drilling(results=json.dumps(RESULT))
    assert one.run(MOMENT) == {**RESULT, "paused_seconds": None}
    (order,) = (json.loads(stdin) for _, command, stdin in fleet.asked if "order.json" in command)
    assert order == {
        "id": "1", "backup": "label-996400", "repository": "local", "lsn": "0/9000108", "timeline": "1", "marker": "4c2f",
        "replica": "db2", "contents": MOMENT.contents,
    }  # fmt: skip
    assert drill_files.Order(**order).backup == "label-996400"
    assert {host for host, _, _ in fleet.asked} == {"keep1"}
    one.note(RESULT)
    assert "/var/lib/pgbackrest-drill/results/1000000-20261129-070434F.json" in fleet.asked[-1][1]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (json.dumps(RESULT | {"id": "another"}), "came to no end"),
        ("", "came to no end|not understood"),
        (json.dumps(RESULT | {"rto": "soon"}), "a result that is not understood"),
    ],
)
def test_another_result_is_none_of_this_drill(monkeypatch: pytest.MonkeyPatch, said: str, why: str) -> None:
    monkeypatch.setattr("day2.recovery.drill.uuid.uuid4", lambda: "1")
    with pytest.raises(ClusterError, match=why):
        drilling(results=said)[0].run(None)


@pytest.mark.parametrize("said", ["0/1; reboot 000000010000000000000001", "0/1 $(reboot)", "0/1", ""])
def test_what_one_host_says_is_no_command_for_another(said: str) -> None:
    one, fleet = drilling(insert=said)
    with pytest.raises(ClusterError, match="db1: an answer that is not understood"):
        one.moment("db1", WITH.host("db2"), "4c2f")
    assert {host for host, _, _ in fleet.asked} == {"db1"}


def test_the_row_at_risk_is_the_first_of_a_file_and_counted_from_its_acknowledgement(monkeypatch: pytest.MonkeyPatch) -> None:
    one, fleet = drilling(insert="0/5000100 000000010000000000000005\n")
    monkeypatch.setattr("day2.recovery.drill.time.monotonic", lambda: 100.0)
    assert one.first_of_a_file("db1", "4c2f") == ("000000010000000000000005", 100.0)
    (asked,) = [command for _, command, _ in fleet.asked]
    assert asked.index("pg_switch_wal") < asked.index("insert into probe") < asked.index("pg_current_wal_flush_lsn")
    now = iter((107.0, 107.0))
    monkeypatch.setattr("day2.recovery.drill.time.monotonic", lambda: next(now))
    archive = json.dumps([{"archive": [{"max": "000000010000000000000005"}, {"max": None}]}])
    assert drilling(info=archive)[0].exposed("000000010000000000000005", 100.0, 60.0, Event()) == 7.0


class Passing(Event):
    """Time goes by at once."""

    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


def test_a_newer_timeline_s_files_are_none_of_the_row_s_until_they_have_come_as_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failover the last name in the archive is greater at once."""
    now = iter((101.0, 109.0))
    monkeypatch.setattr("day2.recovery.drill.time.monotonic", lambda: next(now))
    one, _ = drilling()
    seen = iter(("000000020000000000000006", "000000020000000000000007"))
    monkeypatch.setattr(one, "_archived", lambda: next(seen))
    assert one.exposed("000000010000000000000007", 100.0, 60.0, Passing()) == 9.0


def test_a_row_that_gets_to_no_archive_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("day2.recovery.drill.time.monotonic", lambda: 1000.0)
    nothing = json.dumps([{"archive": []}])
    assert drilling(info=nothing)[0].exposed("000000010000000000000005", 100.0, 60.0, Event()) is None
    given_up = Event()
    given_up.set()
    assert drilling(info=nothing)[0].exposed("000000010000000000000005", 990.0, 60.0, given_up) is None


def test_a_file_that_does_not_come_by_itself_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter((100.0, 1000.0))
    monkeypatch.setattr("day2.recovery.drill.time.monotonic", lambda: next(now))
    one, fleet = drilling(info=json.dumps([{"archive": []}]))
    one.await_archived("000000010000000000000005", 60.0)
    assert fleet.asked[-1][1].startswith("runuser -u pgbackrest -- pgbackrest --stanza=shop check")


def test_a_drill_that_is_broken_off_waits_for_no_row() -> None:
    stopped: list[bool] = []

    def work(stop: Event) -> None:
        stopped.append(stop.wait(60))

    with pytest.raises(KeyboardInterrupt), beside(work):
        raise KeyboardInterrupt
    assert stopped == [True]


AFTER = (2, "1\t0/3000000\tbefore 2026-11-29 07:00:00+00")  # a restore has begun timeline 2 there


def kept_after_a_restore(*there: Backup, runs: bool = False, leader: int = 2) -> ClusterView:
    """Its own backup may be being made; the primary writes that timeline."""
    made = tuple(BackupRun("full", running=runs, failed=False, ended=None) for _ in range(1))
    state = views.backups(*there, archived=views.archived((1, 5), timeline=2), history=AFTER, runs=made)
    before = views.backed_up(keep1=views.keeper(backups=state))
    postgres = before.hosts["db1"].postgres
    assert postgres
    return ClusterView({**before.hosts, "db1": replace(before.hosts["db1"], postgres=replace(postgres, timeline=leader))})


def test_after_a_restore_the_newest_backup_that_leads_to_what_the_cluster_has_now_is_proven() -> None:
    def made(timeline: int, lsn: int, age: float) -> Backup:
        return views.backup(age=age, wal_last=f"{timeline:08X}0000000000000002", lsn=lsn)

    old, left, new = made(1, 0x2000000, 900.0), made(1, 0x3000100, 600.0), made(2, 0x3000200, 60.0)
    assert chosen(view=kept_after_a_restore(old, left)).backup == old
    choice = chosen(view=kept_after_a_restore(old, left, new))
    assert (choice.backup, choice.uncompared) == (new, "") and choice.replica
    # By which it could be undone: no replica has what that leads to.
    named = chosen(view=kept_after_a_restore(old, left, new), backup=left.label)
    assert named.backup == left and named.replica is None
    assert named.uncompared == (
        f"{left.label} is of timeline 1, which does not lead to what the cluster has now (timeline 2), and is recovered as far as"
        " that one leads"
    )
    with pytest.raises(ClusterError, match=r"nothing to prove yet: .* of timeline 1, .*; the one that is being made does"):
        chosen(view=kept_after_a_restore(left, runs=True))
    with pytest.raises(ClusterError, match=r"nothing to prove yet: .*; the next one does: `invoke backup`"):
        chosen(view=kept_after_a_restore(left))
    # A restore that was called off when its server had begun a timeline.
    assert chosen(view=kept_after_a_restore(old, left, leader=1)).backup == left


def test_a_second_drill_on_a_host_waits_for_its_turn_with_the_operator() -> None:
    drilling(ActiveState="inactive\n")[0].refuse_second()
    with pytest.raises(ClusterError, match="keep1: a drill goes on there already"):
        drilling(ActiveState="activating\n")[0].refuse_second()
