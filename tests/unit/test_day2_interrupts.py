"""Ctrl-C in a task that has something to undo."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from repository import ROOT

from cluster.errors import ClusterError
from day2.hosts.interrupts import Interrupts
from day2.ui import console


def test_it_is_acted_on_only_where_it_is_asked_for() -> None:
    said: list[str] = []
    with Interrupts(said.append) as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        undone = True
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
        with pytest.raises(KeyboardInterrupt):
            interrupts.wait(lambda: True, until=time.monotonic() + 60)
    assert undone
    assert said == ["interrupted: undoing what was set", "still undoing, please wait"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_waiting() -> None:
    with Interrupts(print) as interrupts:
        assert interrupts.wait(lambda: True, until=0)
        assert not interrupts.wait(lambda: False, until=time.monotonic() + 0.05)
        interrupts.sleep(0.01)


@pytest.mark.parametrize(
    ("outcome", "code"), [(0, None), (None, None), (1, 1), (ClusterError("x"), 2), (KeyboardInterrupt(), 130), (OSError("y"), 2)]
)
def test_exit_codes(
    outcome: int | BaseException | None, code: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def body() -> int | None:
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    if code is None:
        console.call(body)
        return
    with pytest.raises(SystemExit) as end:
        console.call(body, errors=(OSError,))
    assert end.value.code == code
    assert "Traceback" not in capsys.readouterr().err


def test_whoever_reads_may_have_read_enough() -> None:
    """What is printed lies in a buffer when the task is done: as much as that is written later."""
    task = "from day2.ui import console; console.call(lambda: print('a line'))"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-c", task], cwd=ROOT, env=environment, stdout=write, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
