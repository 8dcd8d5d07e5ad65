"""What a role that may log in can take from the others, and what is known afterwards of who came."""

from __future__ import annotations

import base64
import http.client
import itertools
import re
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from clients import Traffic, reads_and_writes
from commands import invoke, start, status
from helpers import ENVIRONMENT, INVENTORY, Site
from hosts import ADDRESS, DATABASES, IN_URL, PATIENCE, PROXY, wait_until

from operations.managed import data_directory, write

pytestmark = pytest.mark.usefixtures("first_deploy", "healed")

TLS_1_2 = {"ECDHE-ECDSA-AES128-GCM-SHA256": True, "ECDHE-ECDSA-AES256-SHA384": False, "ECDHE-ECDSA-AES128-SHA": False}
SERVERS = [*((DATABASES[0], port) for port in (2379, 2380, 8008, 5432)), (PROXY, 5000), (PROXY, 7000)]


@pytest.mark.parametrize(("host", "port"), SERVERS)
def test_of_tls_1_2_only_suites_that_authenticate_are_taken(site: Site, host: str, port: int) -> None:
    protocol = ["-starttls", "postgres"] if port in (5432, 5000) else []
    pair = site.secrets / f"{DATABASES[0]}-{'etcd-client' if port in (2379, 2380) else 'postgres'}"
    for suite, taken in TLS_1_2.items():
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"{IN_URL[host]}:{port}", *protocol, "-tls1_2", "-cipher", f"{suite}:@SECLEVEL=0",
             "-cert", f"{pair}.crt", "-key", f"{pair}.key"],
            input="", capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        assert (re.search(r"^ +Cipher +: (\S+)$", done.stdout, re.MULTILINE) or [None, "0000"])[1] == (suite if taken else "0000")


@pytest.mark.parametrize("database", ["postgres", "template1"])
def test_an_application_has_no_business_in_the_systems_databases(site: Site, database: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=f'permission denied for database "{database}"'):
        site.connect(5000, dbname=database)


def test_a_role_without_a_limit_leaves_others_some_connections(site: Site) -> None:
    leader = site.leader()
    most = int(site.psql(leader, "show max_connections")) - 3 - int(site.psql(leader, "show reserved_connections"))
    assert 1 < int(site.psql(leader, "select rolconnlimit from pg_roles where rolname = 'app'")) < most


def test_what_its_sorts_leave_on_the_disk_has_a_limit_that_it_can_not_lift(site: Site) -> None:
    with site.connect(5000) as app:
        assert app.execute("show temp_file_limit").fetchone() == ("4GB",)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute("set temp_file_limit = -1")


def test_a_sort_that_goes_beyond_its_limit_is_ended_and_leaves_nothing(site: Site) -> None:
    with site.deployed_with("group_data/postgres.py", "postgres_parameters |= {'temp_file_limit': '64MB'}"):
        leader, temporary = site.leader(), f"{site.cluster.postgres.data_directory}/base/pgsql_tmp"
        wait_until(lambda: site.psql(leader, "show temp_file_limit") == "64MB", "the limit is in force")
        with reads_and_writes(site) as traffic, site.connect(5000) as app:
            with pytest.raises(psycopg.errors.ConfigurationLimitExceeded, match="temp_file_limit"):
                app.execute("select count(*) from (select g from generate_series(1, 20000000) g order by random()) as sorted")
            assert app.execute("select 1").fetchone() == (1,)
        assert traffic.failures == []
        assert site.on(leader, f"find {temporary} -type f 2>/dev/null || true") == ""


