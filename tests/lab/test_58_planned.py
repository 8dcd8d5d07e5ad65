"""Planned work that no query notices: pools are paused and new connections held while the primary changes, and whatever happens
to the operator, they go on. Seen by clients of their own, PgBouncer's console, HAProxy's statistics and PostgreSQL."""

from __future__ import annotations

import csv
import json
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress

import psycopg
import pytest
from clients import LongTransactions, Pooled, Writers
from commands import finish, invoke, start, status
from helpers import Site
from hosts import ADDRESS, DATABASES, PATIENCE, PROXY, wait_until
from proving import as_promised

from agents.sent import shipped
from day2.procedures.hold import hold_for, program

pytestmark = pytest.mark.usefixtures("healed")
WRITES, READS = 6432, 6433
NOTE = "/run/pgquorum-hold.json"
FEW = ("--writers", "2")


@pytest.fixture(scope="module")
def pooled(site: Site) -> Iterator[Site]:
    """The cluster with pools, if it had none."""
    with site.deployed_with("group_data/haproxy.py", "pooling = True\npooling_max_clients = 1100"):
        yield site


def asked(command: str, process: str = "write-1", port: int = WRITES) -> str:
    """What asks PgBouncer's console, on the host."""
    psql = f"psql -Xqw --csv -h /run/pgquorum-pool/{process} -p {port} -U pgbouncer pgbouncer"
    return f"runuser -u pgbouncer -- {psql} -c {shlex.quote(command)}"


def console(site: Site, command: str, process: str = "write-1", port: int = WRITES) -> list[dict[str, str]]:
    return list(csv.DictReader(site.on(PROXY, asked(command, process, port)).splitlines()))


def paused(site: Site) -> bool:
    return {row["key"]: row["value"] for row in console(site, "show state")}["paused"] == "yes"


@contextmanager
def pause_seen(site: Site) -> Iterator[Callable[[], bool]]:
    """Whether the pools were paused since the block began. That is watched on the host itself: a pause is over after some
    seconds, and on a busy machine each question by SSH takes some."""
    look = f"until {asked('show state')} | grep -qx paused,yes; do sleep 0.1; done"
    watch = site.watch(PROXY, f"timeout {2 * PATIENCE} bash -c {shlex.quote(look)}", "")
    try:
        yield lambda: watch.poll() == 0
    finally:
        watch.kill()
        watch.wait()


def limit(site: Site) -> int:
    """How many connections HAProxy takes at the port for writes."""
    said = site.on(PROXY, "echo 'show stat' | socat stdio /run/haproxy/admin.sock")
    rows = csv.DictReader(said.removeprefix("# ").splitlines())
    return next(int(row["slim"]) for row in rows if (row["pxname"], row["svname"]) == ("writes", "FRONTEND"))


def flows(site: Site) -> bool:
    """Nothing is held, and nothing is left that would let go."""
    left = site.on(PROXY, f"ls {NOTE} 2>/dev/null; systemctl list-units --all --plain --no-legend 'pgquorum-let-go*'")
    return not paused(site) and limit(site) > 0 and left == ""


def answers(site: Site, port: int = WRITES) -> None:
    with site.connect(port, connect_timeout=60) as connection:
        connection.execute("select 1")


@pytest.mark.parametrize("clients", [100, pytest.param(1000, marks=pytest.mark.long)])
def test_a_switchover_under_pooled_clients_fails_nothing(pooled: Site, clients: int) -> None:
    old = pooled.leader()
    new_sessions: list[str] = []
    stop = threading.Event()

    def connect_again_and_again() -> None:
        while not stop.is_set():
            try:
                connection = pooled.connect(5000, connect_timeout=20)
            except psycopg.Error as error:
                new_sessions.append(str(error))
                continue
            with closing(connection), suppress(psycopg.OperationalError):  # a session that is open is cut, as ever
                connection.execute("select 1")
            time.sleep(0.02)

    opener = threading.Thread(target=connect_again_and_again)
    with Pooled(pooled, clients, WRITES) as writers, Pooled(pooled, 20, READS, write=False) as readers:
        opener.start()
        code, out, err = invoke(pooled, "switchover", "--yes", "--json", *FEW)
        stop.set()
        opener.join()
    assert code in (0, 1), out + err
    (trial,) = json.loads(out)["trials"]
    as_promised(trial)
    print(f"outage {trial['outage']}, longest {trial['longest_wait']}; clients: {writers.longest:.2f} s, {writers.done} writes")
    assert (writers.failures, readers.failures, new_sessions) == ([], [], [])
    assert (trial["writes"]["failed"], trial["writes"]["indeterminate"], trial["writes"]["lost"]["count"]) == (0, 0, 0)
    assert trial["reads"]["failed"] == 0
    assert writers.lost() == set() and writers.done > clients and readers.done > 100
    assert pooled.leader() != old and flows(pooled)
    assert "no write failed, and the longest took" in err


