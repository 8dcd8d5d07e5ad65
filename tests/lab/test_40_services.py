"""How the programs run: what starts them, what they are set to, and what they think of their files."""

from __future__ import annotations

import json

import pytest
from helpers import ENVIRONMENT, Site
from hosts import DATABASES, HOSTS, IN_URL, POSTGRES, PROXY, wait_until

BESIDE = ("etcd", "patroni", "pgquorum-wake-patroni", "pgquorum-confirm-quorum")
SERVICES = [(host, name) for host in DATABASES for name in BESIDE] + [(PROXY, "haproxy")]
TIMED = [(host, "pgquorum-leaders-apart") for host in DATABASES]


@pytest.mark.parametrize(("host", "name"), SERVICES)
def test_it_runs_and_comes_back_at_boot(site: Site, host: str, name: str) -> None:
    service = site.eyes(host).service(name)
    assert service.is_running
    assert service.is_enabled


def test_no_upgrade_of_the_system_touches_the_clusters_programs(site: Site) -> None:
    held = {host: set(said.split()) for host, said in site.on_all("apt-mark showhold").items()}
    assert held[PROXY] >= {"haproxy"}
    for host in DATABASES:
        assert held[host] >= {"etcd-server", f"postgresql-{POSTGRES}", "patroni"}


@pytest.mark.parametrize("host", DATABASES)
def test_patroni_alone_starts_postgresql(site: Site, host: str) -> None:
    eyes = site.eyes(host)
    assert eyes.service("postgresql").is_masked
    assert eyes.run("pg_lsclusters --no-header").stdout == ""
    postmasters = eyes.run("pgrep -u postgres -f 'bin/postgres -D'").stdout.split()
    assert len(postmasters) == 1
    assert eyes.run(f"cat /proc/{postmasters[0]}/cgroup").stdout.strip().endswith("/patroni.service")


@pytest.mark.parametrize(("host", "name"), [*SERVICES, *TIMED])
def test_systemd_finds_nothing_wrong_with_its_unit(site: Site, host: str, name: str) -> None:
    done = site.eyes(host).run(f"systemd-analyze verify --man=no {name}.service")
    assert done.rc == 0, done.stderr
    assert name not in done.stderr


def test_haproxy_finds_nothing_wrong_with_its_files(site: Site) -> None:
    done = site.eyes(PROXY).run("haproxy -c -f /etc/haproxy/statistics-users.cfg -f /etc/haproxy/haproxy.cfg 2>&1")
    assert done.rc == 0
    # It tells of servers that are what the file of states says, and of what else that says and is of no use.
    warnings = [line for line in done.stdout.splitlines() if "WARNING" in line and "server-state" not in line]
    assert warnings == []


def test_haproxy_starts_with_every_server_down(site: Site) -> None:
    """One that it takes for up before it has asked would get writes, and be told to be down by the first check."""
    _, _, cursor = site.on(PROXY, "journalctl -n 1 --show-cursor --quiet").rpartition("-- cursor: ")
    said = f"journalctl -u haproxy --quiet --output=cat --after-cursor='{cursor}'"
    site.on(PROXY, "systemctl restart haproxy")
    expected = {f"write/{site.leader()}", *(f"read/{name}" for name in site.replicas())}
    wait_until(lambda: all(f"Server {one} is UP" in site.on(PROXY, said) for one in expected), "servers are up", 60)
    assert "is DOWN, reason" not in site.on(PROXY, said)  # "changed from server-state" is what it was told by us


def test_haproxy_that_came_up_again_is_the_next_time_no_slower(site: Site) -> None:
    assert site.killed_and_back(PROXY, "haproxy.service") == 0


@pytest.mark.parametrize("host", DATABASES)
def test_patroni_finds_nothing_wrong_with_its_files(site: Site, host: str) -> None:
    done = site.eyes(host).run("runuser -u postgres -- patroni --validate-config --ignore-listen-port /etc/patroni/conf.d 2>&1")
    assert done.rc == 0, done.stdout
    assert done.stdout == ""


