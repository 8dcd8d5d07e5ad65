"""Drills of backups without a host: what proves one, what does not, what it is made of and how it is told."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import views
from clusters import cluster, problems
from clusters import hosts as inventory
from drills import RESULT, archive, backrest

from agents import drill, drill_files, recovery
from agents.contents import Asked, ContentsError
from agents.parts import pgbackrest
from agents.sent import collector
from cluster.components import DRILL_TIMER
from cluster.drill import Comparison, Contents, Marker, Measured, compare, contents_of, ends_early, failures, needed, no_room
from cluster.topology import Cluster
from health.backup_states import BackupRun, BackupState, Drill
from health.finding import Finding
from health.questions import questions
from health.reading import host_view
from health.rules import findings

WITH = views.BACKED_UP
KEEPER = WITH.backup_hosts[0]
GB = 1024**3
SEEN = Measured("", Marker("run", before=True, after=False), (), 0, ())
PLACE = recovery.Place(Path("/d/copy/data"), Path("/d/copy/tablespaces"), Path("/run/d"), 5432)


def test_a_drill_that_has_seen_nothing_wrong_proves_its_backup() -> None:
    assert failures(SEEN) == failures(Measured()) == []


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (replace(SEEN, stopped="pgbackrest has failed"), "pgbackrest has failed"),
        (replace(SEEN, marker=Marker("run", before=False, after=False)), "a row is not there that was acknowledged"),
        (replace(SEEN, marker=Marker("run", before=True, after=True)), "a row is there that was written after"),
        (replace(SEEN, early=ends_early("0/5000108", "000000010000000000000009")), "recovery has ended at 0/5000108, and the"),
        (replace(SEEN, complaints=("index broken",)), "pg_amcheck complains: index broken"),
        (replace(SEEN, bad_pages=2), "2 pages have wrong checksums"),
        (replace(SEEN, differences=("app: t",)), "the copy differs from the replica at the same moment: app: t"),
    ],
)
def test_each_thing_that_is_wrong_fails_it(measured: Measured, said: str) -> None:
    (text,) = failures(measured)
    assert text.startswith(said)


def test_of_many_complaints_the_first_are_told_and_how_many_more_there_are() -> None:
    (text,) = failures(replace(SEEN, complaints=tuple(f"c{n}" for n in range(50))))
    assert "c19" in text and "c20" not in text and text.endswith("and 30 more")


HERE: Contents = {"app": {"public.t": (3, "17"), "public.big": None, "public.u": (1, "5")}}


@pytest.mark.parametrize(
    ("there", "differences", "same"),
    [
        ({"app": {"public.t": (3, "17"), "public.big": (9, "1"), "public.u": (1, "5")}}, [], (2, 4, 1)),
        ({"app": {"public.t": (2, "17"), "public.big": None, "public.u": (1, "5")}}, ["has 2 rows, and 3 on"], (1, 1, 1)),
        ({"app": {"public.t": (3, "18"), "public.big": None, "public.u": (1, "5")}}, ["with other contents"], (1, 1, 1)),
        ({"app": {"public.t": (3, "17"), "public.u": (1, "5")}}, ["public.big is on the replica alone"], (2, 4, 0)),
        ({"app": HERE["app"] | {"public.x": (0, "0")}}, ["public.x is on the copy alone"], (2, 4, 1)),
        ({}, ["database app is on the replica alone"], (0, 0, 0)),
        (HERE | {"b": {}}, ["database b is on the copy alone"], (2, 4, 1)),
    ],
)
def test_the_copy_is_compared_table_by_table(there: Contents, differences: list[str], same: tuple[int, int, int]) -> None:
    found: Comparison = compare(HERE, there)
    assert len(found.differences) == len(differences)
    assert all(part in text for part, text in zip(differences, found.differences, strict=True))
    assert (found.tables, found.rows, found.left_out) == same


def test_contents_come_through_json_as_they_were() -> None:
    assert contents_of(json.loads(json.dumps(HERE))) == HERE


def test_room_is_what_the_data_takes_and_some_and_a_twentieth_of_the_disk_stays_free() -> None:
    assert needed(10 * GB) > 11 * GB
    assert no_room(10 * GB, needed(10 * GB) + 5 * GB, 100 * GB) is None
    why = no_room(10 * GB, needed(10 * GB) + 5 * GB - 1, 100 * GB)
    assert why and f"{needed(10 * GB):,} bytes for {10 * GB:,}" in why and f"{needed(10 * GB) - 1:,} are free" in why


def test_the_restore_is_told_where_to_and_to_archive_nothing() -> None:
    newest = recovery.restore_options(PLACE, "L", recovery.Target(), 2)
    assert {"--pg1-path=/d/copy/data", "--set=L", "--archive-mode=off", "--tablespace-map-all=/d/copy/tablespaces"} <= set(newest)
    assert {"--type=default", "--target-timeline=latest"} <= set(newest)
    assert recovery.restore_environment(PLACE)["PGBACKREST_SPOOL_PATH"] == "/run/d"  # not the living server's
    at = recovery.restore_options(PLACE, "L", recovery.Target("0/9", "3"), 2)
    assert {"--type=lsn", "--target=0/9", "--target-exclusive", "--target-action=promote", "--target-timeline=3"} <= set(at)


def test_the_server_on_the_copy_keeps_to_itself_and_has_what_its_log_asks_for() -> None:
    control = "max_prepared_xacts setting:           7\nmax_locks_per_xact setting:           640\nother:  1\n"
    options = recovery.parameters(PLACE, control)
    quiet = {"listen_addresses": "", "archive_mode": "off", "max_wal_senders": "0", "max_logical_replication_workers": "0"}
    assert quiet.items() <= options.items()
    assert options["shared_preload_libraries"] == options["primary_conninfo"] == ""
    assert (options["max_prepared_transactions"], options["max_locks_per_transaction"]) == ("7", "640")


@pytest.fixture
def plan(tmp_path: Path) -> drill_files.Plan:
    runtime = tmp_path / "run"
    runtime.mkdir()
    return drill_files.Plan("shop", "keep1", str(tmp_path / "bin"), str(tmp_path), "/c", "/c.d", str(runtime))


def kept(plan: drill_files.Plan) -> dict[str, Any]:
    (file,) = plan.results.glob("*.json")
    return dict(json.loads(file.read_text()))


def test_a_replica_that_tells_of_no_table_proves_nothing(plan: drill_files.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    one = drill.Drill(plan, drill_files.Order(replica="db3"), drill_files.Result("shop", "keep1", ""))
    monkeypatch.setattr(drill, "contents", lambda psql, connection, like: {})
    with pytest.raises(drill.ContentsError, match="db3 has told of no table, so nothing was compared"):
        one.compare({})


def backup(label: str, timeline: int, lsn: str, ended: float, size: int = 100, version: int = 2) -> dict[str, Any]:
    """As `pgbackrest info` has it."""
    return {
        "label": label, "type": "full", "info": {"size": size}, "database": {"id": version}, "timestamp": {"stop": ended},
        "archive": {"stop": f"{timeline:08X}0000000000000001"}, "lsn": {"stop": lsn}, "error": False,
    }  # fmt: skip


ARCHIVES = [{"database": {"id": 1}, "id": "17-1"}, {"database": {"id": 2}, "id": "18-2"}]


def info(*backups: dict[str, Any], archives: list[dict[str, Any]] = ARCHIVES) -> str:
    return json.dumps([{"backup": backups, "archive": archives, "db": [{"id": 1}, {"id": 2}]}])


BACKUP = backup("L1", 4, "0/2000100", 500.0)
THERE = info(BACKUP)
LOG = archive(
    ("000000030000000000000001", "000000040000000000000002", "000000040000000000000009"),
    {4: ("3 0/1000000 no recovery target specified", 100.0)},
    "archive/shop/18-2",
)


def test_a_restore_that_fails_leaves_a_result_that_says_so(plan: drill_files.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    fails = "echo 'WARN: a' >&2; echo 'ERROR: [029] corrupt' >&2; exit 29"
    script = f"case \"$*\" in *info*) echo '{THERE}';; {LOG} *) {fails};; esac"
    backrest(Path(plan.directory), monkeypatch, script)
    assert drill.main(plan) == 1
    result = kept(plan)
    assert result["failures"] == ["pgbackrest has failed: ERROR: [029] corrupt"] and result["passed"] is False
    assert (result["backup"], result["size"], result["format"]) == ("L1", 100, "pgquorum drill 1")


class Server:
    """In place of PostgreSQL on a copy: recovery has ended at `reached`, and nothing is wrong with what is there."""

    def __init__(self, reached: str, binaries: Path) -> None:
        self._reached, self._binaries = reached, binaries
        for name, said in (("pg_amcheck", ""), ("pg_checksums", "Blocks scanned: 1\nBad checksums: 0")):
            binaries.mkdir(exist_ok=True)
            (binaries / name).write_text(f"#!/bin/sh\necho '{said}'\n")
            (binaries / name).chmod(0o755)

    def __call__(self, binaries: str, place: recovery.Place) -> Server:
        self.place = place
        return self

    def program(self, name: str) -> str:
        return str(self._binaries / name)

    def connection(self) -> dict[str, str]:
        return dict(os.environ)

    def recovered_to(self) -> str:
        return self._reached

    def __getattr__(self, name: str) -> Any:
        return lambda *words: ""


@pytest.mark.parametrize(
    ("reached", "passed"),
    [
        ("0/9000028", True),  # in the last file: what goes on in the next one is not there yet
        ("0/A000000", True),  # that one was ended before it was full
        ("0/B000028", True),  # more was archived meanwhile
        ("0/9000000", False),  # nothing of the last file
        ("0/5000108", False),
        ("", False),
    ],
)
def test_recovery_to_the_end_proves_nothing_where_it_ends_before_the_last_file_that_is_archived(
    plan: drill_files.Plan, monkeypatch: pytest.MonkeyPatch, reached: str, passed: bool
) -> None:
    """To PostgreSQL a file that is missing is the end of the log."""
    asked = Path(plan.directory) / "asked"
    script = f'case "$*" in *info*) echo \'{THERE}\';; {LOG} *) echo "$@" >>{asked};; esac'
    backrest(Path(plan.directory), monkeypatch, script)
    plan.copy.parent.mkdir(exist_ok=True)
    monkeypatch.setattr(drill, "PrivateServer", Server(reached, Path(plan.binaries)))
    assert drill.main(plan) == (0 if passed else 1)
    result = kept(plan)
    assert (result["archived_to"], result["timeline"]) == ("000000040000000000000009", "4")
    # Not `latest`: a number that was passed over has no history in the archive, and that ends PostgreSQL's own look for it.
    assert "--type=default --target-timeline=4" in asked.read_text()
    if not passed:
        assert "the archive went on to 000000040000000000000009: between them a file is missing in it" in result["failures"][0]


def test_one_run_of_the_timer_takes_each_repository_whose_turn_it_is(
    plan: drill_files.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has become of one keeps none of the others from its own."""
    plan = replace(plan, repositories={"local": 1, "s3": 2}, proven_days=15)
    script = f"case \"$*\" in *repo=1*info*) echo '[]';; *info*) echo '{THERE}';; {LOG} esac"
    backrest(Path(plan.directory), monkeypatch, script)
    monkeypatch.setattr(drill, "PrivateServer", Server("0/9000028", Path(plan.binaries)))
    plan.copy.mkdir()  # as one before has left it
    assert drill.main(plan) == 1
    results = [json.loads(file.read_text()) for file in plan.results.glob("*.json")]
    assert {one["repository"]: one["failures"] for one in results} == {"local": ["there is no backup"], "s3": []}


