"""What `--watch` shares: screens one after the other, until nobody wants more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rich.text import Text

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
