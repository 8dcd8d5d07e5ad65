"""One replica lags, the other leaves, and the primary's host is lost in the moment Patroni goes on without the one that left."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import Site
from test_78_proof import NOTHING, run, traces

pytestmark = pytest.mark.usefixtures("healed")


@pytest.mark.parametrize("leaves", ["stop", "crash", "restart", "off"])
def test_who_lags_never_leads_and_nothing_is_lost(site: Site, tmp_path: Path, leaves: str) -> None:
    (trial,) = run(site, tmp_path, "--fault", f"lagging-then-{leaves}")["trials"]
    account = trial["settlement"]
    assert {key: account[key]["count"] for key in NOTHING} == dict.fromkeys(NOTHING, 0), trial["note"]
    assert account["overlaps"] == [] and trial["reads"]["vanished"] == 0
    assert account["acknowledged"] > 500
    assert trial["whole"] is not None, trial["problems"]
    assert [f for f in trial["failures"] if not f.startswith("writes stopped for")] == []
    assert traces(site) == ""
    assert site.healthy()


def test_a_replica_that_lags_costs_no_write(site: Site, tmp_path: Path) -> None:
    leader = site.leader()
    (trial,) = run(site, tmp_path, "--fault", "lagging-replica")["trials"]
    assert [f for f in trial["failures"] if not f.startswith("writes stopped for")] == []
    assert traces(site) == ""
    assert site.leader() == leader
