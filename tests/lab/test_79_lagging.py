"""One replica lags, the other leaves, and the primary's host is lost in the moment Patroni goes on without the one that left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import Site
from hosts import DATABASES
from test_78_proof import NOTHING, run, traces

from cluster.paths import PATRONI_CONFIG

pytestmark = pytest.mark.usefixtures("healed")


@pytest.mark.parametrize("leaves", ["stop", "crash", "restart", "off"])
def test_who_lags_never_leads_and_nothing_is_lost(site: Site, tmp_path: Path, leaves: str) -> None:
    (trial,) = run(site, tmp_path, "--fault", f"lagging-then-{leaves}")["trials"]
    writes = trial["writes"]
    assert {key: writes[key]["count"] for key in NOTHING} == dict.fromkeys(NOTHING, 0), trial["note"]
    assert writes["split_brain"] == [] and trial["reads"]["reads_of_lost_rows"] == 0
    assert writes["acknowledged"] > 500
    assert trial["healthy_again"] is not None, trial["problems"]
    assert [f for f in trial["failures"] if not f.startswith("writes stopped for")] == []
    assert traces(site) == ""
    assert site.healthy()


@pytest.fixture
def unprotected(site: Site) -> Iterator[None]:
    """Nobody is asked before a promotion."""
    site.on_all(f"sed -i '/^  pre_promote:/d' {PATRONI_CONFIG}/patroni.yml && systemctl reload patroni", DATABASES)
    yield
    site.heal()
    site.deployed()


@pytest.mark.parametrize("leaves", ["stop"])  # which loses most surely
def test_without_the_promotion_gate_the_same_loses_writes_and_the_loss_is_found(
    site: Site, tmp_path: Path, unprotected: None, leaves: str
) -> None:
    """This proves that the tests above can fail. Who wins the race is chance, so more than once if need be."""
    for n in range(4):
        (trial,) = run(site, tmp_path / str(n), "--fault", f"lagging-then-{leaves}")["trials"]
        if trial["writes"]["lost"]["count"]:
            break
    assert trial["writes"]["lost"]["count"] > 0
    find = "select max(relname) from pg_class where relname ~ '^evidence_' and relkind = 'r'"
    site.psql(site.leader(), f"drop table {site.psql(site.leader(), find, 'pgquorum')}", "pgquorum")


def test_a_replica_that_lags_costs_no_write(site: Site, tmp_path: Path) -> None:
    leader = site.leader()
    (trial,) = run(site, tmp_path, "--fault", "lagging-replica")["trials"]
    assert [f for f in trial["failures"] if not f.startswith("writes stopped for")] == []
    assert traces(site) == ""
    assert site.leader() == leader
