"""The day-2 commands on a real cluster, with what an operator may run into: each as a person would type it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from commands import at_terminal, finish, invoke, start, status
from helpers import ENVIRONMENT, INVENTORY, Site
from hosts import ADDRESS, DATA, DATABASES, PATIENCE, PROXY, SPEC, wait_until
from proving import run_one, switch_over

pytestmark = pytest.mark.usefixtures("healed")

KNOWN_HOSTS = f".lab/{SPEC.name}/known_hosts"


@contextmanager
def another_inventory(site: Site, old: str, new: str) -> Iterator[str]:
    """The inventory with something replaced, as another file beside it."""
    file = site.folder / f".lab/{SPEC.name}/changed.py"
    text = (site.folder / INVENTORY).read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    yield str(file)
    file.unlink()


def test_status_shows_a_healthy_cluster_on_one_screen(site: Site) -> None:
    began = time.monotonic()
    code, out, _ = invoke(site, "status")
    assert time.monotonic() - began < 60  # it does not hang; how quick it is, benchmarks/ tells
    assert code == 0, out
    assert len(out.splitlines()) < 30
    assert all(host in out for host in (*DATABASES, PROXY))
    assert "\x1b" not in out


def test_verify_writes_and_reads_as_a_client_from_here_and_from_a_host(site: Site) -> None:
    for words in ([], ["--from", DATABASES[1]]):
        code, out, _ = invoke(site, "verify", "--json", *words)
        assert code == 0, out
        assert sum("TLS verified" in f["text"] for f in json.loads(out)["findings"]) == 2


def test_a_dead_host_is_told_soon_and_keeps_a_failover_test_from_beginning(site: Site) -> None:
    dead = site.replicas()[0]
    site.lab.off(dead)
    began = time.monotonic()
    code, out, _ = invoke(site, "status")
    assert time.monotonic() - began < 60
    assert code == 1
    assert f"{dead}: unreachable" in out
    code, out, err = invoke(site, "failover-test", "--yes")
    assert (code, out) == (2, "")
    assert "nothing was touched" in err and dead in err


def test_etcd_without_a_quorum_is_told_and_postgresql_goes_on(site: Site) -> None:
    for host in DATABASES[1:]:
        site.on(host, "systemctl stop etcd")
    try:
        problems = wait_until(lambda: [f for f in status(site)["findings"] if "no quorum" in f["text"]], "it is noticed")
        assert problems[0]["about"] == DATABASES[0]
        with site.connect(5000) as connection:
            connection.execute("select 1")
    finally:
        for host in DATABASES[1:]:
            site.on(host, "systemctl start etcd")


def test_another_host_key_than_before_is_refused(site: Site) -> None:
    known = site.folder / ".lab/wrong_known_hosts"
    (line,) = [x for x in (site.folder / KNOWN_HOSTS).read_text().splitlines() if DATABASES[0] in x]
    lines = [x for x in (site.folder / KNOWN_HOSTS).read_text().splitlines() if x != line]
    other = lines[0].split(maxsplit=1)[1]
    known.write_text("\n".join([*lines, f"{line.split()[0]} {other}"]) + "\n")
    with another_inventory(site, KNOWN_HOSTS, ".lab/wrong_known_hosts") as inventory:
        code, out, _ = invoke(site, "status", inventory=inventory)
    assert code == 1
    assert f"{DATABASES[0]}: unreachable" in out and "another host key" in out


def test_a_failover_test_loses_nothing_and_keeps_to_its_prediction(site: Site) -> None:
    old = site.leader()
    trial = run_one(site, "host-off")
    assert trial["primary_before"] == old
    assert trial["writes"]["acknowledged"] > 500
    assert all(phase["seconds"] is not None for phase in trial["timeline"])
    assert site.leader() != old
    tables = "select count(*) from pg_class where relname ~ '^(write|evidence)_'"
    assert site.psql(site.leader(), tables, "pgquorum") == "0"


def test_ctrl_c_gives_the_power_back_and_a_second_operator_is_told_meanwhile(site: Site) -> None:
    old = site.leader()
    running = start(site, "failover-test", "--yes")
    wait_until(lambda: not all(h.power for h in site.lab.status()), "the power is cut")
    code, _, err = invoke(site, "switchover", "--yes")
    assert code == 2
    assert "is changing this cluster (failover-test" in err
    running.send_signal(signal.SIGINT)
    code, out, _ = finish(site, running)
    assert code == 130
    assert "`invoke status` shows how it goes on" in out
    assert all(h.power and h.ssh for h in site.lab.status())
    wait_until(site.healthy, "the cluster is whole")
    assert all(host["operator"] is None for host in status(site)["hosts"].values())
    assert old in site.members()


def test_the_kill_of_postgresql_and_patroni_is_healed_without_a_trace(site: Site) -> None:
    old = site.leader()
    run_one(site, "kill")
    assert site.leader() != old
    assert site.on(old, "ls /run/systemd/system/patroni.service.d 2>/dev/null | grep -c fault || true") == "0"
    assert site.on(old, "systemctl list-timers --all | grep -c pgquorum-heal || true") == "0"
    assert site.on(old, "systemctl show -p Restart --value patroni") == "on-failure"


def test_a_host_without_a_switch_is_not_guessed_at(site: Site) -> None:
    with another_inventory(site, "'power_off'", "'_power_off'") as inventory:
        code, out, err = invoke(site, "failover-test", "--yes", inventory=inventory)
    assert (code, out) == (2, "")
    assert "power_off" in err and "--fault kill" in err


def test_a_switch_that_fails_is_told_and_nothing_is_left(site: Site) -> None:
    with another_inventory(site, "'invoke lab.off", "'false") as inventory:
        code, out, _ = invoke(site, "failover-test", "--yes", inventory=inventory)
    assert code == 1
    assert "failed with exit code 1" in out
    assert site.healthy()
    tables = "select count(*) from pg_class where relname ~ '^(write|evidence)_'"
    assert site.psql(site.leader(), tables, "pgquorum") == "0"


def test_a_replica_that_stands_still_is_measured(site: Site) -> None:
    stuck = site.replicas()[0]
    site.on(stuck, "kill -STOP $(pgrep -f 'startup [r]ecovering')")
    try:
        with site.connect(5000) as connection:
            connection.execute(
                "create table if not exists bulk as select g, repeat(md5(g::text), 20) t from generate_series(1, 40000) g"
            )
            connection.execute("insert into bulk select * from bulk")
        code, out, _ = invoke(site, "wal-lag", "--max-bytes", "16MB", "--json")
        assert code == 1
        (row,) = [row for row in json.loads(out)["replicas"] if row["name"] == stuck]
        assert row["replayed"] > 16 * 1024**2 > row["received"]
        assert [f.split()[0] for f in json.loads(out)["failures"]] == [stuck]
        code, _, err = invoke(site, "switchover", "--yes", "--to", stuck)
        assert code == 2
        assert "haproxy_read_max_lag" in err
    finally:
        site.on(stuck, "kill -CONT $(pgrep -f 'startup [r]ecovering')")
        with site.connect(5000) as connection:
            connection.execute("drop table bulk")
    wait_until(lambda: invoke(site, "wal-lag", "--max-bytes", "16MB")[0] == 0, "it has caught up")


def test_when_an_application_has_taken_all_connections_the_tool_still_works_and_says_who_it_is(site: Site) -> None:
    with site.without_limit(), ExitStack() as applications:
        with pytest.raises(psycopg.OperationalError, match="remaining connection slots are reserved"):
            while True:
                applications.enter_context(site.connect(5000))
        (full,) = [f for f in status(site)["findings"] if f["rule"] == "connections.nearly-full"]
        assert full["about"] == site.leader() and f"of app from {ADDRESS[PROXY]}" in full["text"]
        code, out, err = invoke(site, "verify")
        assert code == 0, out + err
        switch_over(site)
    wait_until(site.healthy, "the cluster is whole")


def test_transaction_ids_that_are_not_reclaimed_are_told_before_they_run_out(site: Site) -> None:
    leader, old = site.leader(), "(txid_current() + 4294967296 - 1200000000) % 4294967296"
    site.psql(leader, "create database forgotten")

    def told() -> bool:  # again and again: autovacuum finds it within a minute, and puts it right
        site.psql(leader, f"update pg_database set datfrozenxid = ({old})::text::xid where datname = 'forgotten'")
        found = [one for one in status(site)["findings"] if one["rule"].startswith("transactions.")]
        assert [one["rule"] for one in found] == ["transactions.not-frozen"]
        return "transaction ID of database forgotten is 1,2" in found[0]["text"]

    try:
        wait_until(told, "it is told")
    finally:
        site.psql(leader, "drop database forgotten")
    assert not any(one["rule"].startswith("transactions.") for one in status(site)["findings"])


def test_the_end_of_the_input_is_no_yes(site: Site) -> None:
    """Ctrl-D at the question."""
    leader = site.leader()
    code, screen = at_terminal(site, "invoke", "switchover", asked="Go on? [y/N]", typed="\x04")
    assert code == 2 and "nothing was done" in screen and "Traceback" not in screen, screen
    assert site.leader() == leader


def test_a_paused_cluster_says_so_and_refuses(site: Site) -> None:
    assert invoke(site, "pause")[0] == 0
    try:
        code, out, _ = invoke(site, "status")
        assert code == 1 and "PAUSED" in out and "invoke resume" in out
        for words in (["switchover", "--yes"], ["failover-test", "--yes"], ["rolling-restart", "--yes"]):
            code, _, err = invoke(site, *words)
            assert code == 2 and "paused" in err
    finally:
        assert invoke(site, "resume")[0] == 0
    assert status(site)["paused"] is False


@pytest.mark.long
def test_after_a_switchover_a_change_of_settings_leaves_replication_alone(site: Site) -> None:
    """Patroni once wrote the old primary back into the configuration of the replica that had been led to the new one."""
    switch_over(site)
    wait_until(site.healthy, "the cluster is whole")
    replicas, since = site.replicas(), time.time()
    with site.deployed_with("group_data/all.py", 'durability = "asynchronous"'):
        assert not [m for m in site.members().values() if "Standby" in m["Role"]]
    assert [m["Role"] for m in site.members().values()].count("Quorum Standby") == len(replicas)
    # In PostgreSQL's own words, and not by the process that receives: on a machine that is busy a connection may time out.
    led = "parameter .primary_|administrator command|starting PostgreSQL"
    for host in replicas:
        said = site.on(host, f"journalctl --unit patroni --since @{since:.0f} --output cat | grep -E '{led}' || true")
        assert said == "", said


def test_a_switchover_to_a_named_host(site: Site) -> None:
    old, wanted = site.leader(), site.replicas()[1]
    assert switch_over(site, "--to", wanted)["primary_after"] == wanted
    assert site.leader() == wanted
    wait_until(site.healthy, f"{old} streams")
    for to in ("nobody", PROXY, wanted):
        assert invoke(site, "switchover", "--yes", "--to", to)[0] == 2


@pytest.mark.long
def test_a_rolling_restart_restarts_everyone_and_no_read_is_without_a_server(site: Site) -> None:
    before = site.postmasters()
    code, out, err = invoke(site, "rolling-restart", "--yes", "--json")
    assert code == 0, out + err
    outcome = json.loads(out)
    assert outcome["left"] == [] and outcome["reads_refused"] == [] and outcome["writes"]["lost"] == []
    assert outcome["reads_broken"] == 0
    assert all(site.postmasters()[host] != before[host] for host in DATABASES)


@pytest.mark.parametrize("component", ["etcd", "haproxy"])
def test_other_components_are_restarted_one_by_one_and_nobody_notices(site: Site, component: str) -> None:
    leader = site.leader()
    code, out, err = invoke(site, "rolling-restart", "--yes", "--component", component, "--json")
    assert code == 0, out + err
    assert json.loads(out)["write_gap"] < 20  # not those of a failover
    assert site.leader() == leader


def test_an_interrupted_rolling_restart_leaves_nothing_drained(site: Site) -> None:
    states = "echo 'show stat' | socat stdio /run/haproxy/admin.sock | cut -d, -f1,2,18 | grep '^read,pg'"
    running = start(site, "rolling-restart", "--yes")
    wait_until(lambda: "DRAIN" in site.on(PROXY, states), "a server is drained")
    running.send_signal(signal.SIGINT)
    code, out, _ = finish(site, running)
    assert code == 130
    assert "left" in out
    assert "DRAIN" not in site.on(PROXY, states)
    wait_until(site.healthy, "the cluster is whole")


def test_a_setting_changed_behind_the_tools_back_is_found(site: Site) -> None:
    leader = site.leader()
    patronictl = "patronictl -c /etc/patroni/conf.d edit-config --force"
    site.on(leader, f"{patronictl} -p work_mem=9MB -s maximum_lag_on_syncnode=1000000")
    code, out, _ = invoke(site, "config", "--json")
    assert code == 1
    found = json.loads(out)
    assert [(d["name"], d["actual"], d["needs_restart"]) for d in found["differences"]] == [("work_mem", "9MB", False)]
    assert found["not_ours"] == {"maximum_lag_on_syncnode": 1000000}
    site.on(leader, f"{patronictl} -s maximum_lag_on_syncnode=null")
    site.deployed()
    assert invoke(site, "config")[0] == 0


def test_a_replica_is_made_anew(site: Site) -> None:
    replica = site.replicas()[0]
    born = site.on(replica, f"stat -c %W {DATA}/PG_VERSION")
    assert invoke(site, "reinit", site.leader(), "--yes")[0] == 2
    code, out, err = invoke(site, "reinit", replica, "--yes")
    assert code == 0, out + err
    assert site.on(replica, f"stat -c %W {DATA}/PG_VERSION") != born
    assert site.healthy()


def test_the_logs_of_all_hosts_in_order_of_time(site: Site) -> None:
    site.on(site.leader(), "systemctl restart pgquorum-wake-patroni")
    code, out, _ = invoke(site, "logs", "--since", "1 min ago", "--lines", "0")
    assert code == 0
    lines = [line for line in out.splitlines() if line[:2] == "20"]
    assert {line.split()[2] for line in lines} >= set(DATABASES)
    assert {line.split()[3] for line in lines} >= {"patroni", "pgquorum-wake-patroni"}
    assert [line[:23] for line in lines] == sorted(line[:23] for line in lines)
    assert invoke(site, "logs", "--since", "nonsense")[0] == 2


def test_logs_by_component_and_severity_and_no_more_than_asked_for(site: Site) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero), site.connect(5000) as connection:
        connection.execute("select 1/0")

    def lines(*words: str) -> list[str]:
        code, out, err = invoke(site, "logs", "--since", "2 min ago", *words)
        assert code == 0, out + err
        return [line for line in out.splitlines() if line[:2] == "20"]

    failed = ("--component", "postgres", "--errors", "--lines", "0")
    wait_until(lambda: [line for line in lines(*failed) if "division by zero" in line], "it is there")
    components = {"patroni", "etcd", "haproxy"}
    for component in sorted(components):
        found = lines("--component", component, "--lines", "0")
        assert not [line for line in found if "division by zero" in line]
        assert {line.split()[3] for line in found} & components <= {component}  # Patroni's has the services beside it, too
    assert {line.split()[2] for line in lines("--host", PROXY)} <= {PROXY}
    assert len(lines("--lines", "5")) <= 5


def test_the_screen_is_drawn_again_until_ctrl_c(site: Site) -> None:
    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(at_terminal, site, "invoke", "status", "--watch", asked="PAUSED", typed="\x03", seconds=PATIENCE)
        try:
            time.sleep(5)  # by then it shows a cluster that is not paused
            assert not watching.done() and invoke(site, "pause")[0] == 0
            code, screen = watching.result()
        finally:
            assert invoke(site, "resume")[0] == 0
    before, _, after = screen.partition("PAUSED")
    assert SPEC.name in before and "Traceback" not in after and code in (0, 130), screen


def test_the_next_steps_that_are_named_are_there_for_this_cluster(site: Site) -> None:
    code, out, err = invoke(site, "next-steps")
    assert code == 0, out + err
    listed = invoke(site, "--list")[1]
    named = {line.split()[1] for line in out.splitlines() if line.strip().startswith("invoke ")} - {"--list"}
    assert {"status", "psql", "dsn", "switchover", "failover-test"} <= named and not [one for one in named if one not in listed]
    assert f"--name {SPEC.name}` removes the lab" in out


def test_psql_and_dsn_reach_the_primary_and_the_replicas(site: Site) -> None:
    for words, recovery in (([], "false"), (["--read-only"], "true")):
        code, out, err = invoke(site, "psql", *words, "-c", "select 6*7, pg_is_in_recovery(), current_user")
        if code == 2:
            pytest.skip("NOT TESTED: psql is not installed here (`apt-get install postgresql-client`)")
        cells = [cell.strip() for cell in out.splitlines()[2].split("|")]
        assert code == 0 and cells == ["42", recovery[0], "app"], out + err
        password = {"PGPASSWORD": ENVIRONMENT["PGQUORUM_PASSWORD_ROLE_APP"]}
        for form in ("libpq", "uri"):
            _, string, _ = invoke(site, "dsn", *words, "--format", form)
            assert asked(password, string.strip()) == recovery


def asked(environment: dict[str, str], *string: str) -> str:
    """What psql is told of whether the server is a replica."""
    done = subprocess.run(
        ["psql", "-XAtc", "select case when pg_is_in_recovery() then 'true' else 'false' end", *string],
        env=os.environ | environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_the_environment_and_a_pgpass_are_enough_for_libpq(site: Site, tmp_path: Path) -> None:
    if shutil.which("psql") is None:
        pytest.skip("NOT TESTED: psql is not installed here (`apt-get install postgresql-client`)")
    _, lines, _ = invoke(site, "dsn", "--format", "env")
    environment = dict(word.split("=", 1) for line in lines.splitlines() for word in shlex.split(line)[1:])
    process = start(site, "dsn", "--format", "pgpass", "--with-password")  # whose password is to be seen
    file = tmp_path / "pgpass"
    file.write_text(process.communicate(timeout=PATIENCE)[0])
    file.chmod(0o600)
    assert asked(environment | {"PGPASSFILE": str(file)}) == "false"
