"""A replica that has crashed takes connections before it has read all of its own log: until then its word counts for nothing."""

from __future__ import annotations

import json

import pytest
from helpers import Site
from hosts import ADDRESS, FAMILY, SPEC, wait_until
from test_79_nobody_leads import FILLING, ROWS, refused, rows

pytestmark = pytest.mark.usefixtures("healed")

# Of some 190 kB each: what both have that the holder has not applied, and what it alone has.
EARLY_ROWS, LATE_ROWS = 150, 60
# Kills PostgreSQL ($1: its data directory), and stops the process that reads the log of the next one as soon as that takes
# connections. Stopped in a moment when it has a lock that sessions need, it goes on for another step.
READER = "reader() { pgrep -u postgres -f 'postgres: .*[s]tartup'; }"
CRASH = f"""{READER}
old=$(reader); kill -KILL "$(head -n 1 "$1/postmaster.pid")"
until new=$(reader | grep -vx "$old"); do sleep 0.005; done
kill -STOP "$new"
for look in $(seq 6000); do
    timeout 20 runuser -u postgres -- psql -XAtqh /run/postgresql -d postgres \
        -c 'select pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()' >/dev/null 2>&1 && break
    kill -CONT "$new"; sleep 0.003; kill -STOP "$new"
done
"""


def test_a_server_that_still_reads_its_own_log_is_no_witness_for_another(site: Site) -> None:
    primary, (holder, laggard) = site.leader(), site.replicas()
    noted = f"get --print-value-only /pgquorum/{SPEC.name}/log_end/{holder}"
    sync = f"get --print-value-only /service/{SPEC.name}/sync"
    slowly = f"{FAMILY} saddr {ADDRESS[primary]} tcp sport 5432 limit rate over 24 kbytes/second burst 64 kbytes drop"
    assert site.etcdctl(holder, noted)
    try:
        with site.connect(5000) as client:
            client.execute("drop table if exists kept")
            client.execute("create table kept (n int, filling text)")
            client.execute("drop table if exists early")
            client.execute("create table early (filling text)")
            # What the holder has from here on it has not applied when it crashes.
            site.psql(holder, "select pg_wal_replay_pause()")
            client.execute("insert into kept select n, '' from generate_series(1, %s) n", (ROWS,))
            for _ in range(EARLY_ROWS):
                client.execute(f"insert into early values ({FILLING})")
            sent = "select bool_and(flush_lsn = sent_lsn) from pg_stat_replication"
            wait_until(lambda: site.psql(primary, sent) == "t", "both have that")
            with site.firewall([laggard], slowly):
                for n in range(LATE_ROWS):
                    client.execute(f"insert into kept values ({ROWS + 1 + n}, {FILLING})")
                site.on(holder, f"set -- {site.cluster.postgres.data_directory}; {CRASH}", timeout=300)
                wait_until(lambda: json.loads(site.etcdctl(laggard, sync))["sync_standby"] == laggard, "Patroni goes on alone")
                site.lab.off(primary)
        assert site.psql(holder, "select pg_last_wal_receive_lsn() is null") == "t"
        reached = site.psql(laggard, "select pg_last_wal_receive_lsn()")
        assert site.psql(holder, f"select pg_last_wal_replay_lsn() < '{reached}'") == "t", "it was not stopped soon enough"
        assert site.etcdctl(laggard, noted) == ""
        wait_until(lambda: refused(site, laggard), "the gate refuses the laggard")
    finally:
        site.on(holder, f"{READER}; reader | xargs -r kill -CONT")
    # Now it reads the rest, has all, and leads.
    wait_until(lambda: answers(site, holder) == "f", "the holder leads")
    site.heal()
    assert site.leader(holder) == holder
    assert rows(site) == ROWS + LATE_ROWS


def answers(site: Site, host: str) -> str:
    """Whether its PostgreSQL is in recovery; nothing where it does not answer."""
    try:
        return site.psql(host, "select pg_is_in_recovery()")
    except AssertionError:
        return ""
