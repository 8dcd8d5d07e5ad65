"""Two proxy hosts, with pools of two processes each, and a virtual address that is on one of them. Seen by clients of their own,
the kernel's addresses, HAProxy's statistics and PgBouncer's console. The second host joins here and leaves again."""

from __future__ import annotations

import csv
import itertools
import json
import os
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import psycopg
import pytest
from clients import WITHOUT_A_WORD, LongTransactions, Pooled, Traffic, Writers
from commands import finish, invoke, start, status
from helpers import DEPLOY_SECONDS, ENVIRONMENT, INVENTORY, Site
from hosts import ADDRESS, FAMILY, PROXY, SECOND, SPEC, wait_until
from newer_packages import HAPROXY_PROGRAM, bumped, offer, withdraw
from proving import as_promised, run, switch_over
from psycopg.conninfo import conninfo_to_dict

from lab import access

pytestmark = [
    pytest.mark.skipif(SECOND is None, reason="no second proxy host"),
    pytest.mark.usefixtures("healed"),
]
OTHER = SECOND or ""
BOTH = [PROXY, OTHER]
SHARED = str(SPEC.networks[0].network_address + 0x50)
NAME = "db.example.com"
WRITES, READS = 6432, 6433
SETTINGS = f"proxy_address = {SHARED!r}\nproxy_address_name = {NAME!r}\npooling = True\npooling_processes = 2"
NOTE = "/run/pgquorum-hold.json"
PROGRAMS = ["haproxy", "pgbouncer", "keepalived"]
POOLS = [f"pgquorum-pool@{route}-{number}" for route in ("write", "read") for number in (1, 2)]
PASSWORD = ENVIRONMENT["PGQUORUM_PASSWORD_ROLE_APP"]
CLIENTS = 3  # that come in one way
# How libpq is told of both proxies.
LISTED = {"host": ",".join(BOTH), "hostaddr": ",".join(ADDRESS.get(host, "") for host in BOTH)}


@pytest.fixture(scope="module")
def shared(site: Site) -> Iterator[Site]:
    """The cluster with both proxies. Whatever the tests have found, it has one of them after them, and no such address."""
    inventory = site.folder / INVENTORY
    backup = site.keeps_backups
    inventory.write_text(access.inventory(site.lab.spec))
    if not backup:
        inventory.write_text(inventory.read_text().partition("backup = [")[0])
    try:
        with site.edited("group_data/haproxy.py", SETTINGS):
            site.deployed()
            yield site
    finally:
        site.heal()
        if f"('{OTHER}', " in inventory.read_text():
            invoke(site, "host.remove", OTHER, "--yes")
            site.without_second_proxy()
        site.deployed()


def holders(site: Site) -> list[str]:
    """Who has the address, by the kernels of the hosts that have power."""
    on = [host.name for host in site.lab.status() if host.name in BOTH and host.power]
    return [host for host in on if site.on(host, f"ip -brief address show to {SHARED}")]


def holder(site: Site) -> str:
    """The one that has it, once one alone has."""
    (found,) = wait_until(lambda: len(found := holders(site)) == 1 and found, "one host has the address")
    return found


def other(host: str) -> str:
    return next(one for one in BOTH if one != host)


def by_address(site: Site, port: int = 5000, **differs: object) -> psycopg.Connection[object]:
    return site.connect(port, **{"host": NAME, "hostaddr": SHARED} | differs)


def answers(site: Site) -> bool:
    with by_address(site) as connection:
        return connection.execute("select 1").fetchone() == (1,)


def moved(site: Site, old: str) -> float:
    """Seconds until the other host has the address."""
    began = time.monotonic()
    wait_until(lambda: site.on(other(old), f"ip -brief address show to {SHARED}"), "the other host has the address")
    return time.monotonic() - began


