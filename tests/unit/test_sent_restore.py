"""The programs of a restore on a host: the data is moved or deleted as a whole, and nobody starts Patroni meanwhile."""

from __future__ import annotations

import json
import os
import pwd
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from agents import data_directory
from agents.sent import archive, lost, restore


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory in which no server runs, its write-ahead log elsewhere."""
    place, wal = tmp_path / "18" / "main", tmp_path / "wal" / "pg_wal"
    place.mkdir(parents=True)
    wal.mkdir(parents=True)
    (place / "PG_VERSION").write_text("18\n")
    (wal / "000000010000000000000001").write_text("log")
    (place / "pg_wal").symlink_to(wal)
    (place / "pg_tblspc").mkdir()
    monkeypatch.setattr(restore, "runs", lambda spec: False)
    monkeypatch.setattr(data_directory.pwd, "getpwnam", lambda name: pwd.getpwuid(os.getuid()))
    return place


def spec(data: Path, **more: Any) -> dict[str, Any]:
    return {"data": str(data), **more}


def test_data_is_moved_aside_with_its_log_and_can_be_read_there(data: Path) -> None:
    restore.set_aside(spec(data, suffix=".before-1"))
    aside = data.with_name("main.before-1")
    assert not data.exists() and (aside / "pg_wal" / "000000010000000000000001").read_text() == "log"
    assert (aside / "pg_wal").resolve().name == "pg_wal.before-1"
    restore.set_aside(spec(data, suffix=".before-1"))  # once more changes nothing
    assert (aside / "PG_VERSION").exists()


def test_what_was_moved_aside_can_be_put_back_over_what_was_restored(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore, "end_unit", lambda: None)
    restore.put_back(spec(data, suffix=".before-1"))  # nothing was moved yet
    restore.set_aside(spec(data, suffix=".before-1"))
    data.mkdir()
    (data / "new").touch()
    wal = data.parent.parent / "wal" / "pg_wal"
    wal.mkdir()
    (data / "pg_wal").symlink_to(wal)
    for _ in range(2):
        restore.put_back(spec(data, suffix=".before-1"))
        assert (data / "PG_VERSION").exists() and not (data / "new").exists()
        assert (data / "pg_wal" / "000000010000000000000001").read_text() == "log" and (data / "pg_wal").resolve() == wal
        assert [one.name for one in wal.parent.iterdir()] == ["pg_wal"] and [one.name for one in data.parent.iterdir()] == [
            "main"
        ]


def test_a_move_that_was_cut_off_in_the_middle_is_ended_by_the_next(data: Path) -> None:
    wal = (data / "pg_wal").resolve()
    wal.rename(wal.with_name("pg_wal.before-1"))
    restore.set_aside(spec(data, suffix=".before-1"))
    assert (data.with_name("main.before-1") / "pg_wal" / "000000010000000000000001").exists()


@pytest.mark.parametrize("led", [False, True])
def test_a_log_that_was_moved_and_its_data_was_not_has_its_name_again_when_all_is_put_back(
    data: Path, monkeypatch: pytest.MonkeyPatch, led: bool
) -> None:
    """A power cut in between, before the link leads there or after: else the log that is in use would be called old data."""
    monkeypatch.setattr(restore, "end_unit", lambda: None)
    wal = (data / "pg_wal").resolve()
    kept = wal.rename(wal.with_name("pg_wal.before-1"))
    if led:
        (data / "pg_wal").unlink()
        (data / "pg_wal").symlink_to(kept)
    for _ in range(2):
        restore.put_back(spec(data, suffix=".before-1"))
        assert (data / "pg_wal").readlink() == wal and (data / "pg_wal" / "000000010000000000000001").read_text() == "log"
        assert [one.name for one in wal.parent.iterdir()] == ["pg_wal"]


def test_nothing_is_left_of_the_server_of_a_restore_that_is_called_off(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    private = tmp_path / "private"
    monkeypatch.setattr(restore, "end_unit", lambda: None)
    monkeypatch.setattr(restore, "PRIVATE", private)
    private.mkdir()
    (private / "postgresql.conf").touch()
    for _ in range(2):
        restore.put_back(spec(data, suffix=".before-1"))
        assert not private.exists()


def test_what_was_moved_aside_is_never_written_over(data: Path) -> None:
    data.with_name("main.before-1").mkdir()
    with pytest.raises(OSError, match="is there already"):
        restore.set_aside(spec(data, suffix=".before-1"))
    assert (data / "PG_VERSION").exists() and (data / "pg_wal" / "000000010000000000000001").exists()


def test_nothing_is_moved_under_a_server(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restore, "runs", lambda spec: True)
    with pytest.raises(OSError, match="PostgreSQL runs in"):
        restore.set_aside(spec(data, suffix=""))
    assert (data / "PG_VERSION").exists()


def test_data_is_deleted_where_that_was_asked_for_and_links_lead_to_nothing_else(data: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "kept").touch()
    (data / "pg_tblspc" / "1").symlink_to(other)
    restore.set_aside(spec(data, suffix=""))
    assert list(data.iterdir()) == [] and list((tmp_path / "wal" / "pg_wal").iterdir()) == []
    assert (other / "kept").exists()


def test_a_survey_tells_of_room_and_of_what_is_elsewhere(data: Path, tmp_path: Path) -> None:
    (data / "pg_tblspc" / "1").symlink_to(tmp_path)
    said = restore.survey(spec(data))
    assert said["there"] and said["tablespaces"] == [str(tmp_path)] and said["free"] > 0 and not said["mounted"]
    assert said["size"] > 0 and said["against"] == []
    assert restore.survey(spec(tmp_path / "none" / "at" / "all"))["there"] is False


def test_patroni_is_held_by_a_condition_and_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(restore, "run", lambda *words, **how: asked.append(words))
    note, drop_in = tmp_path / "etc/restoring.json", tmp_path / "patroni.service.d/restoring.conf"
    held = {"note": str(note), "drop_in": str(drop_in), "id": "x"}
    restore.hold(held)
    restore.hold(held)
    assert f"ConditionPathExists=!{note}" in drop_in.read_text() and json.loads(note.read_text()) == {"restore": "x"}
    restore.keep_note(held | {"text": '{"to": "latest"}'})
    assert json.loads(restore.read_note(held) or "") == {"to": "latest"} and [one.name for one in note.parent.iterdir()] == [
        note.name
    ]
    restore.release(held)
    restore.release(held)
    restore.keep_note(held | {"text": "x"})  # where Patroni is not held any more, nothing holds it again
    assert restore.read_note(held) is None
    assert not note.exists() and not drop_in.parent.exists()
    assert set(asked) == {("systemctl", "daemon-reload")}


def test_what_was_not_archived_is_histories_first_and_marked_when_it_is(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = data / "pg_wal" / "archive_status"
    status.mkdir()
    names = ["000000010000000000000002", "00000002.history", "000000010000000000000001"]
    for name in names:
        (status / f"{name}.ready").touch()
    pushed: list[str] = []
    monkeypatch.setattr(restore, "as_postgres", lambda *words, **how: pushed.append(Path(words[-1]).name))
    monkeypatch.setattr(restore, "identify", lambda spec: {"system": "7"})
    assert (
        restore.archive_rest(spec(data, stanza="shop", system="8", pushes=[[]], keep_marks=False, also=[])) == [] and pushed == []
    )
    restore.archive_rest(spec(data, stanza="shop", system="7", pushes=[[]], keep_marks=False, also=[]))
    assert pushed == ["00000002.history", "000000010000000000000001", "000000010000000000000002"]
    assert {file.suffix for file in status.iterdir()} == {".done"}


def test_what_is_named_is_archived_too_and_what_is_marked_already_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = data / "pg_wal" / "archive_status"
    status.mkdir()
    (status / "000000010000000000000001.done").touch()
    (status / "000000010000000000000002.ready").touch()
    pushed: list[str] = []
    monkeypatch.setattr(restore, "as_postgres", lambda *words, **how: pushed.append(Path(words[-1]).name))
    monkeypatch.setattr(restore, "identify", lambda spec: {"system": "7"})
    also = ["000000010000000000000001", "000000010000000000000002", "00000002.history"]
    restore.archive_rest(spec(data, stanza="shop", system="7", pushes=[[]], keep_marks=False, also=also))
    assert pushed == ["00000002.history", "000000010000000000000001", "000000010000000000000002"]
    assert {file.name for file in status.iterdir()} == {f"{name}.done" for name in also[:2]}


CONTROL = {
    "Database system identifier": "7",
    "Latest checkpoint location": "0/2000028", "Latest checkpoint's TimeLineID": "1",
    "Minimum recovery ending location": "0/0", "Min recovery ending loc's timeline": "0",
}  # fmt: skip


def test_where_the_log_of_a_stopped_server_ends_is_read_from_its_last_checkpoint_on(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for file in (data / "pg_wal").glob("0*"):
        file.unlink()
    name = "000000010000000000000002"
    with (data / "pg_wal" / name).open("xb") as file:
        file.truncate(16 * 1024**2)
    monkeypatch.setattr(restore, "control", lambda spec: CONTROL)
    runuser = tmp_path / "runuser"  # stands for pg_waldump, too, and says what that was asked
    runuser.write_text(
        '#!/bin/sh\necho "$*" >$0.asked\n'
        "echo 'tx: 750, lsn: 0/02000100, desc: COMMIT 2026-11-29 07:00:00.500000 UTC'\n"
        "echo 'pg_waldump: error: error in WAL record at 0/2000100: invalid record length at 0/2000128: got 0' >&2\nexit 1\n"
    )
    runuser.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    told = restore.log(spec(data, binaries="/bin", to_the_end=True))
    assert (told["system"], told["timeline"], told["end"]) == ("7", 1, 0x2000128)
    assert told["last"] == datetime(2026, 11, 29, 7, 0, 0, 500_000, UTC).timestamp() and told["record"] == 0x2000100
    asked = f"/bin/pg_waldump --path={data}/pg_wal --rmgr=Transaction --start=0/2000000 {name} {name}"
    assert asked in Path(f"{runuser}.asked").read_text()
    runuser.write_text("#!/bin/sh\nexit 124\n")
    assert "could not be read to its end" in restore.log(spec(data, binaries="/bin", to_the_end=True))["problem"]
    assert restore.log(spec(data, binaries="/bin", to_the_end=False))["timeline"] == 1


def test_when_the_last_transaction_of_the_archive_ended_is_looked_for_from_its_end_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The last file has no transaction. What pg_waldump complains of at the end of a file is nothing."""
    program, asked = tmp_path / "runuser", tmp_path / "asked"
    program.write_text(
        f'#!/bin/sh\nshift 3\necho "$*" >>{asked}\ncase "$*" in\n'
        f"mktemp*) mkdir {tmp_path}/look; echo {tmp_path}/look ;;\n"
        "*archive-get*) for file; do :; done; touch $file ;;\n"
        "*pg_waldump*1) echo 'desc: COMMIT 2026-11-29 07:00:00.500000 UTC'\n"
        "echo 'desc: ABORT 2026-11-29 07:00:01 UTC'; exit 1 ;;\n"
        'rm*) "$@" ;;\nesac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    files = ["000000010000000000000002", "000000010000000000000001", "000000010000000000000000"]
    wanted = {"stanza": "shop", "options": ["--repo=2"], "binaries": "/bin", "names": files}
    assert restore.last_ended(wanted) == datetime(2026, 11, 29, 7, 0, 1, tzinfo=UTC).timestamp()
    got = [line for line in asked.read_text().splitlines() if "archive-get" in line]
    assert got == [f"pgbackrest --stanza=shop --repo=2 archive-get {name} {tmp_path}/look/{name}" for name in files[:2]]
    assert not (tmp_path / "look").exists()
    assert restore.last_ended({**wanted, "names": files[:1]}) is None


def test_data_that_nobody_can_use_has_no_log_and_that_is_told(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def control(spec: dict[str, Any]) -> dict[str, str]:
        raise OSError("pg_control is not there")

    monkeypatch.setattr(restore, "control", control)
    assert restore.log(spec(data)) == {"problem": "pg_control is not there"}
    assert restore.log(spec(tmp_path / "none")) == {}


def test_where_the_repository_has_somebody_else_it_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = OSError("[LockAcquireError] raised from remote-0 tls protocol: unable to acquire lock on file")
    answers: list[OSError | None] = [busy, busy, None, OSError("[FileOpenError] no space"), busy]

    def push(*words: str, seconds: float) -> None:
        if error := answers.pop(0):
            raise error

    monkeypatch.setattr(restore, "as_postgres", push)
    monkeypatch.setattr(restore.time, "sleep", lambda seconds: None)
    restore.once_free(["pgbackrest"])
    assert len(answers) == 2
    with pytest.raises(OSError, match="no space"):
        restore.once_free(["pgbackrest"])
    monkeypatch.setattr(restore, "FREE_SECONDS", 0)
    with pytest.raises(OSError, match="LockAcquireError"):
        restore.once_free(["pgbackrest"])


def test_what_is_to_be_archived_in_another_place_later_keeps_its_mark(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "pg_wal" / "archive_status").mkdir()
    mark = data / "pg_wal" / "archive_status" / "000000010000000000000001.ready"
    mark.touch()
    pushed: list[tuple[str, ...]] = []
    monkeypatch.setattr(restore, "as_postgres", lambda *words, **how: pushed.append(words[2:-2]))
    monkeypatch.setattr(restore, "identify", lambda spec: {"system": "7"})
    restore.archive_rest(spec(data, stanza="shop", system="7", pushes=[["--config=a"], ["--config=b"]], keep_marks=True, also=[]))
    assert pushed == [("--config=a",), ("--config=b",)] and mark.exists()


def test_values_of_settings_are_quoted_as_postgresql_reads_them() -> None:
    assert [restore.quoted(value) for value in ("on", True, 5, "it's", r"a\b")] == ["'on'", "'on'", "'5'", "'it''s'", r"'a\\b'"]


WALDUMP = """\
rmgr: Transaction len (rec/tot):     34/    34, tx:        750, lsn: 0/01977C40, prev 0/01977C00, desc: COMMIT \
2026-11-29 07:00:00.500000 UTC
rmgr: Transaction len (rec/tot):     66/    66, tx:        751, lsn: 0/01977D40, prev 0/01977C40, desc: COMMIT \
2026-11-29 07:00:01.000000 UTC; inval msgs: catcache 80
rmgr: Transaction len (rec/tot):     34/    34, tx:        752, lsn: 0/01977E40, prev 0/01977D40, desc: ABORT \
2026-11-29 07:00:02.000000 UTC
"""


@pytest.mark.parametrize(
    ("time", "told"),
    [
        ("2026-11-29 07:00:00.500000", {"transactions": 1, "lsn": "0/01977D40", "whole": True}),
        ("2026-11-29 06:59:00", {"transactions": 2, "lsn": "0/01977C40", "whole": False}),
        ("2026-11-29 08:00:00", {"transactions": 0, "lsn": None, "whole": True}),
        (None, {"transactions": 2, "lsn": "0/01977C40", "whole": True}),
    ],
)
def test_transactions_are_counted_from_the_moment_on(time: str | None, told: dict[str, Any]) -> None:
    assert lost.counted(WALDUMP.splitlines(), lost.moment(time) if time else None) == told


def test_the_archive_is_asked_as_its_own_user(monkeypatch: pytest.MonkeyPatch) -> None:
    file = f"000000020000000000000007-{40 * 'b'}.zst"
    all_of_it = {f"0000000200000000/{file}": {"type": "file", "time": 9}, "0000000200000000": {"type": "path"}}
    answers = {
        "info": json.dumps([{"archive": [{"id": "18-1", "max": "000000020000000000000007"}], "backup": []}]),
        "--recurse": json.dumps(all_of_it | {"00000002.history": {"type": "file", "time": 5}}),
        "repo-ls": json.dumps({"00000002.history": {"type": "file", "size": 1, "time": 5}, ".": {"type": "path"}}),
        "repo-get": "1\t0/3000000\tno recovery target specified\n",
    }
    asked: list[tuple[str, ...]] = []

    def pgbackrest(spec: dict[str, Any], *words: str) -> str:
        asked.append(words)
        return next(answer for name, answer in answers.items() if name in words)

    monkeypatch.setattr(archive, "pgbackrest", pgbackrest)
    said = archive.look({"stanza": "shop", "user": "pgbackrest"})
    assert said["histories"] == {2: (answers["repo-get"], 5.0)}
    assert ("--stanza=shop", "repo-get", "archive/shop/18-1/00000002.history") in asked
    assert said["files"] == {"0000000200000000": [(7, 7, 9.0)]}


def test_an_archive_that_takes_too_long_is_left_with_all_that_was_begun_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """pgBackRest has processes of its own, which would go on; a large archive elsewhere takes minutes, and is waited for."""
    assert archive.SECONDS >= 900
    program, child = tmp_path / "runuser", tmp_path / "child"
    program.write_text(f"#!/bin/sh\nsleep 60 >/dev/null 2>&1 &\necho $! >{child}\nwait\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(archive, "SECONDS", 0.5)
    told = archive.look_at_all({"stanza": "shop", "user": "x", "repositories": {"s3": ["--repo=2"]}})
    assert told == {"s3": {"problem": "what it has could not be listed within 0.5 s"}}
    pid = int(child.read_text())
    for _ in range(100):  # until it is reaped
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("what it had begun goes on")


def test_recovery_reads_what_it_was_told_and_not_what_the_restore_has_written(
    data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What pgBackRest has left in postgresql.auto.conf would go before the file of settings."""
    begun: list[list[str]] = []
    monkeypatch.setattr(restore, "end_unit", lambda: None)
    monkeypatch.setattr(restore, "begin_unit", lambda doing, properties, command: begun.append(command))
    monkeypatch.setattr(restore, "PRIVATE", tmp_path / "private")
    settings = {"restore_command": 'pgbackrest archive-get %f "%p"', "port": 5432}
    restore.recover(spec(data, settings=settings, taken=[], timeline=2, binaries="/bin"))
    assert begun == [
        [
            "/bin/postgres", "-D", str(data), "-c", f"config_file={tmp_path}/private/postgresql.conf",
            "-c", 'restore_command=pgbackrest archive-get %f "%p"',
        ]
    ]  # fmt: skip


def test_root_writes_no_file_where_a_link_leads(data: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "passwd"
    elsewhere.write_text("root")
    (data / "recovery.signal").symlink_to(elsewhere)
    (data / "recovery.signal.new").symlink_to(elsewhere)
    data_directory.write(data / "recovery.signal", "text")
    assert elsewhere.read_text() == "root"
    assert (data / "recovery.signal").read_text() == "text" and not (data / "recovery.signal").is_symlink()


def test_root_has_its_own_rights_where_nobody_else_can_have_put_anything(tmp_path: Path) -> None:
    assert data_directory.roots_alone(Path("/usr/lib")) and not data_directory.roots_alone(Path("/tmp"))
    (tmp_path / "link").symlink_to("/usr")
    steps = [str(step) for step in data_directory.passed(tmp_path / "link" / "lib")]
    assert {"/", "/usr", str(tmp_path), f"{tmp_path}/link", f"{tmp_path}/link/lib"} <= set(steps)


def test_what_its_owner_could_not_move_or_delete_is_told_before(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_directory.os, "access", lambda place, how, effective_ids: place.name != "wal")
    (why,) = restore.survey(spec(data))["against"]
    assert why == f"{data.parent.parent}/wal is not postgres's to write: chown postgres {data.parent.parent}/wal"


def test_where_there_was_no_data_nothing_is_left_when_it_is_put_back(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what was restored would stay, and lead."""
    monkeypatch.setattr(restore, "end_unit", lambda: None)
    none = spec(data.with_name("gone"), suffix=".before-1")
    for _ in range(2):
        restore.set_aside(none)
    (data.parent / "gone").mkdir()
    (data.parent / "gone" / "PG_VERSION").write_text("18")
    restore.put_back(none)
    assert list((data.parent / "gone").iterdir()) == []