def test_past_the_pools_each_open_session_is_cut_once_and_whoever_connects_waits(pooled: Site) -> None:
    """Clients at port 5000 who try again, and are as patient as most drivers are with a new connection, or more."""
    old, count = pooled.leader(), 4
    with Writers(pooled, count, connect_timeout=60) as writers:
        code, out, err = invoke(pooled, "switchover", "--yes", *FEW)
    assert code in (0, 1), out + err
    failed = writers.tried - len(writers.acknowledged)
    print(f"{failed} of {writers.tried} writes got no answer", *writers.failures)
    assert len(writers.failures) <= count and failed <= count and writers.lost() == set()
    assert pooled.leader() != old and flows(pooled)


def test_a_rolling_restart_fails_nothing_either(pooled: Site) -> None:
    before = pooled.postmasters()
    with Pooled(pooled, 20, WRITES) as writers, Pooled(pooled, 20, READS, write=False) as readers:
        code, out, err = invoke(pooled, "rolling-restart", "--yes", "--json", seconds=500)
    assert code == 0, out + err
    outcome = json.loads(out)
    print(
        f"gap {outcome['write_gap']}, longest {outcome['longest_wait']}; clients {writers.longest:.2f}, {readers.longest:.2f} s"
    )
    assert (writers.failures, readers.failures) == ([], [])
    assert (outcome["writes"]["failed"], outcome["writes"]["indeterminate"], outcome["reads_broken"]) == (0, 0, 0)
    assert writers.lost() == set()
    assert all(pooled.postmasters()[host] != before[host] for host in DATABASES) and flows(pooled)


def reads_at(site: Site, host: str, seconds: int) -> Callable[[], str]:
    """Begins a read of so many seconds at port 5001, on a session with that replica. Who is called returns how it has ended."""
    sessions = []
    for _ in range(4 * len(DATABASES)):
        sessions.append(site.connect(5001))
        where = sessions[-1].execute("select host(inet_server_addr())").fetchone()
        if where == (ADDRESS[host],):
            break
    for other in sessions[:-1]:
        other.close()
    ended: list[str] = []

    def read() -> None:
        try:
            sessions[-1].execute("select pg_sleep(%s)", (seconds,))
            ended.append("")
        except psycopg.OperationalError as error:
            ended.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()

    def end() -> str:
        reader.join(2 * PATIENCE)
        return ended[0]

    return end


def test_a_replica_that_is_made_anew_fails_no_read_but_one_that_takes_long(pooled: Site) -> None:
    replica = pooled.replicas()[0]
    short, long = reads_at(pooled, replica, 8), reads_at(pooled, replica, 600)
    with Pooled(pooled, 20, READS, write=False) as readers:
        code, out, err = invoke(pooled, "reinit", replica, "--yes")
    assert code == 0, out + err
    assert readers.failures == [] and readers.done > 100 and replica in pooled.read_from()
    assert short() == "" and long() != ""


def test_the_plan_says_what_waits_and_for_how_long(pooled: Site) -> None:
    code, out, err = invoke(pooled, "switchover", "--dry", "--json", "--patience", "3")
    assert code == 0, err
    hold = json.loads(out)["planned"][-1]["hold"]
    assert hold == {"hosts": [PROXY], "port": 5000, "pools": ["write-1"], "patience": 3, "bound": 18}
    assert "write-1 paused within 3 s" in err and flows(pooled)
    code, _, err = invoke(pooled, "switchover", "--dry", "--patience", "0")
    assert code == 2 and "--patience 0: should be from 1 to 15" in err


