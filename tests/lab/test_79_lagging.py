"""One replica lags, the other leaves, and the primary's host is lost in the moment Patroni goes on without the one that left."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers import Site
from hosts import DATABASES
from proving import run, run_one
from test_78_proof import traces

from cluster.paths import PATRONI_CONFIG

pytestmark = pytest.mark.usefixtures("healed")

ENOUGH_TO_LAG = ("--writers", "3")
AS_SUDDEN = ["off", "crash", "restart"]
WAYS = pytest.mark.parametrize("leaves", ["stop", *(pytest.param(way, marks=pytest.mark.long) for way in AS_SUDDEN)])


@WAYS
def test_who_lags_never_leads_and_nothing_is_lost(site: Site, leaves: str) -> None:
    trial = run_one(site, f"lagging-then-{leaves}", ENOUGH_TO_LAG)
    assert trial["writes"]["acknowledged"] > 500
    assert traces(site) == ""
    assert site.healthy()


@pytest.fixture
def unprotected(site: Site) -> Iterator[None]:
    """Nobody is asked before a promotion."""
    site.on_all(f"sed -i '/^  pre_promote:/d' {PATRONI_CONFIG}/patroni.yml && systemctl reload patroni", DATABASES)
    yield
    site.heal()
    site.deployed()


@pytest.mark.long
@WAYS
def test_without_the_promotion_gate_the_same_loses_writes_and_the_loss_is_found(
    site: Site, unprotected: None, leaves: str
) -> None:
    """This proves that the tests above can fail. Who wins the race is chance, so more than once if need be."""
    for _ in range(4):
        (trial,) = run(site, "--fault", f"lagging-then-{leaves}", load=ENOUGH_TO_LAG)["trials"]
        if trial["writes"]["lost"]["count"]:
            break
    assert trial["writes"]["lost"]["count"] > 0
    find = "select max(relname) from pg_class where relname ~ '^evidence_' and relkind = 'r'"
    site.psql(site.leader(), f"drop table {site.psql(site.leader(), find, 'pgquorum')}", "pgquorum")


def test_a_replica_that_lags_costs_no_write(site: Site) -> None:
    leader = site.leader()
    run_one(site, "lagging-replica", ENOUGH_TO_LAG)
    assert traces(site) == ""
    assert site.leader() == leader