@pytest.mark.parametrize("host", DATABASES)
def test_etcd_cannot_grow_without_bound(site: Site, host: str) -> None:
    """As it says itself, and as it was started."""
    tls = "--cacert /etc/etcd/tls/ca.crt --cert /etc/etcd/tls/server.crt --key /etc/etcd/tls/server.key"
    metrics = site.on(host, f"curl -s {tls} https://{IN_URL[host]}:2379/metrics")
    quota = next(line.split()[1] for line in metrics.splitlines() if line.startswith("etcd_server_quota_backend_bytes "))
    assert float(quota) == site.cluster.etcd.quota
    settings = site.on(host, "tr '\\0' '\\n' < /proc/$(pgrep -x etcd)/environ").splitlines()
    assert "ETCD_AUTO_COMPACTION_MODE=periodic" in settings
    assert f"ETCD_AUTO_COMPACTION_RETENTION={site.cluster.etcd.compaction_hours}h" in settings


def test_etcd_is_led_from_another_host_than_postgresql(site: Site) -> None:
    primary = site.leader()
    (status,) = (one["Status"] for one in json.loads(site.etcdctl(primary, "endpoint status -w json")))
    assert status["leader"] not in (0, status["header"]["member_id"]), status


def test_nobody_upgrades_or_restarts_the_clusters_programs_by_night(site: Site) -> None:
    blacklists = site.on_all("apt-config dump Unattended-Upgrade::Package-Blacklist --format '%v%n'")
    for host, patterns in blacklists.items():
        installed = site.on(host, "dpkg-query -W -f '${Package}\\n'").splitlines()
        ours = [
            name for name in installed
            if name in ("patroni", "haproxy", "etcd-server", "etcd-client", "libpq5", "python3-etcd")
            or name.startswith(f"postgresql-{POSTGRES}")
        ]  # fmt: skip
        assert ours
        for name in ours:
            assert site.on(host, f"grep -cE '{'|'.join(filter(None, patterns.splitlines()))}' <<< {name} || true") == "1", name
    for host, units in {DATABASES[0]: ("patroni", "etcd", "postgresql"), PROXY: ("haproxy",)}.items():
        for unit in units:
            script = (
                'our %nrconf; do "/etc/needrestart/conf.d/pgquorum.conf"; die $@ if $@; my %rules = %{$nrconf{override_rc}};'
                f'for my $re (keys %rules) {{ print $rules{{$re}} if "{unit}.service" =~ $re }}'
            )
            assert site.on(host, f"perl -e '{script}'") == "0", unit


def test_data_is_checksummed(site: Site) -> None:
    for host in DATABASES:
        assert site.psql(host, "show data_checksums") == "on"
        assert site.psql(host, "show ssl") == "on"
        assert site.psql(host, "show password_encryption") == "scram-sha-256"


def test_write_ahead_log_could_be_archived_without_a_restart(site: Site) -> None:
    for host in DATABASES:
        assert site.psql(host, "show archive_mode") == "on"
        assert site.psql(host, "show archive_command") == "/bin/true"


def test_a_write_is_acknowledged_when_a_replica_has_it(site: Site) -> None:
    states = site.psql(site.leader(), "select string_agg(distinct sync_state, ',') from pg_stat_replication")
    assert states == "quorum"
    names = site.psql(site.leader(), "show synchronous_standby_names")
    assert names.startswith("ANY 1 (")
    assert site.psql(site.leader(), "show synchronous_commit") == "on"


def test_the_settings_parameters_are_those_that_postgresql_runs_with(site: Site) -> None:
    for name, value in site.cluster.postgres.parameters.items():
        for host in DATABASES:
            shown = site.psql(host, f"show {name}")
            assert shown == str(value), (host, name)


def test_roles_and_databases_are_there(site: Site) -> None:
    roles = site.psql(site.leader(), "select rolname from pg_roles where rolcanlogin order by 1").split()
    assert roles == sorted(
        ["postgres", "replicator", "rewinder", "pgquorum_probe", *(r.name for r in site.cluster.postgres.roles)]
    )
    superusers = site.psql(site.leader(), "select string_agg(rolname, ' ') from pg_roles where rolsuper")
    assert superusers == "postgres"
    owner = "select pg_get_userbyid(datdba) from pg_database where datname = "
    for database in site.cluster.postgres.databases:
        assert site.psql(site.leader(), f"{owner} '{database.name}'") == database.owner
    with site.connect(5000, password=ENVIRONMENT["PGQUORUM_PASSWORD_ROLE_APP"]) as connection:
        connection.execute("create temporary table mine (n int)")


def test_what_is_there_belongs_to_this_cluster(site: Site) -> None:
    for host in HOSTS:
        assert f'"cluster": "{site.cluster.name}"' in site.on(host, "cat /etc/pgquorum/cluster.json")