def test_who_stands_in_the_way_is_named_and_nothing_is_changed(pooled: Site) -> None:
    old = pooled.leader()
    with pooled.connect(WRITES, autocommit=False) as open_one, Pooled(pooled, 5, WRITES) as others:
        row = open_one.execute("select pg_backend_pid(), host(inet_client_addr())").fetchone()
        assert row
        code, out, err = invoke(pooled, "switchover", "--yes", "--patience", "1", *FEW)
        assert code == 2, out + err
        assert f"pid {row[0]} of role app in database app from " in err and "(idle in transaction), in a transaction since" in err
        assert "nothing was changed" in err
        mine = {client["addr"] for client in console(pooled, "show clients") if client["database"] == "app"}
        assert any(f"from {address} " in err for address in mine)
        open_one.execute("select 1")
    assert others.failures == [] and pooled.leader() == old and flows(pooled)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_operator_who_goes_in_the_middle_leaves_nobody_waiting(pooled: Site, how: signal.Signals) -> None:
    """Ctrl-C, and a process that is gone at once."""
    old = pooled.leader()
    with (
        pause_seen(pooled) as seen,
        LongTransactions(pooled, WRITES, seconds=10, until=seen) as long,
        Pooled(pooled, 5, WRITES) as others,
    ):
        running = start(pooled, "switchover", "--yes", "--patience", "15", *FEW)
        wait_until(lambda: seen() or running.poll() is not None, "the pools are being paused")
        if running.poll() is not None:
            pytest.fail(f"it has ended before: {finish(pooled, running)}")
        running.send_signal(how)
        wait_until(lambda: flows(pooled), "everything flows", 40)
        answers(pooled)
        if how == signal.SIGINT:
            code, out, err = finish(pooled, running)
            assert code == 130, out + err
        else:
            running.wait(30)
    assert others.failures == [] and long.failures == []
    assert pooled.leader() == old
    wait_until(pooled.healthy, "the cluster is whole")


# On a host: what SSH connections there are is dropped from now on, both ways; those that are made later are not.
DROP_SSH = """
ports=$(ss -tnH state established '( sport = :22 )' | awk '{print $4}' | sed 's/.*://' | paste -sd,)
[ "$ports" ] || exit 0
nft -f - <<END
table inet gone {
    chain input { type filter hook input priority 0; policy accept; tcp dport 22 tcp sport { $ports } drop; }
    chain output { type filter hook output priority 0; policy accept; tcp sport 22 tcp dport { $ports } drop; }
}
END
"""


@contextmanager
def cut_off(site: Site) -> Iterator[None]:
    """Whoever has SSH connections to the hosts now is gone, and neither end is told. Another operator gets through."""
    site.on_all(DROP_SSH)
    try:
        yield
    finally:
        site.on_all("nft delete table inet gone 2>/dev/null || true")


@pytest.mark.long
def test_an_operator_whose_machine_is_cut_off_in_a_hold_leaves_nobody_waiting(pooled: Site) -> None:
    """No end of a connection is seen, on either side: the timer lets go."""
    held = "echo 'show stat' | socat stdio /run/haproxy/admin.sock | grep -qE '^writes,FRONTEND(,[^,]*){4},0,'"
    with ThreadPoolExecutor(1) as pool, Pooled(pooled, 20, WRITES) as writers, Pooled(pooled, 10, READS, write=False) as readers:
        seen = pool.submit(pooled.on, PROXY, f"until {held}; do sleep 0.02; done", timeout=PATIENCE)
        running = start(pooled, "switchover", "--yes", *FEW)
        seen.result()
        with cut_off(pooled):
            began = time.monotonic()
            assert paused(pooled) and limit(pooled) == 0, "it was over before the connections were cut"
            wait_until(lambda: flows(pooled), "everything flows", 40)
            answers(pooled)
            answers(pooled, 5000)
            print(f"clients went on after {time.monotonic() - began:.1f} s")
            wait_until(pooled.healthy, "the cluster is whole")
            found = {one["rule"] for one in status(pooled)["findings"]}
            assert not found & {"pooling.paused", "routing.writes-held", "routing.drained"}, found
            # The lock of who is gone is given back when nothing was heard for a minute.
            old, again = pooled.leader(), ("switchover", "--yes", *FEW)
            wait_until(lambda: invoke(pooled, *again)[0] == 0, "the next command is let in, and does it")
            print(f"the next switchover was done after {time.monotonic() - began:.1f} s")
            assert pooled.leader() != old and flows(pooled)
            code, out, err = finish(pooled, running)
            print(f"{time.monotonic() - began:.1f} s: exit code {code}: {(out + err).strip().splitlines()[-1:]}")
            assert code != 0
    assert (writers.failures, readers.failures) == ([], []) and writers.lost() == set()
    print(f"the longest wait of a client: {writers.longest:.1f} s")
    wait_until(lambda: status(pooled)["healthy"], "all is well")


