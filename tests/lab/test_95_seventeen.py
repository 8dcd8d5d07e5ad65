"""PostgreSQL 17 as Debian 13 has it, where there is a lab for it (KINDS of hosts.py): the page of acceptance once more."""

from __future__ import annotations

import test_69_smoke as page
from helpers import Deploy, Site
from hosts import DATABASES, POSTGRES


def test_it_is_the_version_of_the_settings(site: Site) -> None:
    for host in DATABASES:
        assert site.on(host, "runuser -u postgres -- psql -Atc 'show server_version_num'").startswith(str(POSTGRES))


def test_nothing_is_lost_with_the_host_of_the_primary(site: Site, first_deploy: Deploy) -> None:
    page.test_what_was_acknowledged_before_the_primary_died_is_read_after(site, first_deploy)


def test_nothing_is_lost_by_planned_work(site: Site) -> None:
    page.test_no_write_is_lost_when_each_server_is_restarted_in_turn(site)
