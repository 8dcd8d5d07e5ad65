"""New versions of the cluster's programs, installed host by host while clients are at work, and taken back; and rolling reboots.

The versions are the hosts' own packages under a higher number, which PostgreSQL, etcd, Patroni and HAProxy tell.
"""

from __future__ import annotations

import itertools
import json
import shlex
import signal
import time
from collections.abc import Iterator

import pytest
from clients import Pooled, Writers
from commands import finish, invoke, start, status
from helpers import Site
from hosts import DATABASES, HOSTS, POSTGRES, PROXY, wait_until
from newer_packages import CACHE, FOLDER, POSTGRES_PROGRAM, bumped, offer, withdraw

pytestmark = pytest.mark.usefixtures("healed")
WRITES, READS = 6432, 6433
PACKAGE = f"postgresql-{POSTGRES}"
SERVER = ["libpq5", f"postgresql-client-{POSTGRES}", PACKAGE]
ALL = ["etcd-server", "etcd-client", *SERVER, "patroni", "haproxy"]
LONG = 900  # seconds that a command may take on a busy machine


@pytest.fixture(scope="module")
def pooled(site: Site) -> Iterator[Site]:
    """The cluster with pools."""
    with site.deployed_with("group_data/haproxy.py", "pooling = True"):
        try:
            yield site
        finally:
            withdraw(site)


def running(site: Site) -> dict[str, set[str]]:
    """Which versions run, on any host, as the programs tell."""
    state = "curl -s --cacert /etc/patroni/tls/ca.crt --cert /etc/patroni/tls/server.crt --key /etc/patroni/tls/server.key"
    patroni = f"{state} https://$(hostname -i | cut -d' ' -f1):8008/patroni"
    return {
        "postgres": {site.psql(host, "show server_version").split()[0] for host in DATABASES},
        "etcd": {json.loads(site.etcdctl(host, "endpoint status -w json"))[0]["Status"]["version"] for host in DATABASES},
        "patroni": {json.loads(site.on(host, patroni))["patroni"]["version"] for host in DATABASES},
        "haproxy": {
            site.on(PROXY, "echo 'show info' | socat stdio /run/haproxy/admin.sock | sed -n 's/^Version: //p'").partition("-")[0]
        },
    }


def after(versions: dict[str, set[str]]) -> dict[str, set[str]]:
    """The same in the next version."""
    return {component: {bumped(version) for version in there} for component, there in versions.items()}


def installed(site: Site, package: str, hosts: list[str] = DATABASES) -> dict[str, str]:
    return site.on_all(f"dpkg-query -W -f '${{Version}}' {package}", hosts)


def held(site: Site) -> dict[str, str]:
    return site.on_all("apt-mark showhold | tr '\\n' ' '")


def moments(site: Site, host: str, unit: str, text: str, since: float) -> list[float]:
    """When a unit's journal had a line that fits, since the epoch; all hosts of a lab have one clock."""
    found = site.on(host, f"journalctl -q --no-pager -o json -u {unit} -g {shlex.quote(text)} --since @{since:.0f} || true")
    times = (int(json.loads(line)["__REALTIME_TIMESTAMP"]) / 1e6 for line in found.splitlines())
    return [at for at in times if at >= since]


def leads_etcd(site: Site) -> str:
    """The host whose member says that it leads."""
    states = {host: json.loads(site.etcdctl(host, "endpoint status -w json"))[0]["Status"] for host in DATABASES}
    return next(host for host, state in states.items() if state["leader"] == state["header"]["member_id"])


