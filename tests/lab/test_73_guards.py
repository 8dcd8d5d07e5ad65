"""A failover that waits for no lease: guards agree that a host is gone, and voters promise to hear no former primary.
Seen with nft, ss, etcdctl, and by what becomes of acknowledged rows."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from clients import Writers
from commands import status
from helpers import Site
from hosts import ADDRESS, DATABASES, FAMILY, PROXY, SPEC, wait_until
from proving import run_one, switch_over

pytestmark = pytest.mark.usefixtures("healed")
GUARD, ONE = "pgquorum-guard", "pgquorum-one-primary"
# Younger leaders are waited for (agents/guard.py).
YOUNG_SECONDS = 60
ANSWER_SECONDS = 8


@pytest.fixture(scope="module")
def guarded(site: Site) -> Iterator[Site]:
    """The cluster with guards, if it had none."""
    with site.deployed_with("group_data/all.py", "fast_failover = True"):
        yield site
    assert site.on_all(f"ls /etc/systemd/system/{GUARD}.service 2>/dev/null || true", DATABASES) == dict.fromkeys(DATABASES, "")


def tables(site: Site, host: str) -> set[str]:
    """Which tables of a guard's the kernel has."""
    return {line.split()[-1] for line in site.on(host, "nft list tables").splitlines()} & {"pgquorum_fence", "pgquorum_shun"}


def note(site: Site, key: str, host: str) -> Any:
    text = site.etcdctl(host, f"get --print-value-only /pgquorum/{SPEC.name}/guard/{key}")
    return json.loads(text) if text else None


def ready_again(site: Site) -> None:
    """No leader was given up lately, and the guards take this one for old enough."""
    site.etcdctl(DATABASES[0], f"del /pgquorum/{SPEC.name}/guard/yielded")
    leader = json.loads(site.etcdctl(DATABASES[0], f"get -w json /service/{SPEC.name}/leader"))
    site.on_all(f"systemctl restart {GUARD}", DATABASES)
    time.sleep(YOUNG_SECONDS + 1)
    again = json.loads(site.etcdctl(DATABASES[0], f"get -w json /service/{SPEC.name}/leader"))
    assert leader["kvs"][0]["create_revision"] == again["kvs"][0]["create_revision"]


def test_systemd_finds_nothing_wrong_with_its_units(guarded: Site) -> None:
    for host, name in ((DATABASES[0], GUARD), (PROXY, ONE)):
        unit = guarded.eyes(host).service(name)
        done = guarded.eyes(host).run(f"systemd-analyze verify --man=no {name}.service")
        assert done.rc == 0 and name not in done.stderr, done.stderr
        assert unit.is_running and unit.is_enabled
    assert guarded.changes() == 0


def test_status_tells_of_one_that_does_not_run(guarded: Site) -> None:
    host = guarded.replicas()[0]
    guarded.on(host, f"systemctl stop {GUARD}")
    try:
        found = {one["rule"]: one["about"] for one in status(guarded)["findings"] if one["level"] == "warning"}
        assert found.get("services.guard-not-active") == host
    finally:
        guarded.on(host, f"systemctl start {GUARD}")


def test_a_host_without_power_is_given_up_before_its_lease_has_ended(guarded: Site) -> None:
    """Also where a switchover was done before, of which Patroni leaves its empty key."""
    switch_over(guarded)
    ready_again(guarded)
    began = time.time()
    trial = run_one(guarded, "host-off")
    gone = next(step["seconds"] for step in trial["timeline"] if step["key"] == "key_gone")
    lease = guarded.cluster.timing.key_gone(etcd_leader_lost=False)[0]
    print(f"key gone after {gone} s, outage {trial['outage']} s")
    for host in DATABASES:
        print(host, guarded.on(host, f"journalctl --unit {GUARD} --since @{began:.0f} --no-pager -o short-precise"), sep="\n")
    assert gone < lease
    assert note(guarded, "yielded", DATABASES[0])["host"] == trial["primary_before"]
    wait_until(lambda: not any(tables(guarded, host) for host in DATABASES), "no fence is left")


@pytest.mark.long
@pytest.mark.parametrize("seconds", [5, 15, 30])
def test_a_host_that_hung_and_goes_on_confirms_nothing_to_its_own_clients(guarded: Site, seconds: int) -> None:
    """Who waits for its answer all the time, and comes again as soon as a connection breaks."""
    ready_again(guarded)
    old, units = guarded.leader(), f"patroni etcd {GUARD} pgquorum-confirm-quorum pgquorum-wake-patroni"
    with Writers(guarded, host=old, hostaddr=ADDRESS[old], port=5432, tcp_user_timeout=0, keepalives=0) as writers:
        guarded.on(old, f"systemctl kill --signal=STOP {units}")
        try:
            guarded.lab.cut(old)
            time.sleep(seconds)
        finally:
            guarded.lab.heal(old)
            guarded.on(old, f"systemctl kill --signal=CONT {units}")
        tried = writers.tried
        wait_until(lambda: writers.tried > tried, "its clients have asked it again")
        wait_until(guarded.healthy, "the cluster is whole")
    assert guarded.leader() != old
    assert writers.lost() == set()