@pytest.mark.long
def test_what_is_kept_of_the_log_for_a_replica_that_is_away_has_a_limit(site: Site) -> None:
    """Any role can write as much of it as it likes. Writes go on, and the replica comes back when it is made anew."""
    bound, most = "'max_slot_wal_keep_size': '192MB', 'max_wal_size': '256MB'", 1000  # MB: half as much as is written
    leader, away = site.leader(), site.replicas()[0]
    size = f"du -sLm {site.cluster.postgres.data_directory}/pg_wal | cut -f 1"
    follows = (
        "select count(*) from pg_stat_replication where pg_wal_lsn_diff(pg_current_wal_flush_lsn(), flush_lsn) < 16 * 1024 * 1024"
    )
    with site.deployed_with("group_data/postgres.py", f"postgres_parameters |= {{{bound}}}"):
        wait_until(lambda: site.psql(leader, "show max_slot_wal_keep_size") == "192MB", "the limit is in force")
        site.on(away, "systemctl stop patroni")
        try:
            sizes = []
            with site.connect(5000) as app:
                wait_until(lambda: told(site, "slots.idle", "slots.lost"), "what is kept for it is told")
                for _ in range(20):
                    app.execute("select sum(length(pg_logical_emit_message(false, 'x', repeat('x', 10000000))::text))"
                                " from generate_series(1, 10)")  # fmt: skip
                    sizes.append(int(site.on(leader, size)))
                    wait_until(lambda: site.psql(leader, follows) == "1", "the other replica has it")
            print(f"MB of the log while 2,000 were written: {sizes}")
            assert max(sizes) < most
        finally:
            site.on(away, "systemctl start patroni")

        def what_it_needs() -> list[str]:
            sought = f"`invoke reinit {away}`"
            return [one["text"] for one in status(site)["findings"] if one["about"] == away and sought in one["text"]]

        wait_until(what_it_needs, "that it is to be made anew is told")
        code, out, err = invoke(site, "reinit", away, "--yes", seconds=600)
        assert code == 0, out + err
        site.heal()


def told(site: Site, *rules: str) -> bool:
    return any(one["rule"] in rules for one in status(site)["findings"])


def test_a_disk_that_fills_up_is_told_before_it_is_full(site: Site) -> None:
    host, place = site.replicas()[0], "/var/lib/pgquorum-wal"
    filler, size = f"{place}/filler", int(site.on(host, f"df --output=size -B1 {place} | tail -n 1"))
    try:
        for rule, left in (("disks.nearly-full", 0.08), ("disks.full", 0.03)):
            free = int(site.on(host, f"df --output=avail -B1 {place} | tail -n 1"))
            site.on(host, f"head -c 0 >>{filler}; fallocate -l $(($(stat -c %s {filler}) + {free - int(size * left)})) {filler}")
            found = [one for one in status(site)["findings"] if one["rule"].startswith("disks.")]
            assert [(one["rule"], one["about"]) for one in found] == [(rule, host)], found
            assert place in found[0]["text"]
    finally:
        site.on(host, f"rm -f {filler}")
    assert not [one for one in status(site)["findings"] if one["rule"].startswith("disks.")]


@contextmanager
def all_locks_taken(site: Site, host: str) -> Iterator[psycopg.Connection[object]]:
    """A session of the application's that has taken every lock there was on a host: past HAProxy, which ends those of a replica
    that does not answer its checks."""
    with site.connect(5432, host=host, hostaddr=ADDRESS[host]) as greedy:
        batch, first = 4096, 0
        while batch:
            try:
                greedy.execute(
                    "select count(pg_advisory_lock(g)) from generate_series(%s::bigint, %s::bigint) g", (first, first + batch - 1)
                )
                first += batch
            except psycopg.errors.OutOfMemory:
                first, batch = first + batch, batch // 2
        yield greedy


@pytest.mark.parametrize("kind", ["primary", pytest.param("replica", marks=pytest.mark.long)])
def test_who_has_taken_all_locks_is_named_though_nobody_can_log_in_and_can_be_ended(site: Site, kind: str) -> None:
    leader = site.leader()
    host = leader if kind == "primary" else site.replicas()[0]
    with all_locks_taken(site, host) as greedy:
        pid = greedy.info.backend_pid

        def named() -> str:
            findings = [one for one in status(site)["findings"] if one["rule"] == "locks.full"]
            return next((one["text"] for one in findings if one["about"] == host and f"process {pid} " in one["text"]), "")

        text = wait_until(named, "the session is named")
        with pytest.raises(psycopg.OperationalError, match="out of shared memory"):
            site.connect(5432, host=host, hostaddr=ADDRESS[host])
        assert "(app app " in text
        assert f"`kill -TERM {pid}` there ends it" in text
        site.on(host, f"kill -TERM {pid}")
        wait_until(lambda: site.connect(5432, host=host, hostaddr=ADDRESS[host]).close() or True, "a client can log in again")
    wait_until(lambda: status(site)["healthy"], "all is well again")
    assert site.leader() == leader


