"""What docs/settings.md says can be changed later, changed on a cluster at work as its owner would, while applications write."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest
from clients import Writers, statistics
from commands import invoke, verified
from helpers import ENVIRONMENT, Site
from hosts import DATA, DATABASES, IN_URL, PROXY, SPEC, wait_until

pytestmark = pytest.mark.usefixtures("healed")

PATRONICTL = "patronictl -c /etc/patroni/conf.d"


@contextmanager
def changed(site: Site, **files: str) -> Iterator[None]:
    """The cluster with something at the end of files of group_data, by their names, and without it again."""
    try:
        with ExitStack() as edits:
            for name, append in files.items():
                edits.enter_context(site.edited(f"group_data/{name}.py", append))
            yield
    finally:
        site.deployed()


@pytest.mark.long
def test_haproxys_ports_move_at_once_and_who_is_connected_goes_on(site: Site, at_work: Writers) -> None:
    """With what else of the proxies and the packet filter is said to hold at once."""
    ports = {"write": 5100, "read": 5101, "stats": 7100}
    others = "haproxy_read_max_lag = '32MB'\nhaproxy_fair_share = 37"
    before, password = site.processes(), ENVIRONMENT["PGQUORUM_PASSWORD_HAPROXY_STATS"]
    edits = "\n".join([*(f"haproxy_{name}_port = {port}" for name, port in ports.items()), others])
    with changed(site, haproxy=edits, all="firewall_connections = 41"):
        assert "verified" in site.deployed().output
        for port, recovering in ((5100, False), (5101, True)):
            with site.connect(port) as connection:
                assert connection.execute("select pg_is_in_recovery()").fetchone() == (recovering,)
        for port in (5000, 5001):
            with pytest.raises(psycopg.OperationalError):
                site.connect(port).close()
        assert statistics(site, password, ports["stats"]) == 200
        config = site.on(PROXY, "cat /etc/haproxy/haproxy.cfg")
        assert f"lag={32 * 1024**2}" in config and "sc0_conn_cur gt 37" in config
        assert "ct count over 41 " in site.on(DATABASES[0], "nft list ruleset")
        code, out, err = invoke(site, "dsn")
        assert code == 0 and "5100" in out and "5000" not in out, out + err
        verified(site)
        assert site.changes() == 0
        so_far = len(at_work.acknowledged)
        wait_until(lambda: len(at_work.acknowledged) > so_far + 100, "those who came by the former port write on")
    assert statistics(site, password) == 200
    assert site.processes() == before
    verified(site)


def of_etcd(site: Site, host: str, metric: str) -> int:
    """A number that etcd on a host tells of itself."""
    tls = "--cacert /etc/etcd/tls/ca.crt --cert /etc/etcd/tls/server.crt --key /etc/etcd/tls/server.key"
    told = site.on(host, f"curl -sS --noproxy '*' {tls} https://{IN_URL[host]}:2379/metrics | grep '^{metric} '")
    return int(float(told.split()[1]))


@pytest.mark.long
def test_another_profile_and_another_quota_hold_at_once_and_no_write_fails(site: Site, at_work: Writers) -> None:
    before, leader = site.postmasters(), site.leader()
    timers = ("ttl", "loop_wait", "retry_timeout")
    environment = "tr '\\0' '\\n' </proc/$(systemctl show -P MainPID etcd)/environ"

    def in_force() -> tuple[object, ...]:
        config = site.on(DATABASES[0], f"{PATRONICTL} show-config").splitlines()
        kept = {line.split(": ")[0]: int(line.split(": ")[1]) for line in config if line.startswith(timers)}
        etcd = {of_etcd(site, host, "etcd_server_quota_backend_bytes") for host in DATABASES}
        elections = set(site.on_all(f"{environment} | grep ^ETCD_ELECTION_TIMEOUT=", DATABASES).values())
        checks = site.on(PROXY, "grep -o ' inter [0-9]*ms' /etc/haproxy/haproxy.cfg | sort -u").split()
        return kept, etcd, elections, checks

    lan = ({"ttl": 20, "loop_wait": 3, "retry_timeout": 5}, {2 * 1024**3}, {"ETCD_ELECTION_TIMEOUT=1000"}, ["inter", "1000ms"])
    wan = ({"ttl": 60, "loop_wait": 10, "retry_timeout": 20}, {3 * 1024**3}, {"ETCD_ELECTION_TIMEOUT=5000"}, ["inter", "3000ms"])
    assert in_force() == lan
    with changed(site, all='failover_profile = "wan"', etcd='etcd_quota = "3GB"'):
        assert "verified" in site.deployed().output
        assert in_force() == wan
        verified(site)
        assert site.changes() == 0
    assert in_force() == lan
    assert (site.postmasters(), site.leader()) == (before, leader)
    verified(site)


@pytest.mark.long
def test_the_secrets_may_move_along_with_their_setting(site: Site, at_work: Writers) -> None:
    elsewhere = "kept/elsewhere"
    (site.folder / "kept").mkdir(mode=0o700)
    try:
        with site.edited("group_data/all.py", f"secrets_directory = {elsewhere!r}"):
            (site.folder / "secrets").rename(site.folder / elsewhere)
            site.kept_in = elsewhere
            try:
                assert site.changes() == 0
                verified(site)
                assert not (site.folder / "secrets").exists()
            finally:
                site.kept_in = "secrets"
                (site.folder / elsewhere).rename(site.folder / "secrets")
    finally:
        shutil.rmtree(site.folder / "kept")
    assert site.changes() == 0


def limit_of(site: Site, role: str) -> int:
    return int(site.psql(site.leader(), f"select rolconnlimit from pg_roles where rolname = '{role}'"))


def for_applications(site: Site) -> int:
    """How many sessions PostgreSQL keeps for nobody else, by its own count."""
    kept = ("superuser_reserved_connections", "reserved_connections")
    names = (f"current_setting('{name}')::int" for name in ("max_connections", *kept))
    return int(site.psql(site.leader(), f"select {' - '.join(names)}"))


def restarted(site: Site) -> None:
    code, out, err = invoke(site, "rolling-restart", "--yes", "--pending-only")
    assert code == 0, out + err
    wait_until(site.healthy, "the cluster is whole")


@pytest.mark.long
def test_limits_of_roles_follow_max_connections_once_postgresql_has_it_and_nobody_is_shut_out(site: Site) -> None:
    more = (
        'postgres_parameters["max_connections"] = 320\npostgres_roles += [{"name": "few", "connection_limit": 7}]\n'
        'postgres_databases += [{"name": "few", "owner": "few"}]'
    )
    before, room = limit_of(site, "app"), for_applications(site)
    assert before == room * 9 // 10
    with Writers(site, 1) as writers:
        with changed(site, postgres=more):
            run = site.deployed()
            assert f"has {room} connections for applications until `invoke rolling-restart`" in run.output, run.output
            assert (limit_of(site, "app"), limit_of(site, "few")) == (before, 7)
            # All that the one may have leaves room for the other, and for the tool.
            with ExitStack() as all_of_them:
                with pytest.raises(psycopg.OperationalError, match='too many connections for role "app"'):
                    while True:
                        all_of_them.enter_context(site.connect(5000))
                site.connect(5000, dbname="few", user="few", password=site.vault.password("role_few")).close()
                verified(site)
            restarted(site)
            assert {site.psql(host, "show max_connections") for host in DATABASES} == {"320"}
            assert (limit_of(site, "app"), limit_of(site, "few")) == (before, 7)
            assert "connections for applications until" not in site.deployed().output
            assert for_applications(site) == room + 120
            assert (limit_of(site, "app"), limit_of(site, "few")) == ((room + 120) * 9 // 10, 7)
            verified(site)
        # Lowered again: the limits at once, PostgreSQL with a restart, of the primary first.
        assert (limit_of(site, "app"), for_applications(site)) == (before, room + 120)
        restarted(site)
        assert {site.psql(host, "show max_connections") for host in DATABASES} == {"200"}
        so_far = len(writers.acknowledged)
        wait_until(lambda: len(writers.acknowledged) > so_far + 100, "writes go on")
    assert writers.lost() == set()
    for statement in ("drop database few", "drop role few"):
        site.psql(site.leader(), statement)
    assert site.changes() == 0
    verified(site)


@pytest.mark.long
def test_the_write_ahead_log_moves_with_data_that_is_made_anew_host_by_host(site: Site, at_work: Writers) -> None:
    """There and back, on a replica; the settings say so for all hosts meanwhile."""
    link, other = f"readlink -f {DATA}/pg_wal", "/var/lib/pgquorum-wal/moved"
    before, replica = site.on_all(link, DATABASES), site.replicas()[0]
    units = "systemctl show -P ReadWritePaths pgquorum-confirm-quorum"

    def made_anew() -> None:
        code, out, err = invoke(site, "reinit", replica, "--yes")
        assert code == 0, out + err
        wait_until(site.healthy, "it streams")

    moved = site.edited(f".lab/{SPEC.name}/group_data/postgres.py", f"postgres_wal_directory = {other!r}")
    try:
        with moved:
            assert "verified" in site.deployed().output
            assert site.on_all(link, DATABASES) == before
            assert before[replica].removesuffix("/pg_wal") in site.on(replica, units)
            assert site.changes() == 0
            made_anew()
            assert site.on_all(link, DATABASES) == before | {replica: f"{other}/pg_wal"}
            site.deployed()
            assert before[replica].removesuffix("/pg_wal") not in site.on(replica, units)
            verified(site)
            assert site.changes() == 0
    finally:
        site.deployed()
        made_anew()
        site.deployed()  # which gives the other place up
    assert site.on_all(link, DATABASES) == before
    assert site.changes() == 0
    verified(site)
    site.on_all(f"rm -r {other}", DATABASES)
