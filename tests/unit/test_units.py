"""Whether a program has to read its files anew, from what systemd and the files say of when."""

from __future__ import annotations

import pytest

from operations.services import Unit, UnitFact

STARTED = 1_796_000_000.0


@pytest.mark.parametrize(
    ("written", "now", "due"),
    [
        (STARTED - 5, STARTED + 100, False),
        (STARTED + 5, STARTED + 100, True),
        (STARTED - 7000, STARTED - 7200, True),  # the clock was hours ahead at boot: what was written since is older by it
        (STARTED - 5, STARTED - 2, False),  # a clock that is put right by seconds
        (STARTED - 5, 0.0, False),  # a host that does not say
    ],
)
def test_what_was_written_after_the_start_is_due_and_what_can_not_be_told(written: float, now: float, due: bool) -> None:
    unit = Unit(active=True, changed=STARTED, started=STARTED, files_written=written, now=now)
    assert (unit.restart_due, unit.reload_due) == (due, due)
    stopped = Unit(active=False, changed=STARTED, started=STARTED, files_written=written, now=now)
    assert not stopped.restart_due and not stopped.reload_due


def test_the_hosts_clock_is_part_of_the_answer() -> None:
    fact = UnitFact()
    assert fact.process(["ActiveState=active", "Now=1796000000"]).now == STARTED
    assert 'echo "Now=$(date +%s)"' in fact.command("etcd.service", ("/etc/etcd/etcd.env",))
