"""Who is promoted, and what that hangs on: the notes in etcd, read with etcdctl, and the gate's own words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from commands import invoke
from helpers import Site
from hosts import DATA, DATABASES, SPEC, wait_until
from proving import run_one

pytestmark = pytest.mark.usefixtures("healed")

CONFIRM = "pgquorum-confirm-quorum"
GATE = "/usr/bin/python3 -I -S /usr/local/lib/pgquorum/agents promotion-gate /etc/pgquorum/agents.json"


def noted(site: Site, key: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(site.etcdctl(DATABASES[0], f"get --print-value-only /pgquorum/{SPEC.name}/{key}"))
    return found


def voters(site: Site) -> tuple[int, list[str]]:
    """The revision of Patroni's /sync, and whom it names."""
    value = json.loads(site.etcdctl(DATABASES[0], f"get --print-value-only /service/{SPEC.name}/sync"))
    about = json.loads(site.etcdctl(DATABASES[0], f"get -w json /service/{SPEC.name}/sync"))
    return about["kvs"][0]["mod_revision"], sorted(value["sync_standby"].split(","))


def confirmed(site: Site, names: list[str]) -> bool:
    """Whether the configuration in force has these voters and is confirmed."""
    revision, found = voters(site)
    return found == sorted(names) and noted(site, "confirmed") == {"revision": revision, "by": site.leader()}


def said(site: Site, host: str, since: str) -> str:
    return site.on(host, f"journalctl -u patroni --no-pager -o cat --since '{since}' | grep 'promotion gate' || true")


def test_the_configuration_in_force_is_confirmed_from_the_primarys_host(site: Site) -> None:
    wait_until(lambda: confirmed(site, site.replicas()), "the configuration is confirmed")


def test_a_replica_that_leaves_and_returns_changes_what_is_confirmed(site: Site) -> None:
    gone, stays = site.replicas()
    site.on(gone, "systemctl stop patroni")
    try:
        wait_until(lambda: confirmed(site, [stays]), "the smaller configuration is confirmed")
    finally:
        site.on(gone, "systemctl start patroni")
    wait_until(lambda: confirmed(site, [gone, stays]), "the larger one is confirmed")


def test_who_is_promoted_went_through_the_gate_and_is_noted(site: Site) -> None:
    since = site.on(DATABASES[0], "date '+%F %T'")
    new = run_one(site, "postgres-kill")["primary_after"]
    assert "it holds every acknowledged write" in said(site, new, since)
    assert noted(site, "promoted")["name"] == new


def test_nobody_goes_through_who_does_not_hold_the_leader_key(site: Site) -> None:
    replica = site.replicas()[0]
    done = site.on(replica, f"runuser -u postgres -- {GATE} 2>&1; echo $?")
    assert done.splitlines()[-1] == "1"
    assert "does not hold the leader key" in done
    assert noted(site, "promoted")["name"] != replica or site.leader() == replica


def test_without_what_confirms_a_failover_still_works_while_all_voters_answer(site: Site) -> None:
    """It confirms on the primary's host alone. (On a replica's it says that its server has read its own log: without that the
    server that is restarted here would be no witness.)"""
    site.on(site.leader(), f"systemctl stop {CONFIRM}")
    try:
        replica = site.replicas()[0]
        before = noted(site, "confirmed")
        site.on(replica, "systemctl restart patroni")
        wait_until(site.healthy, "the replica streams again")
        wait_until(lambda: voters(site)[1] == site.replicas(), "it is a voter again")
        assert noted(site, "confirmed") == before and voters(site)[0] > before["revision"]
        assert f"{CONFIRM}.service is inactive" in invoke(site, "verify")[1]
        run_one(site, "postgres-kill")
    finally:
        site.on_all(f"systemctl start {CONFIRM}", DATABASES)
    wait_until(lambda: confirmed(site, site.replicas()), "what is in force is confirmed")


def timeline(site: Site) -> int:
    return int(site.psql(site.leader(), "select left(pg_walfile_name(pg_current_wal_lsn()), 8)"), 16)


def test_a_timeline_that_was_begun_and_followed_by_nobody_is_not_begun_again(site: Site) -> None:
    """As if another one had been promoted twice meanwhile, and lost each time."""
    leader, before = site.leader(), timeline(site)
    site.etcdctl(leader, f"put /pgquorum/{SPEC.name}/promoted '{json.dumps({'name': leader, 'timeline': before + 2})}'")
    new = run_one(site, "postgres-kill")["primary_after"]
    assert timeline(site) == before + 3
    assert noted(site, "promoted") == {"name": new, "timeline": before + 3}
    for replica in site.replicas():
        assert site.psql(replica, "select received_tli from pg_stat_wal_receiver") == str(before + 3)


def test_what_was_taken_up_for_a_promotion_that_did_not_come_is_given_back(site: Site) -> None:
    """While it is there PostgreSQL does not start. Nobody needs to do anything."""
    replica, now = site.replicas()[0], timeline(site)
    file = f"{DATA}/pg_wal/{now + 1:08X}.history"
    text = f"{now}\\t0/1\\tpgquorum: begun by a server that nobody followed\\n"
    descent = f"cat {DATA}/pg_wal/{now:08X}.history 2>/dev/null"
    # It is given back after half a minute, by its date, and on a busy machine PostgreSQL would not have been started by then.
    late = f"touch -d '+60 seconds' {file}"
    write = f"{{ {descent}; printf '{text}'; }} > {file}; chown postgres: {file}"
    site.on(replica, f"{write}; {late}; kill -9 $(head -1 {DATA}/postmaster.pid)")
    wait_until(lambda: site.states()[replica] == "start failed", "PostgreSQL does not start")
    wait_until(site.healthy, "the replica streams again", seconds=240)
    assert site.on(replica, f"test ! -e {file} && echo gone") == "gone"
    assert timeline(site) == now
