"""Backups without a host: what the settings may be, what is archived, what is read of the keeper, and what is wrong with it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import views
from clusters import KEEPERS, NEEDED, cluster, hosts, problems

from agents.sent import collector
from cluster.building import RawHost
from cluster.components import COMPONENTS
from cluster.dynamic_config import postgres_parameters
from cluster.errors import ClusterError
from cluster.firewall import doors
from cluster.layout import layout_of
from cluster.vault import Vault, password_names
from day2.commands.backups.keeper import keeper
from day2.commands.backups.listing import age, as_row, cells
from day2.hosts.ssh import CommandResult
from day2.recovery.actions import RestoreActions
from health.backup_states import BackupRun
from health.deployed import unmet
from health.questions import questions
from health.reading import backup_run, host_view
from health.rules import blocking, findings
from health.states import Archiver, Disk
from operations import pgbackrest
from operations.managed import render

WITHOUT, WITH = cluster(), cluster(backup=True)
PGBACKREST = next(component for component in COMPONENTS if component.name == "pgbackrest")
# What `pgbackrest info --output=json` of 2.60 prints, but for what nobody reads.
INFO = [{
    "archive": [{"database": {"id": 1, "repo-key": 1}, "id": "18-1", "max": "00000002000000000000000B",
                 "min": "000000010000000000000004"}],
    "backup": [
        {"archive": {"start": "000000010000000000000004", "stop": "000000010000000000000005"}, "error": False,
         "lsn": {"start": "0/4000028", "stop": "0/5000120"},
         "info": {"delta": 23_000_000, "repository": {"delta": 3_000_000, "delta-map": 12}, "size": 23_000_000},
         "label": "20261129-031500F", "timestamp": {"start": 1_000_000, "stop": 1_000_010}, "type": "full"},
        {"archive": {"start": "00000002000000000000000A", "stop": "00000002000000000000000B"}, "error": False,
         "lsn": {"start": "0/A000028", "stop": "0/B000120"},
         "info": {"delta": 90_000, "repository": {"delta": 10_000, "delta-map": 8}, "size": 23_000_000},
         "label": "20261129-031500F_20261129-032000I", "timestamp": {"start": 1_000_100, "stop": 1_000_103}, "type": "incr"},
    ],
    "name": "shop", "status": {"code": 0, "message": "ok"},
}]  # fmt: skip
RUNS = {
    "full": {"ActiveState": "inactive", "ExecMainStartTimestamp": "@1000000", "ExecMainExitTimestamp": "@1000010"},
    "diff": {"ActiveState": "activating", "ExecMainStartTimestamp": "@1000011", "ExecMainExitTimestamp": ""},
    "incr": {"ActiveState": "failed", "ExecMainStartTimestamp": "@1000190", "ExecMainExitTimestamp": "@1000200"},
}


def test_without_a_host_for_them_a_cluster_is_what_it_was() -> None:
    assert WITHOUT.backup_hosts == WITHOUT.pgbackrest_hosts == WITHOUT.carriers(PGBACKREST) == ()
    assert "pgbackrest" not in {package for host in WITHOUT.hosts for package in WITHOUT.packages(host)}
    assert postgres_parameters(WITHOUT)["archive_command"] == "/bin/true"
    assert "archive_timeout" not in postgres_parameters(WITHOUT)
    assert "backup_cipher" not in password_names(WITHOUT)
    assert all(8432 not in [door.port for door in doors(WITHOUT, host)] for host in WITHOUT.hosts)
    assert {name for host in WITHOUT.hosts for name in questions(WITHOUT, host)} & {"pgbackrest"} == set()
    assert "backup" not in str(layout_of(WITHOUT))


def test_with_one_the_database_hosts_carry_pgbackrest_too_and_the_proxy_does_not() -> None:
    carriers = [host.name for host in WITH.hosts if "pgbackrest" in WITH.packages(host)]
    assert carriers == ["db1", "db2", "db3", "keep1"]
    assert {host.name: [door.port for door in doors(WITH, host)].count(8432) for host in WITH.hosts} == {
        "db1": 1, "db2": 1, "db3": 1, "keep1": 1, "proxy1": 0,
    }  # fmt: skip
    assert WITH.directories(WITH.host("keep1")) == {"backup_directory": "/var/lib/pgbackrest"}
    assert "backup_directory" not in WITH.directories(WITH.host("db1"))


def test_postgresql_archives_by_pgbackrest_then_and_on_a_quiet_cluster_each_minute_unless_the_owner_says_otherwise() -> None:
    parameters = postgres_parameters(WITH)
    assert parameters["archive_mode"] == "on" and parameters["archive_timeout"] == "60s"
    assert parameters["archive_command"] == "/usr/local/lib/pgquorum/pgbackrest-push %p"
    assert "pgbackrest" in parameters["archive_command"]  # or it refuses to make a backup
    slower = postgres_parameters(cluster(backup=True, postgres_parameters={"archive_timeout": "10min"}))
    assert slower["archive_timeout"] == "10min"


@pytest.mark.parametrize("name", ["archive_command", "archive_mode", "archive_library"])
def test_a_way_to_archive_of_the_owners_and_ours_are_refused_together(name: str) -> None:
    (problem,) = problems(hosts(backup=True, postgres_parameters={name: "on"}))
    assert problem.startswith(f"postgres_parameters[{name}] = 'on': group 'backup' has a host, to which pgBackRest archives")
    assert problems(hosts(postgres_parameters={name: "on"})) == []


def test_two_hosts_for_backups_are_refused_and_one_that_has_the_data() -> None:
    two = hosts(backup=True)
    two["keep2"] = RawHost(frozenset({"backup"}), {"address": "10.0.0.7", **NEEDED})
    assert problems(two) == ["group 'backup' has 2 hosts (keep1, keep2): should be one, or none"]
    beside = hosts()
    beside["db1"] = RawHost(beside["db1"].groups | {"backup"}, beside["db1"].data)
    assert problems(beside) == ["host db1 is in groups 'backup' and 'postgres': backups should lie where the data does not"]


def test_a_time_that_a_timer_would_not_take_is_refused() -> None:
    (problem,) = problems(hosts(backup=True, backup_full_schedule="Sun 01:00; reboot"))
    assert problem.startswith("backup_full_schedule = 'Sun 01:00; reboot': should be a time as in a timer of systemd")


def test_the_secrets_of_a_cluster_that_lives_get_an_authority_when_backups_begin_and_it_can_not_be_lost(tmp_path: Path) -> None:
    settings = {"secrets_directory": str(tmp_path / "secrets")}
    before = Vault(cluster(**settings), {})
    assert not any("backup" in name for name in before.save())
    began = Vault(cluster(backup=True, **settings), {})
    written = set(began.save())
    assert {"backup-ca.key", "backup-ca.crt", "keep1-pgbackrest.key", "db1-pgbackrest.crt", "passwords.json"} <= written
    assert not any(name.startswith("proxy1") or name.startswith("etcd") for name in written)
    again = Vault(cluster(backup=True, **settings), {})
    assert again.save() == [] and again.password("backup_cipher") == began.password("backup_cipher")
    (tmp_path / "secrets/shop/backup-ca.key").unlink()
    with pytest.raises(ClusterError, match=r"backup-ca\.key or \.crt is missing"):
        Vault(cluster(backup=True, **settings), {})


def test_what_the_keeper_says_is_read() -> None:
    said = {
        "version": "pgBackRest 2.60.0",
        "repositories": {"local": {"is": INFO}},
        "runs": RUNS,
        "timers": {"pgquorum-backup-full.timer": "active"},
        "drills": [],
        "archives": {},
    }
    host = host_view("keep1", json.dumps({"time": 1_000_163.0, "pgbackrest": {"is": said}}), 0.0)
    state = host.backups
    assert state and state.version == "2.60.0" and state.archive_last == "00000002000000000000000B"
    full, incr = state.backups
    assert (full.kind, full.size, full.stored, full.wal_first) == ("full", 23_000_000, 3_000_000, "000000010000000000000004")
    assert incr.age == 60.0 and not incr.damaged
    assert [(run.kind, run.running, run.failed, run.ended) for run in state.runs] == [
        ("full", False, False, 1_000_010), ("diff", True, False, None), ("incr", False, True, 1_000_200),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("unit", "run"),
    [
        ({"ActiveState": "inactive"}, BackupRun("full", False, failed=True, ended=900, began=900)),
        ({"ActiveState": "activating"}, BackupRun("full", True, failed=False, ended=None)),
        ({"ActiveState": "failed", "ExecMainExitTimestamp": "@950"}, BackupRun("full", False, failed=True, ended=950)),
    ],
)
def test_one_that_the_host_was_rebooted_under_or_has_forgotten_has_failed(unit: dict[str, str], run: BackupRun) -> None:
    times = {"ExecMainStartTimestamp": "", "ExecMainExitTimestamp": ""}
    assert backup_run("full", {**times, **unit, "Begun": "900"}) == run
    cut_off = views.backups(
        views.backup(age=500.0), runs=(backup_run("full", {**times, "ActiveState": "inactive", "Begun": "999600"}),)
    )
    found = [one for one in findings(views.backed_up(keep1=views.keeper(backups=cut_off)), WITH) if one.rule == "backups.failed"]
    assert found and found[0].text.startswith("the last backup of type full has failed, or was cut off: ")
    made_up = replace(cut_off, backups=(*cut_off.backups, views.backup(age=10.0)))
    assert not any(one.rule == "backups.failed" for one in findings(views.backed_up(keep1=views.keeper(backups=made_up)), WITH))


def test_a_backup_leaves_a_note_until_it_has_come_to_a_good_end() -> None:
    unit = render("pgbackrest/pgquorum-backup@.service.j2", cluster=WITH)
    lines = [line for line in unit.splitlines() if line.startswith(("StateDirectory", "Exec"))]
    assert [line.partition("=")[0] for line in lines] == ["StateDirectory", "ExecStartPre", "ExecStart", "ExecStartPost"]
    note = f"{questions(WITH, WITH.host('keep1'))['pgbackrest']['begun']}/%i"
    assert lines[0] == "StateDirectory=pgquorum-backup" and note == "/var/lib/pgquorum-backup/%i"
    assert lines[1].endswith(f"touch {note}") and f"rm -f {note} " in lines[3]


def test_a_backup_yields_to_postgresql_and_the_archive_to_nobody() -> None:
    """Commits may wait for the replica that it is made from; on the host that keeps backups the same server takes the archive."""
    for host, yields in (("db1", True), ("keep1", False)):
        unit = render("pgbackrest/pgbackrest.service.j2", cluster=WITH, host=WITH.host(host), user="u")
        assert ("Nice=10" in unit.splitlines(), "CPUWeight=10" in unit.splitlines()) == (yields, yields)


def test_what_a_restore_has_begun_expires_nothing_and_the_next_one_does_as_ever() -> None:
    """Once it has come to a good end; one that failed is made up for by another, which expires nothing either."""
    unit = render("pgbackrest/pgquorum-backup@.service.j2", cluster=WITH)
    asked: list[str] = []

    def run(host: str, command: str) -> CommandResult:
        asked.append(command)
        return CommandResult(host, 0)

    actions = RestoreActions(SimpleNamespace(run=run), WITH, None, print)  # type: ignore[arg-type]
    actions.let_none_expire()
    actions.begin_backup()
    note = "/var/lib/pgquorum-backup/full.expires-none"
    assert f"runuser -u pgbackrest -- sh -c 'echo PGBACKREST_EXPIRE_AUTO=n >{note}'" in asked[0]
    assert asked[1:] == ["systemctl start --no-block pgquorum-backup@full.service"]
    template = note.replace("full", "%i")
    assert f"EnvironmentFile=-{template}\n" in unit
    (removed,) = [line for line in unit.splitlines() if line.startswith("ExecStartPost=")]
    assert removed.endswith(f" {template}") and "ExecStopPost" not in unit


@pytest.mark.parametrize("info", [[], [{"name": "shop"}], [{"name": "shop", "backup": [], "archive": []}]])
def test_a_keeper_that_has_nothing_yet_is_no_riddle(info: list[object]) -> None:
    repositories = {"local": {"is": info}}
    said = {"version": "pgBackRest 2.60.0", "repositories": repositories, "runs": {}, "timers": {}, "drills": [], "archives": {}}
    state = host_view("keep1", json.dumps({"time": 0.0, "pgbackrest": {"is": said}}), 0.0).backups
    assert state and state.backups == () and state.archive_first is None


def test_in_good_health_nothing_is_wrong_and_both_subjects_say_so() -> None:
    found = findings(views.backed_up(), views.BACKED_UP)
    assert [f for f in found if f.level != "ok"] == []
    assert {"backups", "archive"} <= {f.rule for f in found}


def test_while_the_first_backup_is_made_that_there_is_none_is_no_problem() -> None:
    making = replace(views.backups(), backups=(), runs=(BackupRun("full", True, False, None),))
    found = findings(views.backed_up(keep1=views.keeper(backups=making)), views.BACKED_UP)
    assert [f.text for f in found if f.rule.startswith("backups")] == ["the first backup is being made"]


@pytest.mark.parametrize(
    ("failed", "made", "told"),
    [("incr", "full", False), ("incr", "incr", False), ("full", "incr", True), ("diff", "incr", True), ("diff", "diff", False)],
)
def test_a_failed_backup_is_made_up_for_by_one_that_is_as_full(failed: str, made: str, told: bool) -> None:
    state = views.backups(views.backup(made, age=10.0), runs=(BackupRun(failed, False, True, 999_980),))
    found = findings(views.backed_up(keep1=views.keeper(backups=state)), views.BACKED_UP)
    assert any(f.rule == "backups.failed" for f in found) == told


@pytest.mark.parametrize(
    ("archiver", "rules"),
    [
        (Archiver("A8", 5.0, "A8", 6.0, 0, None), set()),  # it got there at the second try
        (Archiver(None, None, None, None, 0, None), set()),
        (Archiver(None, None, "A1", 1.0, 1, 2.0), {"archive.failing"}),
        (Archiver("A8", 400.0, "A9", 5.0, 9, 301.0), {"archive.failing", "archive.lagging"}),
        (Archiver("A8", 400.0, None, None, 1, 300.0), set()),
    ],
)
def test_archiving_fails_while_the_last_try_has_failed_and_lags_when_a_file_waits_too_long(
    archiver: Archiver, rules: set[str]
) -> None:
    found = findings(views.backed_up(archiver), views.BACKED_UP)
    assert {f.rule for f in found if f.rule.startswith("archive.")} == rules


def test_a_deploy_waits_for_what_it_can_mend_alone() -> None:
    old, failed = views.backups(views.backup(age=10**6)), views.keeper().units | {"pgbackrest.service": "failed"}
    view = views.backed_up(Archiver("A8", 400.0, "A9", 5.0, 9, 301.0), keep1=views.keeper(backups=old, units=failed))
    assert {f.rule for f in unmet(findings(view, views.BACKED_UP))} == {"backups.not-serving"}


def test_what_is_wrong_with_backups_is_in_nobodys_way_and_what_else_is_wrong_is() -> None:
    off = views.unreachable("keep1")
    ill = views.keeper(
        units=views.keeper().units | {"pgbackrest.service": "failed"}, disks=(Disk("/var/lib/pgbackrest", 100 * 1024**3, 0),)
    )
    for keep1 in (off, ill):
        found = findings(views.backed_up(Archiver("A8", 400.0, "A9", 5.0, 9, 301.0), keep1=keep1), views.BACKED_UP)
        assert {"host.unreachable", "backups.not-serving"} & {f.rule for f in found if f.level == "problem"}
        assert blocking(found, views.BACKED_UP) == ()
    one_less = views.backed_up(db3=views.unreachable("db3"))
    assert {f.about for f in blocking(findings(one_less, views.BACKED_UP), views.BACKED_UP)} >= {"db3"}


def test_a_cluster_without_a_keeper_refuses_commands_about_backups() -> None:
    assert keeper(WITH).name in KEEPERS
    with pytest.raises(ClusterError, match=r"group 'backup' of inventory\.py has no host"):
        keeper(WITHOUT)


def test_a_backup_in_a_row_for_a_person_and_for_a_program() -> None:
    one = views.backup("incr", age=7_300.0)
    assert cells(one, None)[:4] == ("label-992700", "incr", "1970-01-12 11:45:00", "2 h")
    row = as_row(one, None)
    assert (row["label"], row["type"], row["ended"]) == ("label-992700", "incr", "1970-01-12T11:45:00+00:00")
    assert "kind" not in row


def test_an_age_is_in_the_unit_that_says_most() -> None:
    assert [age(n) for n in (-1.0, 90.0, 3 * 60.0, 47 * 3600.0, 3 * 86_400.0)] == ["0 s", "90 s", "3 min", "47 h", "3 d"]


def test_the_collector_asks_pgbackrest_and_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both as they answer on a host; what is asked is no command of root's."""
    asked = questions(WITH, WITH.host("keep1"))["pgbackrest"]
    info = "runuser -u pgbackrest -- pgbackrest --stanza=shop --repo=1 --output=json info"
    assert asked["repositories"] == {"local": info}
    assert asked["version"].startswith("runuser -u pgbackrest -- ")
    systemctl = tmp_path / "systemctl"
    systemctl.write_text("#!/bin/sh\nprintf 'ActiveState=inactive\\nExecMainExitTimestamp=@1000010\\n'\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    spec = asked | {
        "drills": str(tmp_path / "none"),
        "begun": str(tmp_path / "begun"),
        "repositories": {"local": f"echo {shlex.quote(json.dumps(INFO))}"},
        "version": "echo pgBackRest 2.60.0",
    }
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "incr").touch()
    said = collector.collect({"pgbackrest": spec})["pgbackrest"]["is"]
    assert time.time() - int(said["runs"]["incr"].pop("Begun")) < 600 and "Begun" not in said["runs"]["full"]
    assert said["repositories"] == {"local": {"is": INFO}} and said["version"] == "pgBackRest 2.60.0"
    assert said["timers"] == {f"pgquorum-backup-{kind}.timer": "inactive" for kind in ("full", "incr", "drill")}
    assert said["drills"] == []
    assert said["runs"]["diff"] == {"ActiveState": "inactive", "ExecMainExitTimestamp": "@1000010"}


@pytest.mark.parametrize(("code", "tries", "ends"), [(50, 2, 0), (50, 99, 1), (55, 1, 1)])
def test_a_lock_of_another_is_waited_for_and_nothing_else(
    code: int, tries: int, ends: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pgbackrest, "LOCKED_SECONDS", 2)
    count = tmp_path / "count"
    program = tmp_path / "pgbackrest"
    program.write_text(
        f"echo x >>{count}; [ $(wc -l <{count}) -ge {tries + (code != 50)} ] && exit; echo it is locked; exit {code}"
    )
    done = subprocess.run(
        ["sh", "-c", pgbackrest.unlocked(f"sh {program}")], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr.strip()) == (ends, "it is locked" if ends else "")
    assert len(count.read_text().split()) == {0: 2, 1: 3 if code == 50 else 1}[ends]
