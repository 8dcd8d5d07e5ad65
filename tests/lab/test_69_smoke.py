"""One page of acceptance: deploy, deploy again, write, lose the primary's host, read. `pytest -m smoke tests/lab`."""

from __future__ import annotations

import time

import pytest
from clients import Writers
from helpers import Deploy, Site
from hosts import DATABASES, PROXY, SPEC, wait_until


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
