"""What is kept of a log before it is rewound: which part of it nobody else has, in which files, and how much in all."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from repository import ROOT

from agents import salvage
from agents.salvage import NOTE, NothingKeptError, Server, Stretch, diverged, history, keep, kept_in, needed

SEGMENT = 16 * 1024**2
FORK = "0/3000100"
CONTROL = """Latest checkpoint's TimeLineID:       3
Min recovery ending loc's timeline:   0
Bytes per WAL segment:                16777216
"""
END = "pg_waldump: error: error in WAL record at 0/40001C8: invalid record length at 0/4000200: expected at least 24, got 0"


def test_a_history_file_is_read() -> None:
    text = "1\t0/3000000\tno recovery target specified\n\n2\t1/A\tno recovery target specified\n"
    assert history(text, 3) == [(1, 0x3000000), (2, 2**32 + 0xA), (3, None)]
    assert history("", 1) == [(1, None)]
    stopped_before_it_began = "1\t0/3000000\tx\n\n2\t0/6000000\tx\n\n3\t0/5000000\tbefore 2026-11-29 07:00:00+00\n"
    theirs = history(stopped_before_it_began, 4)
    assert theirs == [(1, 0x3000000), (2, 0x5000000), (3, 0x5000000), (4, None)]
    mine = [(1, 0x3000000), (2, 0x6000000), (3, None)]
    assert diverged(mine, theirs) == [Stretch(2, 0x5000000, 0x6000000), Stretch(3, 0x6000000, None)]


@pytest.mark.parametrize(
    ("mine", "theirs", "stretches"),
    [
        ([(3, None)], [(3, 500), (4, None)], [Stretch(3, 500, None)]),
        ([(2, 100), (3, None)], [(2, 100), (3, 500), (4, None)], [Stretch(3, 500, None)]),
        ([(2, 100), (3, None)], [(2, 100), (4, None)], [Stretch(3, 100, None)]),
        ([(2, 100), (3, None)], [(2, 80), (3, None)], [Stretch(2, 80, 100), Stretch(3, 100, None)]),
        ([(2, 80), (3, None)], [(2, 100), (3, None)], [Stretch(3, 80, None)]),
        ([(2, 80), (3, None)], [(2, None)], [Stretch(3, 80, None)]),
        ([(2, 100), (3, None)], [(2, 100), (3, None)], []),
    ],
)
def test_where_a_server_has_gone_its_own_way(mine: salvage.History, theirs: salvage.History, stretches: list[Stretch]) -> None:
    assert diverged(mine, theirs) == stretches


def test_segments_before_the_fork_after_the_end_and_of_other_timelines_are_not_needed() -> None:
    names = ["000000030000000000000002", "000000030000000000000003", "000000030000000000000004", "000000030000000000000005"]
    others = ["000000020000000000000003", "00000003.history", "archive_status", "000000030000000000000003.partial"]
    stretch = Stretch(3, 3 * SEGMENT + 1, None)
    assert needed([*names, *others], [stretch], 4 * SEGMENT + 7, SEGMENT) == names[1:3]
    assert needed(["0000000300000001000000FF"], [stretch], 2**33, SEGMENT) == ["0000000300000001000000FF"]


def programs(tmp_path: Path, transactions: str) -> Server:
    """A data directory with four segments on timeline 3, and programs that say: the other one left it at FORK."""
    binaries, wal = tmp_path / "bin", tmp_path / "data/pg_wal"
    binaries.mkdir()
    wal.mkdir(parents=True)
    said = {"pg_controldata": CONTROL, "psql": f"00000004\n3\t{FORK}\tno recovery target specified"}
    scripts = {name: f"cat <<'X'\n{text}\nX\n" for name, text in said.items()}
    scripts["pg_waldump"] = f"echo \"$*\" >>{tmp_path}/asked\nprintf '%s' '{transactions}'\necho '{END}' >&2\nexit 1\n"
    for name, script in scripts.items():
        (binaries / name).write_text(f"#!/bin/sh\n{script}")
        (binaries / name).chmod(0o755)
    for number in range(2, 6):
        (wal / f"00000003000000000000000{number}").write_text(f"segment {number}")
    (tmp_path / "salvage").mkdir()
    return Server(tmp_path / "data", binaries)


COMMITS = "rmgr: Transaction desc: COMMIT 2026-11-25\nrmgr: Transaction desc: ABORT\nrmgr: Transaction desc: COMMIT 2026-11-26\n"


def test_what_nobody_else_has_is_kept_with_a_note(tmp_path: Path) -> None:
    said = keep(programs(tmp_path, COMMITS), "host=db2", tmp_path / "salvage", "db1")
    [(place, note)] = kept_in(tmp_path / "salvage")
    assert {file.name for file in place.iterdir()} == {NOTE, "000000030000000000000003", "000000030000000000000004"}
    assert (place / "000000030000000000000004").read_text() == "segment 4"
    assert (note.host, note.timeline, note.fork, note.end, note.commits) == ("db1", 3, FORK, "0/4000200", 2)
    assert str(place) in said and "2 transactions" in said
    assert f"--start={FORK} 000000030000000000000003 000000030000000000000005" in (tmp_path / "asked").read_text()
    assert [file for file in (tmp_path / "salvage").iterdir() if file.name.startswith(".")] == []


def test_a_log_without_a_commit_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(NothingKeptError, match=f"no transaction was committed after {FORK}"):
        keep(programs(tmp_path, "rmgr: Transaction desc: ABORT\n"), "host=db2", tmp_path / "salvage", "db1")
    assert list((tmp_path / "salvage").iterdir()) == []


def test_a_log_that_cannot_be_read_is_not_one_without_a_commit(tmp_path: Path) -> None:
    server = programs(tmp_path, "")
    (tmp_path / "bin/pg_waldump").write_text("#!/bin/sh\necho 'pg_waldump: error: no WAL file' >&2; exit 1\n")
    with pytest.raises(NothingKeptError, match="pg_waldump says: pg_waldump: error: no WAL file"):
        keep(server, "host=db2", tmp_path / "salvage", "db1")


def earlier(directory: Path, at: str, size: int) -> Path:
    place = directory / at
    place.mkdir(parents=True)
    note = {"host": "db1", "at": at, "timeline": 2, "fork": "0/0", "end": "0/1", "commits": 1, "size": size}
    (place / NOTE).write_text(json.dumps(note))
    return place


def test_the_oldest_make_room_for_a_new_one_and_what_was_left_half_done_goes(tmp_path: Path) -> None:
    old, new = (earlier(tmp_path, at, 600 * 1024**2) for at in ("2026-01", "2026-02"))
    half = tmp_path / ".2025-12"
    half.mkdir()
    salvage.make_room(tmp_path, 100 * 1024**2)
    assert (old.exists(), new.exists(), half.exists()) == (False, True, False)


def test_what_is_too_large_is_not_kept_and_costs_no_other_its_place(tmp_path: Path) -> None:
    old = earlier(tmp_path, "2026-01", 600 * 1024**2)
    with pytest.raises(NothingKeptError, match="more than the 1073741824 that are kept at most"):
        salvage.make_room(tmp_path, 1024**3 + 1)
    assert old.exists()


def test_a_disk_without_room_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = earlier(tmp_path, "2026-01", 1000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(total=1000, used=900, free=100))
    salvage.make_room(tmp_path, 50)
    with pytest.raises(NothingKeptError, match="no room for 51 bytes"):
        salvage.make_room(tmp_path, 51)
    assert old.exists()


def specification(tmp_path: Path) -> Any:
    return SimpleNamespace(name="db1", psql=str(tmp_path / "bin/psql"))


@pytest.mark.parametrize(
    ("rewind", "why"),
    [(["-D", "/nowhere", "--source-server", "host=x"], "No such file"), (["-D", "/nowhere"], "--source-server")],
)
def test_whatever_goes_wrong_is_told_and_the_rewind_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rewind: list[str], why: str
) -> None:
    assert salvage.main(specification(tmp_path), [str(tmp_path), *rewind]) == 0
    said = capsys.readouterr().err
    assert said.startswith("salvage: nothing is kept: ") and why in said


@pytest.fixture
def rewind(tmp_path: Path) -> Path:
    """The script that Patroni calls, with programs of ours in place of the real ones."""
    text = (ROOT / "templates/patroni/pg_rewind.sh.j2").read_text()
    places = {
        "{{ salvage_seconds }}": "5",
        '{{ paths.agent("salvage") }}': f"{tmp_path}/salvage",
        "{{ paths.salvage(cluster.postgres.data_directory) }}": "/kept here",
        "{{ paths.postgres_binaries(cluster.postgres.version) }}": str(tmp_path / "real"),
    }
    for place, value in places.items():
        assert place in text
        text = text.replace(place, value if " " not in value else f"'{value}'")
    script = tmp_path / "pg_rewind"
    (tmp_path / "real").mkdir()
    files = {
        script: text,
        tmp_path / "salvage": f'#!/bin/sh\necho "$@" >{tmp_path}/salvaged\nexit 1\n',
        tmp_path / "real/pg_rewind": '#!/bin/sh\necho "really $@"\nexit 3\n',
    }
    for file, content in files.items():
        file.write_text(content)
        file.chmod(0o755)
    return script


def test_the_rewind_follows_a_salvage_that_fails_with_the_same_arguments_and_its_own_exit_code(rewind: Path) -> None:
    done = subprocess.run(
        [str(rewind), "-D", "/data", "--source-server", "host=a b"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (3, "really -D /data --source-server host=a b\n")
    assert (rewind.parent / "salvaged").read_text() == "/kept here -D /data --source-server host=a b\n"


def test_patronis_question_whether_there_is_a_pg_rewind_costs_nothing(rewind: Path) -> None:
    assert subprocess.run([str(rewind), "--help"], capture_output=True, text=True, check=False).stdout == "really --help\n"
    assert not (rewind.parent / "salvaged").exists()