def test_few_locks_that_are_left_are_told_with_who_has_the_others(site: Site) -> None:
    leader = site.leader()
    of_each, connections = (int(site.psql(leader, f"show {name}")) for name in ("max_locks_per_transaction", "max_connections"))
    with site.connect(5000) as greedy:
        greedy.execute(
            "select count(pg_advisory_lock(g)) from generate_series(1::bigint, %s::bigint) g", (of_each * connections * 9 // 10,)
        )

        def text() -> str:
            findings = [one for one in status(site)["findings"] if one["rule"] == "locks.nearly-full"]
            return next((one["text"] for one in findings if one["about"] == leader), "")

        said = wait_until(text, "it is told")
        assert f"by process {greedy.info.backend_pid} (app app " in said, said
        site.connect(5000).close()
        assert site.psql(leader, "select 1") == "1"
    wait_until(lambda: not told(site, "locks.nearly-full", "locks.full"), "the locks are free again")


def journal(site: Site, host: str, unit: str, since: str) -> str:
    return site.on(host, f"journalctl --quiet --output=cat --unit={unit} --since=@{since}")


def test_who_came_through_haproxy_can_be_traced_to_its_address(site: Site) -> None:
    leader, since = site.leader(), f"{time.time() - 1:.0f}"
    time.sleep(11)  # of more than twenty connections within ten seconds not each is written
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        site.connect(5000, password="wrong")
    site.connect(5000).close()

    def clients() -> dict[str, str]:
        """What PostgreSQL says of the role's logins, and the client of each by HAProxy's line about the same port."""
        proxied, found = journal(site, PROXY, "haproxy", since), {}
        for port, said in re.findall(rf"\] {re.escape(ADDRESS[PROXY])}\((\d+)\) (.*)", journal(site, leader, "patroni", since)):
            client = re.search(rf"^(\S+):\d+ on port 5000 is \S+:{port} at {leader} ", proxied, re.MULTILINE)
            found |= {kind: client[1] for kind in ("authentication failed", "connection authorized") if client and kind in said}
        return found

    came = wait_until(lambda: len(found := clients()) == 2 and found, "both are traced")
    own = subprocess.run(["hostname", "--all-ip-addresses"], capture_output=True, text=True, check=True).stdout.split()
    assert set(came.values()) <= set(own)


def test_of_many_connections_some_are_written_and_none_is_kept_waiting(site: Site) -> None:
    def written() -> int:
        return len(re.findall(" on port 5000 is ", journal(site, PROXY, "haproxy", since)))

    time.sleep(11)  # the first twenty within ten seconds are written
    since, took = f"{time.time() - 1:.0f}", []
    for _ in range(200):
        began = time.monotonic()
        site.connect(5000).close()
        took.append(time.monotonic() - began)
    wait_until(lambda: written() >= 20, "some are written")
    if sum(took) < 60:  # else they were too few at a time for any to be left out
        time.sleep(2)  # what the journal may still have before it
        assert written() < 200
    # HAProxy waits so long for a client's first word; each twentieth of these has once waited to the end of it.
    assert sum(2.9 < one < 3.4 for one in took) <= 5


def test_a_flood_of_lines_in_postgresqls_log_takes_none_of_patronis(site: Site) -> None:
    """Any role can write as many as it likes. The journal drops some of a flood; what the cluster did meanwhile must be there."""
    leader = site.leader()
    # Whatever a deploy has written since Patroni began is read first.
    site.on(leader, "systemctl reload patroni && sleep 6")
    with site.connect(5000) as app:
        app.execute("do $$ begin for n in 1..200000 loop raise log 'flood %', n; end loop; end $$")
    since = site.on(leader, "date +%s")
    site.on(leader, "systemctl reload patroni")
    lines = f"journalctl -q -u patroni -o cat --since=@{since} | grep -c 'No local configuration items changed' || true"
    wait_until(lambda: site.on(leader, lines) == "1", "Patroni's line is there", 20)
    kept = int(site.on(leader, f"journalctl -q -u patroni -o cat --since=@{int(since) - 60} | grep -c 'flood ' || true"))
    assert 0 < kept < 200_000, "the journal was to drop some"

    def written_again() -> bool:
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            site.connect(5000, password="wrong")
        return "authentication failed" in site.on(leader, "journalctl -q -u patroni -o cat --since '5 s ago'")

    wait_until(written_again, "the journal takes PostgreSQL's lines again")


def test_who_is_refused_at_the_statistics_is_noted(site: Site) -> None:
    since = f"{time.time() - 1:.0f}"
    right = ENVIRONMENT["PGQUORUM_PASSWORD_HAPROXY_STATS"]
    for password, expected in (("wrong", 401), (right, 200)):
        through = ssl.create_default_context(cafile=str(site.secrets / "haproxy-ca.crt"))
        asked = http.client.HTTPSConnection(ADDRESS[PROXY], 7000, timeout=10, context=through)
        login = base64.b64encode(f"admin:{password}".encode()).decode()
        asked.request("GET", "/;csv", headers={"Authorization": f"Basic {login}"})
        assert asked.getresponse().status == expected
        asked.close()
    lines = wait_until(lambda: re.findall(r"on port 7000 .*", journal(site, PROXY, "haproxy", since)), "a line of the log")
    assert lines == ["on port 7000 is answered 401"]


def on_a_terminal(site: Site, command: str, *codes: int) -> str:
    """All that a program of ours writes to one; it exits with one of these codes, or 0."""
    done = subprocess.run(
        ["script", "--quiet", "--return", "--command", f"{Path(sys.executable).parent}/{command}", "/dev/null"],
        cwd=site.folder, capture_output=True, timeout=300, check=False,
        env=ENVIRONMENT | {"PATH": "/usr/bin:/bin", "TERM": "xterm", "INVOKE_INVENTORY": INVENTORY, "HOME": "/root"},
    )  # fmt: skip
    said = done.stdout.decode()
    assert done.returncode in (codes or (0,)), said
    return said


EVIL = "\x1b]0;PWNED\x07\x1b[2J"
CODES = ("\x1b]", "\x1b[2J", "\x07")


def test_a_strangers_user_name_commands_no_terminal(site: Site) -> None:
    with pytest.raises(psycopg.OperationalError):
        site.connect(5000, user=EVIL, password="x")
    command = "invoke logs --component postgres --since '1 min ago'"
    said = wait_until(lambda: "PWNED" in (text := on_a_terminal(site, command)) and text, "the line is there")
    assert "\x1b[" in said, "rich's own colours: it was a terminal"
    assert not [code for code in CODES if code in said]


def test_names_within_postgresql_command_no_terminal(site: Site) -> None:
    name = f'"{EVIL}"'
    statements = (
        f"create role {name}",
        f"create database {name}",
        f"alter role {name} in database {name} set synchronous_commit = off",
    )
    with site.deployed_with("group_data/all.py", 'weaker_commits = "mend"'):
        try:
            for statement in statements:
                site.psql(site.leader(), statement)
            for command in ("invoke status", "invoke verify", "invoke config", f"pyinfra {INVENTORY} deploy.py -y"):
                said = on_a_terminal(site, command)
                assert "PWNED" in said or command == "invoke config", said
                assert not [code for code in CODES if code in said], said
        finally:
            for statement in (f"drop database if exists {name}", f"drop role if exists {name}"):
                site.psql(site.leader(), statement)


# Calls itself so, and listens on the port $1.
LISTENS = """
import socket, sys, time
with open("/proc/self/comm", "w") as name:
    name.write({!r})
taken = socket.create_server(("", int(sys.argv[1])))
time.sleep(600)
"""


@pytest.mark.parametrize(("name", "shown"), [(EVIL, "PWNED"), ("pid=1,", "pid=1,")], ids=["escapes", "another's number"])
def test_what_a_users_program_calls_itself_commands_no_terminal(site: Site, name: str, shown: str) -> None:
    """It is named because it has a port that the settings want: by what a deploy, a rehearsal of it and a preflight refuse."""
    port = 6432
    running = site.watch(PROXY, f"exec runuser -u nobody -- timeout 600 python3 - {port}", LISTENS.format(name))
    try:
        wait_until(lambda: site.on(PROXY, f"ss -Hltn 'sport = :{port}'"), "it listens")
        with site.edited("group_data/haproxy.py", "pooling = True"):
            for command in ("invoke preflight", f"pyinfra {INVENTORY} deploy.py --dry", f"pyinfra {INVENTORY} deploy.py -y"):
                said = on_a_terminal(site, command, 1)
                assert shown in said, said
                assert not [code for code in CODES if code in said], said
    finally:
        site.on(PROXY, f"kill $(pgrep -f '[p]ython3 - {port}')")
        running.communicate()
    assert site.changes() == 0


def test_what_guests_write_stands_in_a_report_as_it_is_and_what_strangers_do_is_no_sign_of_anything(
    site: Site, tmp_path: Path
) -> None:
    """Lines of PostgreSQL's are among those that tell how a failure went: as text, as a page and at a terminal."""

    def knock() -> None:
        with suppress(psycopg.OperationalError):
            site.connect(5000, user=f"{EVIL}FORGED PANIC:  promoted self to leader", password="x").close()
        time.sleep(0.5)

    words = itertools.product("abcdefgh", repeat=3)  # of lines that are the same but for numbers, one in a while is told

    def fail() -> None:
        said = f"{EVIL}<script>alert(1)</script> {''.join(next(words))}: No space left on device"
        with site.connect(5000) as app, suppress(psycopg.errors.RaiseException):
            app.execute(f"do $$ begin raise exception e'{said}'; end $$")
        time.sleep(0.5)

    command = f"invoke failover-test --yes --fault patroni-kill --writers 2 --rate 20 --report {tmp_path}"
    with Traffic(knock, fail):
        said = on_a_terminal(site, command, 0, 1)  # 1: on a busy machine it may take longer than is promised
    texts = {file.name: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()}
    assert set(texts) == {"report.json", "report.txt", "report.html"}
    for form, text in (texts | {"the terminal": said}).items():
        assert not [code for code in CODES if code in text], form
        assert "FORGED" not in text, form
    for form in ("report.json", "report.html"):
        assert "PWNED" in texts[form], form
    assert "<script>alert" not in texts["report.html"]


def test_no_password_is_in_a_process_list_while_commands_have_it(site: Site) -> None:
    """Neither here nor on a host, as every user could read it: of all commands that log in to PostgreSQL or print a password."""
    canary = "canary-of-a-process-list"
    sought = [text.encode() for text in (*site.vault.all_secrets(), canary)]
    seen: set[bytes] = set()
    ended = threading.Event()

    def look() -> None:
        """The hosts' processes are this machine's, too."""
        while not ended.wait(0.02):
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    said = file.read_bytes()
                    seen.update(one for one in sought if one in said)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for words in (("psql", "-c", "select pg_sleep(1)"), ("verify",), ("verify", "--from", DATABASES[0])):
            code, out, err = invoke(site, *words)
            assert code == 0, out + err
        for words in (
            ("dsn", "--with-password"),
            ("dsn", "--format", "pgpass", "--with-password"),
            ("secrets", "--name", "probe"),
        ):
            assert start(site, *words).communicate(timeout=PATIENCE)[0]
        assert seen == set()
        with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(5)", canary]):
            wait_until(lambda: seen, "what is there to be found is found")
    finally:
        ended.set()
        looking.join()
    assert seen == {canary.encode()}


def test_root_makes_no_directory_where_a_service_user_has_put_a_link(site: Site) -> None:
    host = DATABASES[0]
    try:
        site.on(host, "mkdir -p /srv/target/deep /srv/data; chown postgres: /srv/data; "
                      "runuser -u postgres -- ln -s /srv/target /srv/data/link")  # fmt: skip
        (command,) = write(data_directory("/srv/data/link/deep/new", "postgres"))
        assert site.lab.run(host, "bash", "-c", str(command)).returncode != 0
        assert site.on(host, "find /srv/target -user postgres") == ""
        (command,) = write(data_directory("/srv/data/own/deep", "postgres"))
        site.on(host, str(command))
        assert site.on(host, "stat -c '%U %a' /srv/data/own/deep") == "postgres 700"
        (command,) = write(data_directory("/srv/blank/own/deep", "postgres"))  # nobody but root could have made any of it
        site.on(host, str(command))
        assert site.on(host, "stat -c '%U %a' /srv/blank/own /srv/blank/own/deep").split("\n") == ["root 755", "postgres 700"]
    finally:
        site.on(host, "rm -rf /srv/target /srv/data /srv/blank")
