"""Clients as people have them: other names for the cluster, connections that are idle for long, reads that take long."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
import pytest
from helpers import Site
from hosts import PROXY, wait_until
from proving import run_one

pytestmark = pytest.mark.usefixtures("healed")


def test_a_further_name_of_the_cluster_is_good_once_it_is_in_the_settings(site: Site) -> None:
    alias = "db.shop.example"
    with pytest.raises(psycopg.OperationalError, match=alias):
        site.connect(5000, host=alias)
    with site.deployed_with("group_data/all.py", f'certificate_names = ["{alias}"]'):
        for port in (5000, 5001):
            wait_until(lambda port=port: works(site, port, alias), f"port {port} shows a certificate with the name")
        assert site.changes() == 0


def works(site: Site, port: int, name: str) -> bool:
    with site.connect(port, host=name) as connection:
        return connection.execute("select 1").fetchone() == (1,)


def test_an_idle_connection_is_kept_alive_on_both_sides_of_haproxy(site: Site) -> None:
    """What stands between would forget it. The kernel says when it will ask the other side next."""
    with site.connect(5000) as connection:
        connection.execute("select 1")
        wait_until(lambda: len(next_probes(site)) >= 2, "both connections are idle")
        assert max(next_probes(site)) <= 60


def next_probes(site: Site) -> list[float]:
    """In how many seconds the proxy's kernel asks the other end of each idle connection whether it is there."""
    timers = site.on(PROXY, "ss -Htno state established '( sport = :5000 or dport = :5432 )'")
    return [float(n) * (60 if unit == "min" else 1) for n, unit in re.findall(r"timer:\(keepalive,([\d.]+)(sec|min)", timers)]


def test_a_long_read_is_ended_on_a_replica_that_falls_behind(site: Site) -> None:
    """A pool would else go on reading from it for ever, and see less and less of what was written."""
    with site.connect(5001) as reading:
        found = reading.execute("select inet_server_addr()::text").fetchone()
        assert found
        late = next(host.name for host in site.cluster.postgres_hosts if found[0].startswith(host.address))
        receiver = "$(pgrep -f '[w]alreceiver streaming')"
        site.on(late, f"kill -STOP {receiver}")
        try:
            with site.connect(5000) as writing:
                writing.execute("drop table if exists much")
                writing.execute("create table much as select repeat(n::text, 100) as t from generate_series(1, 60000) n")
            with pytest.raises(psycopg.OperationalError):
                reading.execute("select pg_sleep(120)")
        finally:
            site.on(late, f"kill -CONT {receiver}")
    with site.connect(5000) as writing:
        writing.execute("drop table much")


@contextmanager
def storm(site: Site, threads: int = 8, each: int = 40) -> Iterator[None]:
    """An application that takes every connection it can get, and asks for more as soon as it has lost some."""
    stop = threading.Event()

    def take() -> None:
        held: list[psycopg.Connection[object]] = []
        while not stop.is_set():
            with suppress(psycopg.Error):
                for one in held:
                    one.execute("select 1")
                while len(held) < each:
                    held.append(site.connect(5000))
            held = [one for one in held if not one.closed]
            stop.wait(0.5)
        for one in held:
            one.close()

    takers = [threading.Thread(target=take, daemon=True) for _ in range(threads)]
    for taker in takers:
        taker.start()
    try:
        yield
    finally:
        stop.set()
        for taker in takers:
            taker.join(60)


def test_in_a_storm_of_connections_a_lost_primary_is_replaced_and_rejoins(site: Site) -> None:
    """It is rewound over one of the connections that are kept for the tool."""
    old = site.leader()
    with site.without_limit(), storm(site):
        wait_until(lambda: full(site, old), "no connection is left")
        run_one(site, "host-off")
        assert site.leader() != old
        wait_until(lambda: site.states().get(old) == "streaming", "the old primary follows the new one")
    wait_until(site.healthy, "the cluster is whole")


def full(site: Site, host: str) -> bool:
    limit = "current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    ours = "current_setting('reserved_connections')::int"
    taken = "(select count(*) from pg_stat_activity where backend_type = 'client backend' and usename = 'app')"
    return site.psql(host, f"select {taken} >= {limit} - {ours} - 8") == "t"
