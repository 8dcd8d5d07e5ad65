"""What is chosen for writes without a replica, and durability all: deployed, tested by faults, and taken back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import invoke, status
from helpers import Site
from hosts import DATA, wait_until
from proving import as_promised, run, run_one

pytestmark = pytest.mark.usefixtures("healed")

ALONE = "select count(*) from pg_stat_replication"
WRITE = "select pg_logical_emit_message(true, '', '')"


def acknowledged_within(site: Site, seconds: int) -> bool:
    """Whether the primary acknowledges a write; one that it does not is cancelled."""
    write = f'timeout --signal INT {seconds} runuser -u postgres -- psql -XAtqc "{WRITE}" >/dev/null 2>&1 && echo yes || echo no'
    return site.on(site.leader(), write) == "yes"


def test_without_a_replica_writes_wait_and_lose_nothing(site: Site) -> None:
    trial = run_one(site, "replicas-stop")
    assert trial["prediction"]["effect"] == "stops writes until healed"
    assert trial["outage"] > 10


def test_a_primary_without_a_replica_waits_for_one_after_a_crash_too(site: Site) -> None:
    """Patroni itself sets no synchronous_standby_names then."""
    primary, replicas = site.leader(), site.replicas()
    site.on_all("systemctl stop patroni", replicas)
    wait_until(lambda: site.psql(primary, ALONE) == "0", "the replicas are gone")
    started = site.psql(primary, "select pg_postmaster_start_time()")
    kill = f"kill -KILL $(head -n 1 {DATA}/postmaster.pid)"
    site.on(primary, kill)
    back = "select pg_postmaster_start_time() from pg_is_in_recovery() as replica where not replica"
    wait_until(lambda: site.psql(primary, back) not in ("", started), "the primary is back, alone")
    assert not acknowledged_within(site, 3)
    said = status(site)
    assert any("no replica is there to confirm writes" in finding["text"] for finding in said["findings"])
    code, out, _ = invoke(site, "verify", "--json")
    told = {finding["text"] for finding in json.loads(out)["findings"]}
    assert code == 1 and "a write through port 5000 fails: no answer within 5 s" in told
    assert "a read through port 5001 succeeds, TLS verified" in told
    site.on(replicas[0], "systemctl start patroni")
    wait_until(lambda: acknowledged_within(site, 3), "writes go on by themselves")
    site.on(replicas[1], "systemctl start patroni")


def test_a_tablespace_that_only_the_primary_has_room_for_stops_writes_and_loses_none(site: Site) -> None:
    """PostgreSQL on the replicas ends where it can't make the tablespace, again and again, until the directory is there."""
    elsewhere = "/var/lib/postgresql/elsewhere"
    make = f"install -d -o postgres -g postgres -m 700 {elsewhere}"
    primary, replicas = site.leader(), site.replicas()
    site.on(primary, make)
    try:
        site.psql(primary, f"create tablespace elsewhere location '{elsewhere}'")
        wait_until(lambda: site.psql(primary, ALONE) == "0", "the replicas are gone")
        wait_until(lambda: not acknowledged_within(site, 3), "no write is acknowledged")
        assert "durability.nobody-confirms" in {finding["rule"] for finding in status(site)["findings"]}
    finally:
        site.on_all(make, replicas)
    wait_until(lambda: acknowledged_within(site, 3), "writes go on by themselves")
    wait_until(site.healthy, "the cluster is whole")
    # The directories stay: a server that is started again may replay its log from before.
    site.psql(primary, "drop tablespace elsewhere")


@pytest.mark.long
def test_the_other_choice_is_to_go_on_alone_and_every_report_says_so(site: Site, tmp_path: Path) -> None:
    with site.deployed_with("group_data/all.py", 'without_replica = "continue"'):
        assert site.changes() == 0
        assert status(site)["without_replica"] == "continue"
        proof = run(site, "--fault", "replicas-stop", folder=tmp_path)
        (trial,) = proof["trials"]
        assert trial["prediction"]["effect"] == "keeps running"
        as_promised(trial)
        assert proof["durability"] == "quorum, alone without a replica"
        assert proof["durability"] in (tmp_path / "report.txt").read_text()
    assert status(site)["without_replica"] == "wait"


@pytest.mark.long
def test_durability_all_has_every_write_on_every_replica_and_is_taken_back(site: Site) -> None:
    with site.deployed_with("group_data/all.py", 'durability = "all"'):
        assert site.changes() == 0
        assert site.psql(site.leader(), "show synchronous_standby_names").startswith("ANY 2 (")
        assert status(site)["durability"] == "all"
        old = site.leader()
        run_one(site, "kill")
        assert site.leader() != old
    assert site.psql(site.leader(), "show synchronous_standby_names").startswith("ANY 1 (")
    assert invoke(site, "verify")[0] == 0
