"""All hosts lose their power at once: the cluster comes back by itself, with everything that was acknowledged."""

from __future__ import annotations

import pytest
from clients import Writers
from helpers import Site
from hosts import HOSTS, wait_until

pytestmark = pytest.mark.usefixtures("healed")


def test_after_a_power_cut_of_all_hosts_the_cluster_comes_back_by_itself(site: Site) -> None:
    with Writers(site) as writers:
        for host in HOSTS:
            site.lab.off(host)
    assert not any(host.power for host in site.lab.status())
    for host in HOSTS:
        site.lab.on(host, wait=False)
    wait_until(site.healthy, "the cluster is whole")
    assert writers.lost() == set()
    assert site.changes() == 0