@contextmanager
def holding(site: Site, patience: float, bound: int) -> Iterator[subprocess.Popen[str]]:
    """The program that holds clients, started by hand."""
    cluster = site.cluster
    spec = program(cluster, cluster.host(PROXY), "{}", hold_for(cluster)) | {"patience": patience, "bound": bound}
    command, source = shipped("hold", spec)
    there = subprocess.Popen(
        [*site.lab.ssh_command(PROXY), command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    assert there.stdin
    there.stdin.write(source)
    try:
        assert told(there) == {"ready": True}
        yield there
    finally:
        there.stdin.close()
        there.wait(30)


def told(there: subprocess.Popen[str], command: str = "") -> dict[str, object]:
    assert there.stdin and there.stdout
    if command:
        there.stdin.write(f"{command}\n")
    there.stdin.flush()
    return dict(json.loads(there.stdout.readline()))


def test_a_pause_that_does_not_come_in_time_is_given_up(pooled: Site) -> None:
    with pooled.connect(WRITES, autocommit=False) as open_one, holding(pooled, 1.0, 20) as there:
        row = open_one.execute("select pg_backend_pid()").fetchone()
        assert row
        answer = told(there, "hold")
        (stuck,) = answer["stuck"]  # type: ignore[misc]
        assert (stuck["pid"], stuck["role"], stuck["database"]) == (row[0], "app", "app")
        assert flows(pooled)
        open_one.execute("select 1")


def test_held_clients_wait_and_open_sessions_go_on_even_when_all_is_lost_that_holds_them(pooled: Site) -> None:
    """The program is killed on the proxy itself: the timer lets go."""
    with pooled.connect(5000) as open_one, pooled.connect(WRITES) as in_pool, holding(pooled, 5.0, 40) as there:
        assert told(there, "hold") == {"held": True}
        assert paused(pooled) and limit(pooled) == 0
        found = {one["rule"]: one["text"] for one in status(pooled)["findings"]}
        assert {"pooling.paused", "routing.writes-held"} <= found.keys()
        began = time.monotonic()
        pooled.on(PROXY, "kill -9 $(pgrep -f 'python3 -I -S -c [i]mport sys; exec')")
        open_one.execute("select 1")
        waiting = [
            threading.Thread(target=answers, args=(pooled, 5000)),
            threading.Thread(target=in_pool.execute, args=("select 1",)),
        ]
        for one in waiting:
            one.start()
        for one in waiting:
            one.join(PATIENCE)
        assert not any(one.is_alive() for one in waiting)
        print(f"after {time.monotonic() - began:.1f} s")
    wait_until(lambda: flows(pooled), "nothing is left")


def test_what_somebody_has_left_held_is_told_and_let_go(pooled: Site) -> None:
    console(pooled, "pause")
    pooled.on(PROXY, "echo 'set maxconn frontend writes 0' | socat stdio /run/haproxy/admin.sock")
    found = {one["rule"]: one["text"] for one in status(pooled)["findings"]}
    assert "`invoke traffic.resume`" in found["pooling.paused"] and "`invoke traffic.resume`" in found["routing.writes-held"]
    code, _, err = invoke(pooled, "switchover", "--yes")
    assert code == 2 and "write-1 is paused" in err
    code, out, err = invoke(pooled, "traffic.resume")
    assert code == 0, out + err
    assert "takes new connections again" in out and "write-1: resume" in out
    answers(pooled)
    answers(pooled, 5000)
    assert flows(pooled)
    code, out, _ = invoke(pooled, "traffic.resume")
    assert code == 0 and "nobody was kept waiting" in out