def limit(site: Site, host: str) -> int:
    """How many connections HAProxy takes at the port for writes."""
    said = site.on(host, "echo 'show stat' | socat stdio /run/haproxy/admin.sock")
    rows = csv.DictReader(said.removeprefix("# ").splitlines())
    return next(int(row["slim"]) for row in rows if (row["pxname"], row["svname"]) == ("writes", "FRONTEND"))


def console(site: Site, host: str, command: str, process: str, port: int = WRITES) -> list[dict[str, str]]:
    psql = f"psql -Xqw --csv -h /run/pgquorum-pool/{process} -p {port} -U pgbouncer pgbouncer"
    return list(csv.DictReader(site.on(host, f"runuser -u pgbouncer -- {psql} -c {shlex.quote(command)}").splitlines()))


def flows(site: Site, hosts: list[str] = BOTH) -> bool:
    """Nothing is held on the hosts, and nothing is left there that would let go."""
    for host in hosts:
        left = site.on(host, f"ls {NOTE} 2>/dev/null; systemctl list-units --all --plain --no-legend 'pgquorum-let-go*'")
        states = [console(site, host, "show state", process) for process in ("write-1", "write-2")]
        paused = any({row["key"]: row["value"] for row in rows}["paused"] == "yes" for rows in states)
        if left or paused or limit(site, host) == 0:
            return False
    return True


def kept_session(site: Site, port: int, **where: object) -> Callable[[], None]:
    """A client's work (Traffic): a query on the session that it keeps, or on a new one after that was cut."""
    mine: list[psycopg.Connection[object]] = []

    def ask() -> None:
        time.sleep(0.1)
        try:
            if not mine:
                mine.append(site.connect(port, **WITHOUT_A_WORD | {"connect_timeout": 20} | where))
            mine[0].execute("select 1")
        except psycopg.Error:
            mine.clear()
            raise

    return ask


@contextmanager
def clients_at_work(site: Site) -> Iterator[dict[tuple[str, int], Traffic]]:
    """Clients who keep their sessions, by the way they come: by the list of both hosts or by the address, and the port."""
    ways = {"list": LISTED, "address": {"host": NAME, "hostaddr": SHARED}}
    with ExitStack() as stack:
        found = {}
        for (way, where), port in itertools.product(ways.items(), (5000, WRITES)):
            found[way, port] = stack.enter_context(Traffic(*[kept_session(site, port, **where) for _ in range(CLIENTS)]))
        yield found


def cut(clients: dict[tuple[str, int], Traffic]) -> dict[tuple[str, int], int]:
    """How often sessions were cut, or could not be had, of all clients that come so."""
    for way, traffic in clients.items():
        print(way, f"cut {len(traffic.failures)}, longest {traffic.longest:.2f} s", *sorted(traffic.failures)[:6])
    return {way: len(traffic.failures) for way, traffic in clients.items()}


def taken_at(site: Site, host: str) -> float:
    """When the host last took the address, by its keepalived (seconds of the clock that all hosts of a lab have)."""
    line = site.on(host, "journalctl -q --no-pager -u keepalived -g 'Entering MASTER STATE' -o json -n 1")
    return int(json.loads(line)["__MONOTONIC_TIMESTAMP"]) / 1e6


def since(site: Site, host: str, what: str, units: Iterable[str] = POOLS) -> list[float]:
    """When units last became active (`ActiveEnter`), or left that state (`ActiveExit`), by the same clock."""
    found = site.on(host, f"systemctl show -P {what}TimestampMonotonic {' '.join(units)}")
    return [int(line) / 1e6 for line in found.split()]


