"""One page of acceptance: deploy, deploy again, write, lose the primary's host, read. `pytest -m smoke tests/lab`."""

from __future__ import annotations

import time

import pytest
from clients import Writers
from commands import invoke
from helpers import Deploy, Site
from hosts import DATABASES, ETCD_FROM_FILES, PROXY, SPEC, wait_until
from proving import switch_over


@pytest.mark.smoke
def test_what_was_acknowledged_before_the_primary_died_is_read_after(site: Site, first_deploy: Deploy) -> None:
    assert "verified" in first_deploy.output
    assert site.changes() == 0

    old = site.leader()
    survivors = [host for host in DATABASES if host != old]
    with Writers(site) as writers:
        wait_until(lambda: len(writers.acknowledged) > 500, "writes are acknowledged")
        site.lab.off(old)
        lost = time.monotonic()
        before = len(writers.acknowledged)
        wait_until(lambda: site.leader(survivors[0]) in survivors, "another leads")
        wait_until(lambda: len(writers.acknowledged) > before + 500, "writes are acknowledged again")
        print(f"{time.monotonic() - lost:.1f} s without the primary's host")
    assert writers.lost() == set()

    # In a lab that has both kinds of addresses, by that which the cluster does not use.
    with site.connect(5001, hostaddr=SPEC.host(PROXY).addresses[-1]) as reader:
        written = "select writer, seq from written"
        wait_until(lambda: set(writers.acknowledged) <= set(reader.execute(written).fetchall()), "all of it is read")

    site.lab.on(old)
    wait_until(site.healthy, "the lost host streams again")
    assert site.changes() == 0


@pytest.mark.long
def test_no_write_is_lost_when_each_server_is_restarted_in_turn(site: Site) -> None:
    started = site.postmasters()
    with Writers(site) as writers:
        switch_over(site)
        code, out, err = invoke(site, "rolling-restart", "--yes")
        assert code == 0, out + err
    assert writers.lost() == set()
    assert {host for host, time_ in site.postmasters().items() if time_ != started[host]} == set(DATABASES)
    code, out, err = invoke(site, "verify")
    assert code == 0, out + err
    assert site.changes() == 0


@pytest.mark.skipif(not ETCD_FROM_FILES, reason="here etcd comes from the distribution, or from a source of packages")
def test_etcd_came_from_the_files_that_the_settings_name(site: Site) -> None:
    for host in DATABASES:
        assert site.on(host, "dpkg-query -W -f '${db:Status-Status} ' etcd-server etcd-client").split() == ["installed"] * 2
        assert site.on(host, "ls /etc/apt/sources.list.d /var/cache").split().count("pgquorum-etcd.sources") == 0
        assert "pgquorum" not in site.on(host, "ls /var/cache").split()
