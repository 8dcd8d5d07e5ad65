"""A replica from the repository: which backup is taken, which files of the log, and when it is left to a base backup."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agents import replica
from agents.replica import Maker, NoReplicaError, Primary, chosen, main, too_much, wanted
from agents.specification import Specification
from cluster.archive import SEGMENT_BYTES
from cluster.timelines import Timeline, lsn, timelines

MIB = 1024**2
SYSTEM = "7571234567890123456"
# Timeline 2 left 1 at 0/5000000, 3 left 2 at 0/9000060.
HISTORY = "1\t0/5000000\tno recovery target specified\n\n2\t0/9000060\tno recovery target specified\n"
PRIMARY = Primary(SYSTEM, timelines({3: (HISTORY, 0)})[3], HISTORY)


def backup(label: str, timeline: int, begin: int, *, ended: int = 1, error: bool = False, repository: int = 1) -> dict[str, Any]:
    return {
        "label": label, "type": "full", "timestamp": {"stop": ended}, "error": error, "info": {"size": 100 * MIB},
        "archive": {"stop": f"{timeline:08X}0000000000000001"}, "lsn": {"start": lsn(begin), "stop": lsn(begin + 256)},
        "database": {"id": 1, "repo-key": repository},
    }  # fmt: skip


def info(*backups: dict[str, Any], system: str = SYSTEM) -> list[dict[str, Any]]:
    return [{"db": [{"id": 1, "system-id": int(system)}], "backup": list(backups)}]


def test_the_newest_backup_on_the_way_to_the_primary_is_taken() -> None:
    there = (
        backup("A", 1, 0x3000000, ended=1),
        backup("B", 2, 0x6000000, ended=2, repository=2),
        backup("C", 1, 0x7000000, ended=3),  # of what timeline 1 wrote after 2 had left it
        backup("D", 3, 0xA000000, ended=4, error=True),
        backup("E", 4, 0xA000000, ended=5),  # of a course that was given up
    )
    start = chosen(info(*there), PRIMARY)
    assert (start.base.label, start.repository, start.begin) == ("B", 2, 0x6000000)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([], "no backup leads"),
        (info(), "no backup leads"),
        (info(backup("C", 1, 0x7000000)), "no backup leads"),
        (info(backup("A", 1, 0x3000000), system="1"), "of another cluster"),
    ],
)
def test_without_such_a_backup_there_is_no_replica(said: list[dict[str, Any]], why: str) -> None:
    with pytest.raises(NoReplicaError, match=why):
        chosen(said, PRIMARY)


def test_of_a_file_in_which_a_timeline_was_left_the_one_that_goes_on_is_wanted() -> None:
    assert wanted(PRIMARY.timeline, 0x3000028, 0xB000000) == [
        "000000010000000000000003",
        "000000010000000000000004",
        "000000020000000000000005",
        "000000020000000000000006",
        "000000020000000000000007",
        "000000020000000000000008",
        "000000030000000000000009",
        "00000003000000000000000A",
    ]
    assert wanted(Timeline(1), 5 * SEGMENT_BYTES, 5 * SEGMENT_BYTES + 99) == []


@pytest.mark.parametrize(
    ("size", "log", "free", "why"),
    [
        (100 * MIB, 1024 * MIB, 4096 * MIB, None),
        (100 * MIB, 1025 * MIB, 4096 * MIB, "1025 MiB of write-ahead log have been written since the backup, of 100 MiB of data"),
        (9000 * MIB, 9000 * MIB, 20000 * MIB, None),
        (100 * MIB, 100 * MIB, 1100 * MIB, "1100 MiB are free for 100 MiB of write-ahead log"),
    ],
)
def test_more_log_than_a_base_backup_would_be_is_not_fetched(size: int, log: int, free: int, why: str | None) -> None:
    assert too_much(size, log, free) == why


class Programs:
    """What is started, in place of psql, pgBackRest and pg_ctl. `missing`: the files that the archive does not have yet, with how
    often it is asked for each in vain."""

    def __init__(self, data: Path, missing: dict[str, int] | None = None, **answers: Any) -> None:
        self.data, self.missing, self.answers = data, missing or {}, answers
        self.ran: list[str] = []

    def __call__(self, command: list[str], **how: Any) -> subprocess.CompletedProcess[str]:
        words = " ".join(command)
        self.ran.append(words)
        code, out = 0, ""
        if "status" in command:
            code = 3
        elif "IDENTIFY_SYSTEM" in words:
            out = f"{SYSTEM}|3|0/B000000|\n"
        elif "TIMELINE_HISTORY" in words:
            out = {"3": f"00000003.history|{HISTORY}\n", "2": "00000002.history|1\t0/5000000\tx\n"}[words.split()[-1]]
        elif "READ_REPLICATION_SLOT" in words:
            out = self.answers.get("slot", "physical|0/B000010|3\n")
        elif "info" in command:
            out = json.dumps(info(self.answers.get("backup", backup("B", 2, 0x8000028))))
        elif "restore" in command:
            (self.data / "global").mkdir()
            (self.data / "global/pg_control").touch()
            (self.data / "backup_label").touch()
        elif "archive-get" in command:
            name = command[-2]
            # As pgBackRest needs it, and so that nobody takes what is not complete for a server.
            assert command[2] == f"--pg1-path={self.data}/pgquorum-control"
            assert (self.data / "pgquorum-control/global/pg_control").exists()
            assert (self.data / "pgquorum-control/backup_label").exists()
            assert not (self.data / "global/pg_control").exists()
            self.missing[name] = self.missing.get(name, 0) - 1
            code = 1 if self.missing[name] >= 0 else self.answers.get("archive", 0)
        return subprocess.CompletedProcess(command, code, out, "what it says")


def made(monkeypatch: pytest.MonkeyPatch, programs: Programs, **fields: Any) -> str:
    monkeypatch.setattr(subprocess, "run", programs)
    monkeypatch.setattr(replica.time, "sleep", lambda seconds: None)
    (programs.data / "pg_wal").mkdir()
    return Maker(specification(**fields), programs.data, "host=db1 user=replicator").make()


def specification(**fields: Any) -> Specification:
    given: dict[str, Any] = {
        "name": "pg-sv02", "cluster": "shop", "etcd": (), "patroni": {}, "tls": "", "psql": "/bin/psql", "sockets": "",
        "port": 5432, "wal": "",
    }  # fmt: skip
    return Specification(**given | fields)


def test_what_is_missing_up_to_what_the_primary_keeps_is_fetched_before_it_is_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "postmaster.pid").touch()
    programs = Programs(tmp_path, {"00000003000000000000000A": 3})
    assert made(monkeypatch, programs) == "backup B and 3 files of the archive's write-ahead log"
    (restore,) = [words for words in programs.ran if words.endswith(" restore")]
    assert "--repo=1 --set=B --delta --type=none" in restore and "--link-map" not in restore
    fetched = [words.split()[-2] for words in programs.ran if "archive-get" in words]
    assert fetched == ["000000020000000000000008", "000000030000000000000009", *["00000003000000000000000A"] * 4]
    assert (tmp_path / "pg_wal/00000003.history").read_text() == HISTORY
    assert not (tmp_path / "postmaster.pid").exists()
    assert (tmp_path / "global/pg_control").exists() and not (tmp_path / "pgquorum-control").exists()
    assert (tmp_path / "backup_label").exists()
    assert '/bin/psql -XAtq host=db1 user=replicator replication=1 -c READ_REPLICATION_SLOT "pg_sv02"' in programs.ran


@pytest.mark.parametrize(("waits", "line"), [(True, "synchronous_standby_names = '*'\n"), (False, "")])
@pytest.mark.parametrize("before", ["synchronous_standby_names = '*'\n", ""])
def test_whether_it_waits_alone_is_not_as_it_was_at_the_backup(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, before: str, waits: bool, line: str
) -> None:
    base = tmp_path / "postgresql.base.conf"
    base.write_text(f"port = 5432\n{before}max_connections = 100\n")
    made(monkeypatch, Programs(tmp_path), waits_alone=waits)
    assert base.read_text() == f"port = 5432\nmax_connections = 100\n{line}"


def test_the_log_on_a_disk_of_its_own_stays_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    programs = Programs(tmp_path)
    made(monkeypatch, programs, wal_disk="/wal/pg_wal")
    assert any("--link-map=pg_wal=/wal/pg_wal restore" in words for words in programs.ran)


def test_no_timeline_between_is_left_out_or_postgresql_would_not_look_further(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From the archive, or from the primary where that has it."""
    programs = Programs(tmp_path, {"00000002.history": 10**9}, backup=backup("A", 1, 0xA000028 - 0x6000000))
    made(monkeypatch, programs)
    assert (tmp_path / "pg_wal/00000002.history").read_text().startswith("1\t0/5000000")
    assert (tmp_path / "pg_wal/00000003.history").read_text() == HISTORY


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ({"missing": {"000000030000000000000009": 10**9}}, "000000030000000000000009 is missing in the archive"),
        ({"slot": "||\n"}, "the primary keeps no log for this member (slot pg_sv02)"),
        ({"archive": 82}, "archive-get 000000020000000000000008: what it says"),
    ],
)
def test_what_can_not_follow_is_left_to_a_base_backup(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], answers: dict[str, Any], why: str
) -> None:
    monkeypatch.setattr(subprocess, "run", Programs(tmp_path, **answers))
    monkeypatch.setattr(replica.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(replica, "SLOT_SECONDS", 0.05)
    monkeypatch.setattr(replica, "ARCHIVED_SECONDS", 0.05)
    (tmp_path / "pg_wal").mkdir()
    words = [
        "--scope=shop",
        "--role=replica",
        f"--datadir={tmp_path}",
        "--connstring=host=db1 user=replicator",
        "--keep_data=True",
    ]
    assert main(specification(), words) == 1
    assert why in capsys.readouterr().err