def in_psql(string: str, query: str) -> str:
    """What libpq itself makes of a connection string: psycopg takes the hosts of a list one by one."""
    done = subprocess.run(
        ["psql", "-XAtq", string, "-c", query], env=os.environ | {"PGPASSWORD": PASSWORD, "PGCONNECT_TIMEOUT": "10"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_connection_string_names_both_as_it_is_printed(shared: Site) -> None:
    for words, port in (((), "5000"), (("--format", "uri"), "5000"), (("--pooled", "--read-only"), "6433")):
        code, out, err = invoke(shared, "dsn", *words)
        assert code == 0, err
        assert conninfo_to_dict(out.strip())["host"] == ",".join(BOTH)
        assert conninfo_to_dict(out.strip())["port"] == f"{port},{port}"
        assert in_psql(out.strip(), "select pg_is_in_recovery()") == ("t" if port == "6433" else "f")


def test_keepalived_and_systemd_find_nothing_wrong_with_their_files(shared: Site) -> None:
    for host in BOTH:
        assert shared.eyes(host).service("keepalived").is_running and shared.eyes(host).service("keepalived").is_enabled
        config = "/etc/keepalived/keepalived.conf"
        assert shared.on(host, f"keepalived --config-test --use-file={config} 2>&1") == ""
        assert shared.on(host, "systemd-analyze verify --man=no keepalived.service 2>&1 | grep keepalived.service || true") == ""
        assert shared.on(host, "ps -o user= -C keepalived | sort -u") == "root"
    assert holder(shared) in BOTH
    assert shared.changes() == 0


def test_the_packet_filter_takes_vrrp_from_the_other_proxy_alone(shared: Site) -> None:
    for host in BOTH:
        rules = shared.on(host, "nft list chain inet pgquorum input")
        assert f"{FAMILY} saddr {ADDRESS[other(host)]} accept" in rules and "drop" in rules


def test_a_client_comes_by_the_address_and_by_its_name_with_tls_verified(shared: Site) -> None:
    for port in (5000, 5001, WRITES, READS):
        for name in (NAME, SHARED):
            with by_address(shared, port, host=name) as connection:
                read_only = connection.execute("select pg_is_in_recovery()").fetchone()
                assert read_only == (port in (5001, READS),)
    code, out, err = invoke(shared, "psql", "--address", "-c", "select current_user")
    assert code == 0 and "app" in out, out + err
    assert invoke(shared, "verify")[0] == 0
    row = {
        finding["text"]
        for finding in json.loads(invoke(shared, "verify", "--json")[1])["findings"]
        if finding["about"] == "entry"
    }
    assert {f"a write through port 5000 of {NAME} succeeds, TLS verified"} <= row


def test_what_a_proxy_dials_never_comes_from_the_address(shared: Site) -> None:
    with by_address(shared) as connection, by_address(shared, WRITES) as pooled:
        for session in (connection, pooled):
            row = session.execute("select host(inet_client_addr())").fetchone()
            assert row == (ADDRESS[holder(shared)],)


def test_haproxy_that_hangs_loses_the_address_and_does_not_take_it_back(shared: Site) -> None:
    old = holder(shared)
    with by_address(shared) as session:
        shared.on(old, "systemctl kill --signal=STOP haproxy.service")
        try:
            print(f"the address is elsewhere after {moved(shared, old):.1f} s")
            wait_until(lambda: holders(shared) == [other(old)], "the host that hangs has it no more")
            wait_until(lambda: answers(shared), "clients get in")
            with pytest.raises(psycopg.Error):
                session.execute("select 1")
            found = {finding["rule"] for finding in status(shared)["findings"]}
            assert "routing.silent" in found and not any(rule.startswith("entry.") for rule in found)
        finally:
            shared.on(old, "systemctl kill --signal=CONT haproxy.service")
    wait_until(lambda: "Uptime" in shared.on(old, "echo 'show info' | socat -t 2 stdio /run/haproxy/check.sock"), "it is back")
    time.sleep(5)  # long enough for two checks, after which the host could have it again
    assert holders(shared) == [other(old)]


def test_a_host_that_loses_its_power_loses_the_address_and_its_list_leads_elsewhere(shared: Site) -> None:
    old = holder(shared)
    shared.lab.off(old)
    print(f"the address is elsewhere after {moved(shared, old):.1f} s")
    wait_until(lambda: answers(shared), "clients get in by the address")
    code, listed, err = invoke(shared, "dsn")
    assert code == 0, err
    assert in_psql(listed.strip(), "select 1") == "1"
    found = {finding["rule"] for finding in status(shared)["findings"]}
    assert "host.unreachable" in found and not any(rule.startswith("entry.") for rule in found)
    shared.lab.on(old)
    wait_until(lambda: shared.on(old, "systemctl is-active keepalived haproxy"), "it is back")
    time.sleep(5)
    assert holders(shared) == [other(old)]


def test_keepalived_that_is_killed_leaves_no_address_behind(shared: Site) -> None:
    old = holder(shared)
    shared.on(old, "systemctl kill --signal=KILL --kill-whom=main keepalived.service")
    assert holder(shared) in BOTH
    wait_until(lambda: shared.on(old, "systemctl is-active keepalived"), "systemd starts it again")
    assert holder(shared) in BOTH
    wait_until(lambda: invoke(shared, "status")[0] == 0, "status says that all is well")


def test_a_reload_of_haproxy_cuts_nobody_and_waits_while_clients_wait(shared: Site) -> None:
    host, came_in = holder(shared), threading.Event()

    def come_in() -> None:
        with by_address(shared, connect_timeout=60) as connection:
            connection.execute("select 1")
            came_in.set()

    with by_address(shared) as session:
        shared.on(host, "systemctl reload haproxy")  # nobody waits
        session.execute("select 1")
        assert holder(shared) == host
        hold = "echo 'set maxconn frontend writes {}' | socat stdio /run/haproxy/admin.sock"
        shared.on(host, f"{hold.format(0)}; touch {NOTE}")
        reloading = shared.watch(host, "systemctl reload haproxy", "")
        client = threading.Thread(target=come_in)
        client.start()
        try:
            for left in (NOTE, ""):  # without a note it is one that somebody has made by hand
                time.sleep(3)
                assert reloading.poll() is None and not came_in.is_set() and limit(shared, host) == 0
                session.execute("select 1")
                if left:
                    shared.on(host, f"rm {left}")
        finally:
            shared.on(host, f"rm -f {NOTE}; {hold.format(1000)}")
        assert reloading.wait(60) == 0
        client.join(60)
        assert came_in.is_set()
        session.execute("select 1")
    assert holder(shared) == host and flows(shared)


def test_a_switchover_holds_both_and_lets_go_of_both_and_no_pooled_client_has_an_error(shared: Site) -> None:
    old, held, stop = shared.leader(), dict.fromkeys(BOTH, False), threading.Event()

    def look() -> None:
        while not stop.is_set():
            with suppress(AssertionError):
                for host in BOTH:
                    held[host] = held[host] or limit(shared, host) == 0

    watching = threading.Thread(target=look)
    ways = [{"host": host, "hostaddr": ADDRESS[host]} for host in BOTH]
    with (
        Pooled(shared, 40, WRITES, **ways[0]) as first,
        Pooled(shared, 40, WRITES, write=False, **ways[1]) as second,
        Pooled(shared, 20, READS, write=False, host=NAME, hostaddr=SHARED) as readers,
    ):
        each = [len(console(shared, host, "show clients", process)) for host in BOTH for process in ("write-1", "write-2")]
        watching.start()
        trial = switch_over(shared, "--writers", "2")
        stop.set()
        watching.join(60)
    assert (trial["writes"]["failed"], trial["writes"]["indeterminate"], trial["reads"]["failed"]) == (0, 0, 0)
    print(f"longest {first.longest:.2f}, {second.longest:.2f} s; clients of each process {each}")
    assert (first.failures, second.failures, readers.failures) == ([], [], [])
    assert first.lost() == set() and min(each) > 1
    assert held == dict.fromkeys(BOTH, True) and flows(shared) and shared.leader() != old


@pytest.mark.long
def test_a_replica_that_is_made_anew_is_left_by_the_readers_of_both(shared: Site) -> None:
    replica = shared.replicas()[0]
    ways = [{"host": host, "hostaddr": ADDRESS[host]} for host in BOTH]
    with ExitStack() as stack:
        readers = [stack.enter_context(Pooled(shared, 10, READS, write=False, **way)) for way in ways]
        code, out, err = invoke(shared, "reinit", replica, "--yes")
    assert code == 0, out + err
    print([f"{one.longest:.2f} s, {one.done} reads" for one in readers])
    assert [one.failures for one in readers] == [[], []] and min(one.done for one in readers) > 100


def test_a_request_to_cancel_finds_its_query_whichever_process_it_comes_to(shared: Site) -> None:
    """It is a connection of its own, for which the kernel chooses one of two processes."""
    ways = [{"host": host, "hostaddr": ADDRESS[host]} for host in BOTH for _ in range(2)]
    asleep = "select count(*) from pg_stat_activity where state = 'active' and query = 'select pg_sleep(60)'"

    def ask(connection: psycopg.Connection[object]) -> str:
        try:
            connection.execute("select pg_sleep(60)")
        except psycopg.errors.QueryCanceled:
            return "cancelled"
        return "to its end"

    for _ in range(4):
        with ExitStack() as stack:
            clients = [stack.enter_context(shared.connect(WRITES, **way)) for way in ways]
            threads = stack.enter_context(ThreadPoolExecutor(len(clients)))
            asking = [threads.submit(ask, client) for client in clients]
            wait_until(lambda: int(shared.psql(shared.leader(), asleep)) == len(ways), "all are being answered", 40)
            for client in clients:
                client.cancel()
            assert [one.result() for one in asking] == ["cancelled"] * len(clients)


@pytest.mark.long
def test_a_deploy_that_reloads_haproxy_waits_for_who_waits_there(shared: Site) -> None:
    """Its end is no sooner than that of the hold, and neither lets in nor cuts anybody."""
    host, came_in = holder(shared), threading.Event()
    hold = "echo 'set maxconn frontend writes {}' | socat stdio /run/haproxy/admin.sock"

    def come_in() -> None:
        with by_address(shared, connect_timeout=60) as connection:
            connection.execute("select 1")
            came_in.set()

    with by_address(shared) as session, shared.edited("group_data/haproxy.py", "haproxy_max_connections = 901"):
        shared.on(host, hold.format(0))
        try:
            deploying = shared.pyinfra(INVENTORY, "deploy.py", "-y")
            reloading = "systemctl show -P ActiveState haproxy"
            wait_until(lambda: shared.on(host, reloading) == "reloading" or deploying.poll() is not None, "HAProxy is to reload")
            client = threading.Thread(target=come_in)
            client.start()
            time.sleep(5)
            assert deploying.poll() is None and not came_in.is_set() and limit(shared, host) == 0
            session.execute("select 1")
        finally:
            shared.on(host, hold.format(1000))
        output, _ = deploying.communicate(timeout=DEPLOY_SECONDS)
        assert deploying.returncode == 0, output
        client.join(60)
        assert came_in.is_set() and limit(shared, host) == 901
        session.execute("select 1")
    shared.deployed()
    assert holder(shared) == host


@pytest.mark.long
def test_a_proxy_that_dies_while_both_hold_leaves_nobody_waiting_at_the_other(shared: Site) -> None:
    def pausing() -> bool:
        return shared.on(PROXY, f"ls {NOTE} 2>/dev/null || true") != ""

    with LongTransactions(shared, WRITES, seconds=10, until=pausing) as long:  # the pause waits for them, so there is a middle
        running = start(shared, "switchover", "--yes", "--patience", "15", "--writers", "2")
        wait_until(pausing, "the pools are being paused")
        shared.lab.off(OTHER)
        wait_until(lambda: flows(shared, [PROXY]), "the other one lets go")
        with shared.connect(5000) as connection:
            connection.execute("select 1")
    code, out, err = finish(shared, running)
    print(f"exit code {code}: {(out + err).strip().splitlines()[-1:]}")
    assert code != 0 and long.failures == []
    assert holder(shared) == PROXY
    shared.lab.on(OTHER)
    wait_until(lambda: flows(shared), "both are well")
    wait_until(shared.healthy, "the cluster is whole")


@pytest.mark.long
@pytest.mark.parametrize("component", ["pgbouncer", "keepalived"])
def test_a_restart_on_both_moves_the_address_once(shared: Site, component: str) -> None:
    wait_until(lambda: invoke(shared, "status")[0] == 0, "all is well, on a proxy that was off a moment ago, too")
    old = holder(shared)
    code, out, err = invoke(shared, "rolling-restart", "--component", component, "--yes")
    assert code == 0, out + err
    assert holder(shared) == other(old)


@pytest.mark.long
def test_an_upgrade_of_both_proxies_cuts_who_comes_by_the_address_once_and_the_way_back_too(shared: Site) -> None:
    """HAProxy by a reload, which cuts nobody; PgBouncer and keepalived, before whose restart the address has left."""
    offer(shared, PROGRAMS, where=BOTH)
    try:
        held = shared.on_all("apt-mark showhold", BOTH)
        old = {host: installed(shared, host) for host in BOTH}
        new = {host: {name: bumped(version) for name, version in there.items()} for host, there in old.items()}
        for words, wanted in ((("--component", ",".join(PROGRAMS)), new), (("--back",), old)):
            last, first = holder(shared), other(holder(shared))
            with (
                clients_at_work(shared) as clients,
                Writers(shared, host=NAME, hostaddr=SHARED) as writers,
            ):
                code, out, err = invoke(shared, "upgrade", *words, "--yes", seconds=900)
            assert code == 0, out + err
            assert {host: installed(shared, host) for host in BOTH} == wanted
            assert shared.on_all("apt-mark showhold", BOTH) == held
            assert f"the sessions that come by {SHARED} are cut, in mid-transaction, too" in out
            assert holders(shared) == [first]
            # One proxy after the other, and the address had gone when PgBouncer was stopped where it was.
            assert max(since(shared, first, "ActiveEnter")) < min(since(shared, last, "ActiveExit"))
            assert since(shared, first, "ActiveEnter", ["keepalived"]) < [taken_at(shared, first)]
            assert taken_at(shared, first) < min(since(shared, last, "ActiveExit"))
            told = cut(clients)
            assert told["list", 5000] == 0 and told["list", WRITES] <= 2 * len(BOTH) * CLIENTS
            assert told["address", 5000] <= CLIENTS and told["address", WRITES] <= CLIENTS
            failed = writers.tried - len(writers.acknowledged)
            print(f"by the address {failed} of {writers.tried} writes got no answer")
            assert failed <= 4 and writers.lost() == set()  # what its four writers had under way
            assert not {one["rule"] for one in status(shared)["findings"]} & {"packages.not-running", "packages.not-held"}
    finally:
        withdraw(shared, BOTH)


@pytest.mark.long
def test_a_haproxy_that_does_not_start_is_found_out_at_the_first_proxy_and_taken_back(shared: Site) -> None:
    """Its reload fails, so the one that runs goes on, and the other proxy is not touched."""
    last, first = holder(shared), other(holder(shared))
    old = {host: installed(shared, host)["haproxy"] for host in BOTH}
    offer(shared, ["haproxy"], broken=HAPROXY_PROGRAM, where=BOTH)
    try:
        with clients_at_work(shared) as clients:
            code, out, err = invoke(shared, "upgrade", "--component", "haproxy", "--yes", seconds=900)
            assert code == 1, out + err
            print(next(line for line in out.splitlines() if line.startswith("problem")))
            assert "`invoke upgrade --back --component haproxy` takes back what it has installed" in out
            there = {host: installed(shared, host)["haproxy"] for host in BOTH}
            assert there == {first: bumped(old[first]), last: old[last]}
            code, out, err = invoke(shared, "upgrade", "--back", "--yes", seconds=900)
            assert code == 0, out + err
        assert {host: installed(shared, host)["haproxy"] for host in BOTH} == old
        assert set(cut(clients).values()) == {0} and holders(shared) == [last]
        shared.on(first, "systemctl reload haproxy")
    finally:
        withdraw(shared, BOTH)


def installed(site: Site, host: str) -> dict[str, str]:
    """The versions of what the proxies run."""
    found = site.on(host, f"dpkg-query -W -f '${{Package}} ${{Version}}\n' {' '.join(PROGRAMS)}")
    return dict(line.split() for line in found.splitlines())


@pytest.mark.long
def test_both_proxies_are_rebooted_one_after_the_other_and_the_address_leaves_before(shared: Site) -> None:
    boot = "systemctl show -P UserspaceTimestampMonotonic"
    last, first = holder(shared), other(holder(shared))
    before = shared.on_all(boot, BOTH)
    with clients_at_work(shared) as clients, Writers(shared, host=NAME, hostaddr=SHARED) as writers:
        hosts = itertools.chain.from_iterable(("--host", host) for host in BOTH)
        code, out, err = invoke(shared, "reboot", *hosts, "--yes", seconds=900)
    assert code == 0, out + err
    after = shared.on_all(boot, BOTH)
    assert all(after[host] != before[host] for host in BOTH) and holders(shared) == [first]
    assert int(after[first]) / 1e6 < taken_at(shared, first) < int(after[last]) / 1e6
    told = cut(clients)
    for port in (5000, WRITES):  # whoever has a list may be on each of them when its turn comes
        assert told["list", port] <= 2 * CLIENTS and told["address", port] <= CLIENTS
    failed = writers.tried - len(writers.acknowledged)
    print(f"by the address {failed} of {writers.tried} writes got no answer")
    assert failed <= 4 and writers.lost() == set()
    assert shared.changes() == 0


@pytest.mark.long
@pytest.mark.parametrize("way", [("--address",), (), ("--address", "--pooled")])
def test_a_proxy_that_is_lost_or_hangs_does_what_is_predicted(shared: Site, way: tuple[str, ...]) -> None:
    proof = run(shared, "--fault", "proxy-host-off,proxy-hang,haproxy-kill", *way)
    for trial in proof["trials"]:
        moved = {phase["key"]: phase["seconds"] for phase in trial["timeline"]}.get("moved")
        print(trial["fault"], way, trial["outage"], trial["prediction"]["within"], f"the address after {moved} s")
        as_promised(trial)


def test_the_host_with_the_address_leaves_without_it_and_none_is_left_by_a_deploy_without(shared: Site) -> None:
    if holder(shared) != OTHER:
        shared.on(PROXY, "systemctl restart keepalived")
        wait_until(lambda: holders(shared) == [OTHER], "the address is where it was sent")
    code, out, err = invoke(shared, "host.remove", OTHER, "--yes")
    assert code == 0, out + err
    assert f"move {SHARED} away from {OTHER}" in out + err and "proxy_address needs two proxy hosts" in out + err
    assert holders(shared) == [PROXY]
    shared.without_second_proxy()
    (shared.folder / "group_data/haproxy.py").write_text(
        (shared.folder / "group_data/haproxy.py").read_text().replace(f"proxy_address = {SHARED!r}", "proxy_address = None")
        .replace(f"proxy_address_name = {NAME!r}", "proxy_address_name = None")
    )  # fmt: skip
    shared.deployed()
    assert holders(shared) == []
    assert not shared.eyes(PROXY).service("keepalived").is_enabled
    assert not shared.eyes(PROXY).file("/etc/keepalived/keepalived.conf").exists
