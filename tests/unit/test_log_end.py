"""Whether a server has read all of its own log is noted, and taken back as soon as it begins to read anew."""

from __future__ import annotations

import os
import subprocess
from typing import Any

import pytest
from stores import Store

from agents import log_end
from agents.keys import ClusterKeys
from agents.log_end import LogEnd

STARTED = 1795996800123456


@pytest.fixture
def reader() -> Any:
    """The process that reads the log."""
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    yield process
    process.communicate()


class Session:
    """What PostgreSQL says, one answer after the other; the last again and again."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)

    def ask(self, statement: str) -> Any:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def said(reader: subprocess.Popen[bytes], **differs: Any) -> dict[str, Any]:
    return {"started": STARTED, "reader": reader.pid, "at_end": True, "again": False} | differs


def noting(kept: Store, *answers: dict[str, Any]) -> LogEnd:
    return LogEnd("db2", ClusterKeys(kept, "shop", ("db1", "db2", "db3")), Session(*answers))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_SECONDS", "AGAIN_SECONDS"):
        monkeypatch.setattr(log_end, name, 0.01)


def test_it_is_noted_once_the_log_is_read_and_written_once(reader: Any) -> None:
    kept = Store()
    kept.put(log_end_db2="1")  # of an earlier server
    noted = noting(kept, said(reader), said(reader, at_end=False), said(reader), said(reader, at_end=False))
    noted.step()  # who reads is seen for the first time
    noted.step()
    assert kept.text("log_end_db2") is None
    noted.step()
    assert kept.text("log_end_db2") == str(STARTED)
    revision = kept.revision
    noted.step()  # between two looks for more it waits for nothing
    assert kept.revision == revision


def test_it_is_taken_back_when_the_process_that_reads_has_ended(reader: Any) -> None:
    kept = Store()
    noted = noting(kept, said(reader))
    noted.step()
    noted.step()
    assert kept.text("log_end_db2") == str(STARTED)
    reader.stdin.close()
    reader.wait()
    noted.wait(20)
    assert kept.text("log_end_db2") is None
    with pytest.raises(OSError):  # there is no such process, and nothing is noted of it
        noted.step()
    assert kept.text("log_end_db2") is None


def test_so_it_is_while_postgresql_does_not_answer(reader: Any) -> None:
    kept = Store()
    noted = noting(kept, said(reader))
    noted.step()
    noted.step()
    reader.stdin.close()
    reader.wait()
    noted.wait(20)
    assert kept.text("log_end_db2") is None


def test_of_another_reader_nothing_is_known_at_first(reader: Any) -> None:
    kept = Store()
    noted = noting(kept, said(reader), said(reader), said(reader) | {"reader": os.getpid()})
    for _ in range(3):
        noted.step()
    assert kept.text("log_end_db2") is None


def test_what_it_has_received_and_is_sent_again_is_more_than_it_says(reader: Any) -> None:
    kept = Store()
    noted = noting(kept, said(reader), said(reader), said(reader, again=True), said(reader))
    for expected in (None, str(STARTED), None, str(STARTED)):
        noted.step()
        assert kept.text("log_end_db2") == expected


def test_where_etcd_was_set_up_anew_it_is_noted_again(reader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Store()
    noted = noting(kept, said(reader))
    noted.step()
    noted.step()
    kept.put(log_end_db2=None)
    monkeypatch.setattr(log_end, "CHECK_SECONDS", 0)
    noted.step()
    assert kept.text("log_end_db2") == str(STARTED)
    revision = kept.revision
    noted.step()
    assert kept.revision == revision


def test_a_server_that_takes_writes_has_no_such_end() -> None:
    kept = Store()
    kept.put(log_end_db2=str(STARTED))
    noting(kept, {"started": STARTED, "reader": None, "at_end": False, "again": False}).step()
    assert kept.text("log_end_db2") is None