@pytest.mark.long
def test_a_host_that_hangs_does_what_is_predicted(guarded: Site) -> None:
    ready_again(guarded)
    trial = run_one(guarded, "host-hang")
    assert trial["primary_after"] != trial["primary_before"]


@pytest.mark.long
def test_one_that_sees_the_primary_keeps_it(guarded: Site) -> None:
    """A replica that is cut off from the primary is no reason."""
    ready_again(guarded)
    leader, (cut, _) = guarded.leader(), guarded.replicas()
    drop = "{hook} {{ type filter hook {hook} priority -20; {family} {end} {address} drop; }}"
    chains = (
        drop.format(hook=hook, family=FAMILY, end=end, address=ADDRESS[leader])
        for hook, end in (("input", "saddr"), ("output", "daddr"))
    )
    rules = f"table inet cut {{ {' '.join(f'chain {chain};' for chain in chains)} }}"
    guarded.on(cut, f"nft -f - <<<{shlex.quote(rules)}")
    try:
        wait_until(lambda: note(guarded, f"sightings/{cut}", cut), "it misses the primary")
        other = next(name for name in guarded.replicas() if name != cut)
        wait_until(lambda: (note(guarded, f"sightings/{other}", other) or {}).get("silent") is False, "the other one sees it")
        assert not tables(guarded, cut) and guarded.leader() == leader
    finally:
        guarded.on(cut, "nft delete table inet cut")
    wait_until(guarded.healthy, "the cluster is whole")
    assert guarded.leader() == leader


@contextmanager
def zombie(site: Site) -> Iterator[tuple[str, str, str]]:
    """The primary's Patroni is dead and its PostgreSQL lives. A replica's Patroni hangs, so that its PostgreSQL goes on receiving
    the log from there. The third one is made the primary. Yields the three."""
    old, (new, deaf) = site.leader(), site.replicas()
    site.psql(old, "create table if not exists zombie (n int)")
    site.psql(old, "truncate zombie")
    stays = "/run/systemd/system/patroni.service.d/stays-dead.conf"
    site.on(old, f"mkdir -p $(dirname {stays}); printf '[Service]\\nRestart=no\\n' >{stays}; systemctl daemon-reload")
    site.on(old, "kill -9 $(systemctl show -P MainPID patroni)")
    site.on(deaf, "kill -STOP $(systemctl show -P MainPID patroni)")
    try:
        site.etcdctl(new, f"put /service/{SPEC.name}/failover {shlex.quote(json.dumps({'member': new}))}")
        site.etcdctl(new, f"del /service/{SPEC.name}/leader")
        wait_until(lambda: site.psql(new, "select pg_is_in_recovery()") == "f", "the third one is the primary")
        yield old, new, deaf
    finally:
        site.on(deaf, "kill -CONT $(systemctl show -P MainPID patroni)")
        site.on(old, f"rm {stays}; systemctl daemon-reload; systemctl start patroni")
        wait_until(site.healthy, "the cluster is whole")


def acknowledged(site: Site, host: str, number: int) -> bool:
    """Whether PostgreSQL on a host acknowledges a row."""
    insert = shlex.quote(f"insert into zombie values ({number})")
    return site.on(host, f"timeout {ANSWER_SECONDS} runuser -u postgres -- psql -XAtqc {insert} && echo yes || echo no") == "yes"


def kept(site: Site) -> set[int]:
    return {int(line) for line in site.psql(site.leader(), "select n from zombie").split()}


def test_a_voter_does_not_confirm_to_a_former_primary_any_more(guarded: Site) -> None:
    with zombie(guarded) as (old, _, deaf):
        assert "pgquorum_fence" in tables(guarded, deaf)
        assert not acknowledged(guarded, old, 1)
    wait_until(lambda: not any(tables(guarded, host) for host in DATABASES), "no fence is left")


@pytest.mark.long
def test_without_its_fence_it_does_and_what_it_has_confirmed_is_lost(guarded: Site) -> None:
    """That the one before can fail."""
    with zombie(guarded) as (old, _, deaf):
        guarded.on(deaf, f"systemctl stop {GUARD}")
        try:
            assert "pgquorum_fence" in tables(guarded, deaf)
            guarded.on(deaf, "nft delete table inet pgquorum_fence")
            wait_until(lambda: acknowledged(guarded, old, 1), "it confirms to the former primary")
        finally:
            guarded.on(deaf, f"systemctl start {GUARD}")
    assert kept(guarded) == set()


def test_a_fence_outlives_a_restart_of_its_guard_and_a_flush_of_the_kernels_rules(guarded: Site) -> None:
    with zombie(guarded) as (old, _, deaf):
        guarded.on(deaf, "nft delete table inet pgquorum_fence")
        wait_until(lambda: tables(guarded, deaf), "the fence is up again")
        guarded.on(deaf, f"systemctl restart {GUARD}")
        assert tables(guarded, deaf) and not acknowledged(guarded, old, 1)
    wait_until(lambda: not any(tables(guarded, host) for host in DATABASES), "no fence is left")