@pytest.mark.long
def test_a_package_that_one_host_can_not_fetch_is_installed_nowhere(pooled: Site) -> None:
    offer(pooled, ["patroni"])
    old, names, lacks = installed(pooled, "patroni"), held(pooled), DATABASES[1]
    pooled.on(lacks, f"rm {FOLDER}/patroni_*.deb")  # its list still has it, as where a mirror is only half copied
    code, out, err = invoke(pooled, "upgrade", "--component", "patroni", "--yes")
    assert code == 1, out + err
    (problem,) = [line for line in out.splitlines() if line.startswith("problem")]
    assert f"so nothing was installed: {lacks}: patroni {bumped(old[lacks])} could not be had" in problem, problem
    assert not any(f"{host}: " in problem for host in DATABASES if host != lacks) and "--back" not in out
    assert installed(pooled, "patroni") == old and held(pooled) == names
    code, out, err = invoke(pooled, "upgrade", "--back", "--dry")
    assert code == 0 and "nothing is to be taken back" in out, out + err


def test_a_version_that_does_not_start_stops_after_one_replica_and_is_taken_back(pooled: Site) -> None:
    old, before, leader, names = installed(pooled, PACKAGE), pooled.postmasters(), pooled.leader(), held(pooled)
    new = bumped(bumped(old[leader]))
    offer(pooled, SERVER, version=new, broken=POSTGRES_PROGRAM)
    with Writers(pooled) as writers:
        code, out, err = invoke(pooled, "upgrade", "--component", "postgres", "--yes", seconds=LONG)
        assert code == 1, out + err
        print(next(line for line in out.splitlines() if line.startswith("problem")))
        assert "`invoke upgrade --back --component postgres` takes back what it has installed" in out
        (broken,) = [host for host, version in installed(pooled, PACKAGE).items() if version == new]
        assert broken != leader == pooled.leader()
        others = [host for host in DATABASES if host != broken]
        assert {host: pooled.psql(host, "select pg_postmaster_start_time()") for host in others} == {
            host: before[host] for host in others
        }
        assert f"switch over from {leader} to" in out[out.index("left ") :]
        code, out, err = invoke(pooled, "upgrade", "--yes")
        assert code == 2 and f"{broken}: " in err and "`invoke upgrade --back`" in err, out + err
        assert held(pooled) == names
        code, out, err = invoke(pooled, "upgrade", "--back", "--yes", seconds=LONG)
        assert code == 0, out + err
    assert writers.lost() == set()
    assert installed(pooled, PACKAGE) == old and held(pooled) == names
    assert pooled.members()[broken]["State"] == "streaming" and pooled.leader() == leader


@pytest.mark.parametrize(
    ("packages", "components"),
    [
        pytest.param(["haproxy"], "haproxy", id="haproxy"),
        pytest.param([*SERVER, "haproxy"], "postgres,haproxy", id="some", marks=pytest.mark.long),
        pytest.param(ALL, "etcd,postgres,patroni,haproxy", id="all", marks=pytest.mark.long),
    ],
)
def test_an_upgrade_and_the_way_back_fail_no_pooled_query(pooled: Site, packages: list[str], components: str) -> None:
    offer(pooled, packages)
    # As where apt keeps nothing, and the archive has the newest alone: what is replaced is packed again.
    pooled.on_all(f"mkdir -p {FOLDER}/gone; mv {CACHE}/patroni_*.deb {FOLDER}/gone/ 2>/dev/null || true", DATABASES)
    configuration = pooled.on(PROXY, "sha256sum /etc/haproxy/*.cfg")
    words = ("upgrade", "--component", components)
    names, old, there = held(pooled), running(pooled), installed(pooled, PACKAGE)
    code, printed, err = invoke(pooled, *words, "--dry", "--json")
    assert code == 0 and installed(pooled, PACKAGE) == there and running(pooled) == old, err
    first, host = packages[0], PROXY if packages == ["haproxy"] else DATABASES[0]
    version = installed(pooled, first, [host])[host]
    assert [host, first, version, bumped(version)] in [line.split() for line in err.splitlines()], err
    leader = pooled.leader()
    with Pooled(pooled, 20, WRITES) as writers, Pooled(pooled, 20, READS, write=False) as readers:
        code, out, err = invoke(pooled, *words, "--yes", "--json", seconds=LONG)
        assert code == 0, out + err
        if "postgres" in components:  # the one that led came last, when another one had taken over
            begun = {name: pooled.psql(name, "select extract(epoch from pg_postmaster_start_time())") for name in DATABASES}
            assert max(begun, key=lambda name: float(begun[name])) == leader != pooled.leader(), (leader, begun)
        new = after(old)
        assert running(pooled) == {name: (new if name in components else old)[name] for name in old}
        assert held(pooled) == names
        changed = pooled.changes()
        code, again, err = invoke(pooled, *words, "--yes")
        assert code == 0 and "nothing is to be upgraded" in again, again + err
        code, back, err = invoke(pooled, "upgrade", "--back", "--yes", seconds=LONG)
        assert code == 0, back + err
    outcome = json.loads(out)
    print(f"gap {outcome['write_gap']}, longest {outcome['longest_wait']}; {writers.longest:.2f}, {readers.longest:.2f} s")
    assert outcome["done"] == outcome["planned"]
    assert [step["kind"] for step in outcome["planned"]] == [step["kind"] for step in json.loads(printed)["planned"]]
    assert (writers.failures, readers.failures) == ([], [])
    assert (outcome["writes"]["failed"], outcome["writes"]["indeterminate"], outcome["reads_broken"]) == (0, 0, 0)
    assert writers.lost() == set() and changed == 0
    assert running(pooled) == old and installed(pooled, PACKAGE) == there and held(pooled) == names
    assert pooled.on(PROXY, "sha256sum /etc/haproxy/*.cfg") == configuration
    code, back, err = invoke(pooled, "upgrade", "--back", "--yes")
    assert code == 0 and "nothing is to be taken back" in back, back + err