def test_there_has_to_be_room_for_what_replay_makes_of_an_old_backup(
    plan: drill_files.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk may be the repository's own, and archiving stops when that is full."""
    there = info(BACKUP, backup("L2", 4, "0/3000100", 600.0, size=2**60), backup("L3", 4, "0/4000100", 700.0))
    backrest(Path(plan.directory), monkeypatch, f"case \"$*\" in *info*) echo '{there}';; {LOG} esac")
    plan.order.write_text(json.dumps({"id": "mine", "backup": "L1"}))
    assert drill.main(plan) == 1
    assert f"for {2**60:,} of data" in kept(plan)["failures"][0] and kept(plan)["size"] == 100
    plan.order.write_text(json.dumps({"id": "mine", "backup": "L3"}))
    one = drill.Drill(plan, drill_files.Order(backup="L3"), drill_files.Result("shop", "keep1", ""))
    one.choose()
    assert one.result.backup == "L3"


def test_a_disk_of_its_own_for_drills_is_watched() -> None:
    assert "/var/lib/pgbackrest-drill" in questions(WITH, KEEPER)["disks"]["paths"]
    assert WITH.drill_directory(WITH.host("db2")) in questions(WITH, WITH.host("db2"))["disks"]["paths"]
    assert not any("drill" in path for path in questions(cluster(), cluster().host("db2"))["disks"]["paths"])


def test_where_an_archive_has_nothing_no_drill_is_begun(plan: drill_files.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    backrest(Path(plan.directory), monkeypatch, f"echo '{info(BACKUP, archives=ARCHIVES[:1])}'")
    assert drill.main(plan) == 1
    assert kept(plan)["failures"] == ["there is no write-ahead log in the archive"]


BACK = "4 0/3000000 before 2026-11-29 07:00:00+00"  # a restore has begun timeline 5 there
OLD, LEFT, NEW = BACKUP, backup("L2", 4, "0/5000100", 600.0), backup("L3", 5, "0/4000100", 900.0)
FILES = ("000000040000000000000002", "000000040000000000000009", "000000050000000000000003", "000000050000000000000004")


def restored(plan: drill_files.Plan, monkeypatch: pytest.MonkeyPatch, *backups: dict[str, Any]) -> Path:
    """A repository after a restore of the cluster, with these backups; the file that has what pgBackRest is asked to restore."""
    asked = Path(plan.directory) / "asked"
    log = archive(FILES, {4: ("3 0/1000000 x", 100.0), 5: (f"3 0/1000000 x\n{BACK}", 800.0)}, "archive/shop/18-2")
    backrest(
        Path(plan.directory), monkeypatch, f'case "$*" in *info*) echo \'{info(*backups)}\';; {log} *) echo "$@" >>{asked};; esac'
    )
    monkeypatch.setattr(drill, "PrivateServer", Server("0/9000028", Path(plan.binaries)))
    plan.copy.parent.mkdir(exist_ok=True)
    return asked


@pytest.mark.parametrize(
    ("backups", "named", "proven", "timeline", "last"),
    [
        ((OLD, LEFT), "", "L1", "5", "000000050000000000000004"),  # the restore's own is being made
        ((OLD, LEFT, NEW), "", "L3", "5", "000000050000000000000004"),
        ((OLD, LEFT, NEW), "L1", "L1", "5", "000000050000000000000004"),
        # By which the restore can be undone: as far as the course leads that was left.
        ((OLD, LEFT, NEW), "L2", "L2", "4", "000000040000000000000009"),
        # One that was called off when its server had begun a timeline: the cluster goes on where it was.
        ((OLD, LEFT, backup("L4", 4, "0/8000100", 900.0)), "", "L4", "4", "000000040000000000000009"),
    ],
)  # fmt: skip
def test_after_a_restore_the_newest_backup_that_leads_to_what_the_cluster_has_now_is_proven(
    plan: drill_files.Plan,
    monkeypatch: pytest.MonkeyPatch,
    backups: tuple[dict[str, Any], ...],
    named: str,
    proven: str,
    timeline: str,
    last: str,
) -> None:
    """Along another timeline than its own PostgreSQL does not start on it."""
    asked = restored(plan, monkeypatch, *backups)
    plan.order.write_text(json.dumps({"backup": named}))
    assert drill.main(plan) == 0
    result = kept(plan)
    assert (result["backup"], result["timeline"], result["archived_to"]) == (proven, timeline, last)
    assert f"--set={proven}" in asked.read_text() and f"--target-timeline={timeline} " in asked.read_text()


def test_where_no_backup_leads_to_what_the_cluster_has_now_there_is_nothing_to_prove_yet(
    plan: drill_files.Plan, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is no drill that failed: the restore's own backup is being made. Nor does it keep another repository from its turn."""
    asked = restored(plan, monkeypatch, LEFT)
    assert drill.main(plan) == 0
    assert (
        "nothing to prove yet: the cluster writes timeline 5, and no backup leads there (there is L2)" in capfd.readouterr().err
    )
    assert not asked.exists() and not list(plan.results.glob("*.json"))
    two = replace(plan, repositories={"local": 1, "s3": 2}, proven_days=None)
    there = {"local": [LEFT], "s3": [OLD]}

    def look(order: drill_files.Order) -> bool | None:
        seen.append(order.repository)
        return None if there[order.repository] == [LEFT] else True

    seen: list[str] = []
    monkeypatch.setattr(drill, "one", lambda plan, order: look(order))
    assert drill.main(two) == 0 and seen == ["local", "s3"]


def test_an_order_is_taken_once_and_one_for_a_backup_that_is_gone_fails(
    plan: drill_files.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    backrest(Path(plan.directory), monkeypatch, f"echo '{THERE}'")
    plan.order.write_text(json.dumps({"id": "mine", "backup": "L0", "contents": HERE}))
    assert drill.main(plan) == 1
    assert not plan.order.exists()
    assert kept(plan)["id"] == "mine" and "there is no backup L0: should be one of L1" in kept(plan)["failures"][0]


def test_an_order_that_nobody_waits_for_any_more_is_not_taken(plan: drill_files.Plan) -> None:
    plan.order.write_text(json.dumps({"id": "old"}))
    os.utime(plan.order, (1, 1))
    assert drill_files.take_order(plan) == drill_files.Order()
    assert not plan.order.exists()


def test_a_query_that_takes_too_long_is_left_out_and_one_that_fails_is_told(tmp_path: Path) -> None:
    """By a psql that answers as the real one does."""
    psql = tmp_path / "psql"
    psql.write_text(
        "#!/bin/sh\nwhile read -r line; do case $line in"
        " *slow*) echo 'ERROR: canceling statement due to statement timeout' >&2; echo;;"
        " *bad*) echo 'ERROR: no such thing' >&2; echo;;"
        " *good*) echo '[1]'; echo;; esac; done\n"
    )
    psql.chmod(0o755)
    with Asked(str(psql), dict(os.environ)) as asked:
        assert asked.json("good") == [1]
        assert asked.json("slow", 1.0) is None
        with pytest.raises(ContentsError, match="no such thing"):
            asked.json("bad")
        assert asked.json("good") == [1]


def test_results_that_are_old_go(plan: drill_files.Plan) -> None:
    for n in range(drill_files.MOST_RESULTS + 3):
        drill_files.keep(plan, drill_files.Result("shop", "keep1", str(n), f"L{n}", began=1_000_000.0 + n))
    there = sorted(plan.results.iterdir())
    assert len(there) == drill_files.MOST_RESULTS and there[0].name == "1000003-L3.json"


def told(state: BackupState, of: Cluster = WITH) -> list[Finding]:
    found = findings(views.backed_up(keep1=views.keeper(backups=state)), of)
    return [f for f in found if f.rule in ("backups.drill-failed", "backups.not-proven")]


DAY = 86_400.0
FAILED = views.drill(5.0, passed=False, failures=("x",))


@pytest.mark.parametrize(
    ("drills", "oldest", "days", "rules"),
    [
        ((), 14 * DAY, 15, []),  # a young repository has time
        ((), 16 * DAY, 15, ["backups.not-proven"]),
        ((), 16 * DAY, None, []),
        ((views.drill(14 * DAY),), 99 * DAY, 15, []),
        ((views.drill(16 * DAY),), 99 * DAY, 15, ["backups.not-proven"]),
        ((views.drill(DAY, passed=False, failures=("x",)),), DAY, 15, ["backups.drill-failed"]),
        ((views.drill(DAY, passed=False, failures=("x",)), views.drill(5.0)), DAY, 15, []),
        ((views.drill(20 * DAY), FAILED), 99 * DAY, 15, ["backups.drill-failed", "backups.not-proven"]),
    ],
)  # fmt: skip
def test_a_drill_that_failed_is_told_until_one_passes_and_none_for_too_long(
    drills: tuple[Drill, ...], oldest: float, days: int | None, rules: list[str]
) -> None:
    state = views.backups(views.backup(age=oldest), views.backup(age=60.0), drills=drills)
    assert [f.rule for f in told(state, cluster(backup=True, backup_max_proven_days=days))] == rules


def test_a_drill_that_failed_in_one_repository_is_told_whatever_becomes_of_those_in_others() -> None:
    store = {"type": "s3", "bucket": "backups", "endpoint": "s3.example.com", "region": "r"}
    of = cluster(backup=True, backup_repositories={"local": {"type": "directory"}, "s3": store})
    s3 = replace(views.ARCHIVED, name="s3")
    failed = views.drill(2 * DAY, passed=False, failures=("x",), repository="local")
    both = views.backups(
        views.backup(), views.backup(repository="s3"), repositories=(views.ARCHIVED, s3),
        drills=(failed, views.drill(DAY, repository="s3")),
    )  # fmt: skip
    (found,) = told(both, of)
    assert found.rule == "backups.drill-failed" and "the last drill in repository local has not proven" in found.text
    again = replace(both, drills=(*both.drills, views.drill(5.0, repository="local")))
    assert told(again, of) == []
    # What is wrong before it is known in which one it would have been.
    assert [f.rule for f in told(replace(again, drills=(*again.drills, replace(FAILED, repository=""))), of)] == [
        "backups.drill-failed"
    ]


def test_a_run_in_which_one_of_several_has_failed_has_come_to_its_end() -> None:
    """It has left a result for each; the last of them is a good one."""
    run = BackupRun("drill", running=False, failed=True, ended=999_990, began=999_000)
    drills = (views.drill(500.0, passed=False, failures=("x",)), views.drill(10.4, repository="local"))
    assert told(views.backups(drills=drills, drilling=run)) == []
    killed = replace(run, began=999_800)
    assert ["came to no end" in f.text for f in told(views.backups(drills=drills, drilling=killed))] == [True]


def test_a_drill_that_was_killed_is_told_until_another_comes_to_an_end() -> None:
    killed = BackupRun("drill", running=False, failed=True, ended=999_900)
    (found,) = told(views.backups(drills=(views.drill(DAY),), drilling=killed))
    assert found.rule == "backups.drill-failed" and "came to no end" in found.text
    assert told(views.backups(drills=(views.drill(50.0),), drilling=killed)) == []
    assert told(views.backups(drills=(views.drill(DAY),), drilling=replace(killed, failed=False))) == []


def test_what_the_keeper_says_of_drills_is_read() -> None:
    said = {
        "version": "pgBackRest 2.60.0", "repositories": {}, "timers": {}, "archives": {},
        "runs": {"drill": {"ActiveState": "activating", "ExecMainStartTimestamp": "", "ExecMainExitTimestamp": ""}},
        "drills": [{"backup": "L", "host": "db2", "passed": True, "ended": 1_000_000.0, "failures": [], "rto": 4.4,
                    "compared": True, "repository": "s3"}],
    }  # fmt: skip
    state = host_view("keep1", json.dumps({"time": 1_000_060.0, "pgbackrest": {"is": said}}), 0.0).backups
    assert state and state.drills == (Drill("L", "db2", True, 1_000_000.0, 60.0, (), 4.4, compared=True, repository="s3"),)
    assert state.drilling == BackupRun("drill", running=True, failed=False, ended=None) and state.runs == ()


def test_of_a_drill_so_much_is_collected_as_is_judged(tmp_path: Path) -> None:
    for n in (1, 2):
        (tmp_path / f"{n}-L.json").write_text(json.dumps({**RESULT, "backup": f"L{n}"}))
    (tmp_path / "3-L.half").write_text("{")
    first, second = pgbackrest.drills(tmp_path)
    assert (first["backup"], second["backup"]) == ("L1", "L2")
    assert first == {
        "backup": "L1", "host": "keep1", "passed": True, "ended": 1_000_100.0, "failures": [], "rto": 4.4, "compared": True,
        "repository": "local",
    }  # fmt: skip
    untouched = {**RESULT["compared"], "tables": 0, "rows": 0, "left_out": 276}
    (tmp_path / "2-L.json").write_text(json.dumps({**RESULT, "compared": untouched}))
    assert [one["compared"] for one in pgbackrest.drills(tmp_path)] == [True, False]
    (tmp_path / "3-L.json").symlink_to(tmp_path / "1-L.json")
    with pytest.raises(OSError):  # whose file it is could have put any path there
        pgbackrest.drills(tmp_path)


def test_what_came_of_a_drill_on_another_host_is_told_though_nobody_has_noted_it_where_the_backups_are(tmp_path: Path) -> None:
    asked = questions(WITH, WITH.host("db3"))["drilled"]
    assert asked == {"path": f"{WITH.drill_directory(WITH.host('db3'))}/results", "cluster": "shop"}
    assert "drilled" not in questions(WITH, KEEPER) and "drilled" not in questions(cluster(), cluster().host("db3"))
    bad = {**RESULT, "host": "db3", "passed": False, "failures": ["x"], "ended": 999_990.0}
    for n, result in enumerate(({**bad, "cluster": "former"}, {**RESULT, "host": "db3", "ended": 999_000.0}, bad)):
        (tmp_path / f"{n}-L.json").write_text(json.dumps(result))
    said = collector.collect({"drilled": {**asked, "path": str(tmp_path)}})
    host = host_view("db3", json.dumps({**said, "time": 1_000_000.0}), 0.0)
    noted, failed = host.drills
    assert (failed.host, failed.passed, failed.age) == ("db3", False, 10.0)
    view = views.backed_up(
        keep1=views.keeper(backups=views.backups(drills=(noted,))), db3=views.database("db3", drills=host.drills)
    )
    (found,) = [one for one in findings(view, WITH) if one.rule == "backups.drill-failed"]
    assert found.about == "keep1" and "(on db3): x" in found.text
    state = view.backups_of("keep1")
    assert state and state.drills == (noted, failed) and state.proven["20261129-070434F"] == failed


def test_the_timer_is_asked_for_where_the_settings_have_one() -> None:
    assert DRILL_TIMER in questions(WITH, KEEPER)["pgbackrest"]["timers"]
    none = cluster(backup=True, backup_drill_schedule=None)
    assert DRILL_TIMER not in questions(none, none.backup_hosts[0])["pgbackrest"]["timers"]


def test_the_keeper_has_postgresql_to_run_on_a_backup_and_other_hosts_have_it_once() -> None:
    assert {"pgbackrest", "postgresql-18", "postgresql-client-18"} <= set(WITH.packages(KEEPER))
    for host in WITH.hosts:
        assert len(set(WITH.packages(host))) == len(WITH.packages(host))
    assert "postgresql-18" not in WITH.packages(WITH.haproxy_hosts[0])


@pytest.mark.parametrize(("setting", "value"), [("drill_pause", 3601), ("max_proven_days", 0), ("drill_schedule", "; rm")])
def test_settings_that_mean_nothing_are_refused(setting: str, value: object) -> None:
    (problem,) = problems(inventory(backup=True, **{f"backup_{setting}": value}))
    assert problem.startswith(f"backup_{setting} = {value!r}: should be")


@pytest.mark.parametrize(("code", "ends"), [(0, 0), (1, 1), (25, 255), (103, 255), (127, 255)])
def test_only_that_a_file_is_not_there_is_the_end_of_the_log(code: int, ends: int) -> None:
    """PostgreSQL goes on without a file for each code up to 125, as if there were no more."""
    done = subprocess.run(["sh", "-c", recovery.careful(f"(exit {code})")], check=False)
    assert done.returncode == ends


def test_what_the_restore_has_written_is_read() -> None:
    text = "work_mem = '4MB'\nrestore_command = 'old'\nrestore_command = 'pgbackrest --pg1-path=''/d'' archive-get %f \"%p\"'\n"
    assert recovery.restore_command(text) == "pgbackrest --pg1-path='/d' archive-get %f \"%p\""
    assert recovery.restore_command("") == ""
