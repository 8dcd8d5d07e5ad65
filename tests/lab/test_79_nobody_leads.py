"""The only holders of acknowledged writes are gone: nobody leads, the loss is accepted by name, and what was lost is kept."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from commands import invoke, status
from helpers import Site
from hosts import ADDRESS, BINARIES, FAMILY, SPEC, wait_until

pytestmark = pytest.mark.usefixtures("healed")

# What the laggard has, and what it lacks: some MB at a rate of kB per second.
ROWS, LATE_ROWS = 200, 20
FILLING = "(select string_agg(md5(random()::text), '') from generate_series(1, 6000))"


@contextmanager
def lost(site: Site) -> Iterator[tuple[str, str, str]]:
    """The primary's host is off and the holder's Patroni stopped: only they have all rows of the table `kept`. The laggard runs
    and has the first of them. Yields primary, holder and laggard; all is mended in the end."""
    primary, (holder, laggard) = site.leader(), site.replicas()
    with site.connect(5000) as client:
        client.execute("drop table if exists kept")
        client.execute("create table kept (n int, filling text)")
        client.execute("insert into kept select n, '' from generate_series(1, %s) n", (ROWS,))
        slowly = f"{FAMILY} saddr {ADDRESS[primary]} tcp sport 5432 limit rate over 24 kbytes/second burst 64 kbytes drop"
        try:
            with site.firewall([laggard], slowly):
                for n in range(LATE_ROWS):
                    client.execute(f"insert into kept values ({ROWS + 1 + n}, {FILLING})")
                site.on(holder, "systemctl stop patroni")
                sync = f"get --print-value-only /service/{SPEC.name}/sync"
                wait_until(lambda: json.loads(site.etcdctl(laggard, sync))["sync_standby"] == laggard, "Patroni goes on alone")
                for host in (primary, holder):  # a rewind removes them
                    site.reserve(host, f"{site.cluster.postgres.data_directory}/pg_wal")
                site.lab.off(primary)
            yield primary, holder, laggard
        finally:
            site.on(holder, "systemctl start --no-block patroni")
            site.heal()


def refused(site: Site, laggard: str) -> bool:
    journal = site.on(laggard, "journalctl -u patroni --no-pager -o cat --since '-90s'")
    return f"promotion gate: {laggard} must not be promoted" in journal


def rows(site: Site) -> int:
    with site.connect(5000) as client:
        (count,) = client.execute("select count(*) from kept").fetchone() or (0,)
        return int(count)


def commits(site: Site, host: str, kept: dict[str, object]) -> int:
    """How many transactions PostgreSQL's own program finds in a salvage."""
    files = f"-p {kept['path']} -t {kept['timeline']} -s {kept['fork']} -e {kept['end']}"
    return int(site.on(host, f"{BINARIES}/pg_waldump {files} -r Transaction | grep -c 'desc: COMMIT'"))


def test_nobody_leads_until_the_loss_is_accepted_by_name_and_what_was_lost_is_kept(site: Site) -> None:
    with lost(site) as (primary, holder, laggard):
        wait_until(lambda: refused(site, laggard), "the gate refuses the laggard")
        code, out, err = invoke(site, "failover")
        assert code == 1, out + err
        assert f"bring back {' or '.join(sorted((primary, holder)))}" in out
        assert f"`invoke failover --accept-loss {laggard}`" in out
        assert re.search(r"up to [1-9]\d{5,} bytes, and what the primary wrote in its last round", out), out
        code, _, err = invoke(site, "failover", "--accept-loss", holder, "--yes")
        assert code == 2 and f"--accept-loss {holder}: its PostgreSQL does not answer" in err
        code, out, err = invoke(site, "failover", "--accept-loss", laggard, "--yes")
        assert code == 0, out + err
        assert f"{laggard} leads" in out
        assert site.leader(laggard) == laggard
        assert site.etcdctl(laggard, f"get --keys-only /pgquorum/{SPEC.name}/accepted_loss") == ""
    wait_until(lambda: sorted(site.replicas()) == sorted((primary, holder)), "both follow the one that was accepted")
    assert ROWS <= rows(site) < ROWS + LATE_ROWS
    missing = ROWS + LATE_ROWS - rows(site)
    for host in (primary, holder):
        kept = status(site)["hosts"][host]["salvage"][-1]
        assert kept["host"] == host and kept["commits"] >= missing
        assert commits(site, host, kept) == kept["commits"]
        assert kept["path"] in invoke(site, "status")[1]
    code, _, err = invoke(site, "failover", "--accept-loss", holder, "--yes")
    assert code == 2 and f"{laggard} leads: `invoke switchover`" in err
