"""What `--watch` shares: screens one after the other, until nobody wants more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest
from clusters import cluster
from rich.text import Text

from cluster.errors import ClusterError
from day2.commands.look import status, wal_lag
from day2.ui import watch


def test_screens_are_shown_until_ctrl_c(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    waited: list[float] = []
    monkeypatch.setattr(watch.time, "sleep", waited.append)

    def screens() -> Iterator[Text]:
        yield Text("first")
        yield Text("second")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watch.watch(screens())
    assert waited == [watch.WATCH_SECONDS] * 2
    assert "second" in capsys.readouterr().out


@pytest.mark.parametrize("command", [status.status, partial(wal_lag.wal_lag, max_bytes=None, max_seconds=None)])
def test_a_screen_that_is_refreshed_is_no_document(command: Callable[..., int]) -> None:
    with pytest.raises(ClusterError, match="choose one of them"):
        command(cluster(), watch=True, as_json=True)