@pytest.mark.long
def test_etcds_leader_is_moved_before_its_host_has_its_turn_and_no_package_restarts_anything(pooled: Site) -> None:
    offer(pooled, ["etcd-server", "etcd-client", "patroni"])
    units, old = {"etcd": "etcd-server", "patroni": "patroni"}, running(pooled)
    for words in (("--component", "etcd,patroni"), ("--back",)):
        # So the timer that keeps them apart has nothing to do.
        wait_until(lambda: leads_etcd(pooled) != pooled.leader(), "etcd is not led from the primary's host")
        leads, since = leads_etcd(pooled), time.time()
        with Pooled(pooled, 20, WRITES) as writers:
            code, out, err = invoke(pooled, "upgrade", *words, "--yes", seconds=LONG)
        assert code == 0, out + err
        assert writers.failures == [] and writers.lost() == set()
        stopped: dict[str, float] = {}
        for host, (unit, package) in itertools.product(DATABASES, units.items()):
            # Once each, and by us: by then its package was installed, to the end of its scripts.
            (stopped[f"{unit} {host}"],) = moments(pooled, host, unit, "^Stopping ", since)
            done = f"grep ' status installed {package}:' /var/log/dpkg.log | tail -n 1 | cut -d ' ' -f 1,2 | date -f - +%s"
            assert int(pooled.on(host, done)) <= stopped[f"{unit} {host}"], (unit, host)
        turns = sorted(DATABASES, key=lambda host: stopped[f"etcd {host}"])
        started = {host: moments(pooled, host, "etcd", "^Started ", since)[0] for host in DATABASES}
        for one, following in itertools.pairwise(turns):
            assert started[one] < stopped[f"etcd {following}"]
        assert turns[-1] == leads
        handed = [
            at for at in moments(pooled, leads, "etcd", "leadership transfer (starting|finished)", since) if at < started[leads]
        ]
        assert handed and max(handed) < stopped[f"etcd {leads}"], "it led to the end, and handed over as it was stopped"
        print(f"etcd's leadership left {leads} {stopped[f'etcd {leads}'] - min(handed):.1f} s before it was stopped")
    assert running(pooled) == old


