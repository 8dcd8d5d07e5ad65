"""What notes who holds PostgreSQL's locks, over a session that is a stand-in."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from agents.lock_table import look, title


class Server:
    """A PostgreSQL that says one thing, or does not answer."""

    def __init__(self, said: dict[str, Any] | None) -> None:
        self._said = said

    def ask(self, *statements: str) -> Any:
        assert statements == ("execute locks;",)
        if self._said is None:
            raise OSError("PostgreSQL does not answer")
        return self._said


def test_the_note_names_the_process_as_the_system_does(tmp_path: Path) -> None:
    note = tmp_path / "locks.json"
    look(Server({"used": 9, "holders": [{"pid": os.getpid(), "locks": 9}]}), note)  # type: ignore[arg-type]
    said = json.loads(note.read_text())
    assert said["holders"] == [{"pid": os.getpid(), "locks": 9, "session": title(os.getpid())}]
    assert "python" in title(os.getpid()) or "pytest" in title(os.getpid())


def test_without_an_answer_the_last_note_stands(tmp_path: Path) -> None:
    note = tmp_path / "locks.json"
    look(Server({"used": 9, "holders": []}), note)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="does not answer"):
        look(Server(None), note)  # type: ignore[arg-type]
    assert json.loads(note.read_text())["used"] == 9
    assert [file.name for file in tmp_path.iterdir()] == ["locks.json"]


def test_a_process_that_is_gone_has_no_title() -> None:
    assert title(2**22 + 1) == ""