@pytest.mark.long
def test_hosts_that_need_a_reboot_get_one_and_no_pooled_query_fails(pooled: Site) -> None:
    boots = "cat /proc/sys/kernel/random/boot_id"
    leader, before = pooled.leader(), pooled.on_all(boots)
    wanted = [leader, pooled.replicas()[0]]
    pooled.on_all("touch /run/reboot-required", wanted)
    with Pooled(pooled, 20, WRITES) as writers, Pooled(pooled, 20, READS, write=False) as readers:
        code, out, err = invoke(pooled, "reboot", "--yes", seconds=LONG)
    assert code == 0, out + err
    after = pooled.on_all(boots)
    assert sorted(host for host in HOSTS if before[host] != after[host]) == sorted(wanted)
    assert (writers.failures, readers.failures) == ([], []) and writers.lost() == set()
    assert pooled.leader() != leader and pooled.healthy()
    code, out, err = invoke(pooled, "reboot", "--yes")
    assert code == 0 and "no host needs a reboot" in out, out + err


@pytest.mark.long
def test_whoever_upgrades_is_killed_half_way_and_the_same_command_goes_on(pooled: Site) -> None:
    offer(pooled, SERVER)
    names, old = held(pooled), running(pooled)
    with Pooled(pooled, 20, WRITES) as writers, Pooled(pooled, 20, READS, write=False) as readers:
        going = start(pooled, "upgrade", "--component", "postgres", "--yes")
        wait_until(lambda: len(set(installed(pooled, PACKAGE).values())) > 1, "the first replica has it", LONG)
        going.send_signal(signal.SIGKILL)
        going.wait(30)
        wait_until(lambda: held(pooled) == names, "what was being installed is, and is held")
        assert pooled.changes() == 0, "a deploy in between"
        code, out, err = invoke(pooled, "upgrade", "--component", "postgres", "--yes", seconds=LONG)
        assert code == 0, out + err
        assert running(pooled)["postgres"] == after(old)["postgres"]
        code, out, err = finish(pooled, start(pooled, "upgrade", "--back", "--yes"), LONG)
        assert code == 0, out + err
    assert running(pooled) == old and held(pooled) == names
    assert writers.failures == [] and readers.failures == [] and writers.lost() == set()


@pytest.mark.long
def test_pools_are_upgraded_one_process_after_the_other_and_it_is_said_what_that_costs(pooled: Site) -> None:
    version = "runuser -u pgbouncer -- psql -XAtqw -h /run/pgquorum-pool/write-1 -p 6432 -U pgbouncer pgbouncer -c 'show version'"
    old = pooled.on(PROXY, version)
    offer(pooled, ["pgbouncer"])
    code, out, err = invoke(pooled, "upgrade", "--yes", seconds=LONG)
    assert code == 0 and "sends its clients away, each after its transaction" in out, out + err
    assert pooled.on(PROXY, version) == f"PgBouncer {bumped(old.split()[-1])}"
    with pooled.connect(WRITES) as connection:
        connection.execute("select 1")
    code, out, err = invoke(pooled, "upgrade", "--back", "--yes", seconds=LONG)
    assert code == 0 and pooled.on(PROXY, version) == old, out + err


@pytest.mark.long
def test_what_is_not_taken_is_refused_by_name_and_nothing_is_touched(pooled: Site) -> None:
    major, before = f"{POSTGRES + 1}.0-1", installed(pooled, PACKAGE)
    offer(pooled, SERVER, version=major)
    code, out, err = invoke(pooled, "upgrade", "--yes")
    told = f"{PACKAGE} would become {major}, another major version than {before[DATABASES[0]]}"
    assert code == 2 and f"{DATABASES[0]}: {told}" in err, out + err
    assert installed(pooled, PACKAGE) == before
    assert pooled.on_all(f"ls /var/lib/pgquorum/replaced 2>/dev/null | grep _{major} || true") == dict.fromkeys(HOSTS, "")
    assert "packages.not-held" not in {finding["rule"] for finding in status(pooled)["findings"]}
