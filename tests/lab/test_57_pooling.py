"""Pooled connections: PgBouncer before HAProxy joins a cluster that lives, lets in whom PostgreSQL would, follows a failover with
nothing lost, and goes again. Seen by libpq, PgBouncer's own console, OpenSSL and PostgreSQL."""

from __future__ import annotations

import csv
import json
import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest
from clients import reads_and_writes
from commands import invoke, status
from helpers import ENVIRONMENT, Site, refused
from hosts import ADDRESS, DATABASES, IN_URL, PROXY, wait_until
from proving import as_promised, run
from strangers import PATIENT, SECONDS, SSL_REQUEST, starving

from cluster.certificates import Pair, Wanted, make_authority, make_certificate
from cluster.pooled_roles import NEVER

pytestmark = pytest.mark.usefixtures("healed")
SETTINGS = "group_data/haproxy.py"
ON = "pooling = True"
WRITES, READS = 6432, 6433
PROCESSES = {"write-1": WRITES, "read-1": READS}
UNITS = ("pgquorum-pool@write-1", "pgquorum-pool@read-1", "pgbouncer")
PASSWORD = "made-by-hand-0123456789"
FLOODS = (pytest.param("", 1, id="silent-1"), pytest.param(SSL_REQUEST, 10, id="stalling-10", marks=pytest.mark.long))
POOL_SIZE = 38  # of max_connections = 200, with one database and two processes
MOST_POOL_SIZE = 86  # of the same
MORE_CONNECTIONS, BIGGER_POOL_SIZE = 300, 63
# Where a server is that is not the cluster's, on the proxy itself; its key and certificate.
ELSEWHERE, PEM = 5999, "/run/other-server.pem"
# It agrees to TLS, and prints what it is then told: PostgreSQL's first packet has the client's role. $1: its address.
OTHER_SERVER = f"""
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("{PEM}")
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.create_server((sys.argv[1], {ELSEWHERE}), family=family) as server:
    while True:
        plain, _ = server.accept()
        plain.settimeout(10)
        try:
            plain.recv(8)
            plain.sendall(b"S")
            with context.wrap_socket(plain, server_side=True) as told:
                print("told", told.recv(4096), flush=True)
        except OSError as error:
            print("broken", error, flush=True)
"""


@pytest.fixture(scope="module")
def pooled(site: Site) -> Iterator[Site]:
    """The cluster with pools, which have joined while it lived."""
    before = site.postmasters()
    try:
        with site.edited(SETTINGS, ON):
            site.deployed()
            assert site.postmasters() == before
            yield site
    finally:
        if runs(site, PROCESSES):
            site.heal()
            site.deployed()


def runs(site: Site, processes: dict[str, int]) -> list[str]:
    """Those of PgBouncer's processes that run, as systemd says."""
    units = " ".join(f"pgquorum-pool@{name}" for name in processes)
    states = site.on(PROXY, f"systemctl is-active {units} || true").split()
    return [name for name, state in zip(processes, states, strict=True) if state == "active"]


def console(site: Site, process: str, command: str, user: str = "pgbouncer") -> list[dict[str, str]]:
    """The rows that PgBouncer's own console shows to a system user."""
    psql = f"psql -Xqw --csv -h /run/pgquorum-pool/{process} -p {PROCESSES[process]} -U pgbouncer pgbouncer"
    said = site.on(PROXY, f"runuser -u {user} -- {psql} -c {shlex.quote(command)}")
    return list(csv.DictReader(said.splitlines()))


def rules(site: Site) -> set[str]:
    return {found["rule"] for found in status(site)["findings"]}


def by_hand(site: Site, role: str) -> None:
    """A role that its owner makes in psql, with a password."""
    site.psql(site.leader(), f"drop role if exists {role}; create role {role} login password '{PASSWORD}'")


def test_a_second_deploy_changes_nothing_and_the_cluster_is_healthy(pooled: Site) -> None:
    assert pooled.changes() == 0
    assert rules(pooled) & {"services.not-active", "pooling.silent", "pooling.other-password", "files.edited"} == set()
    code, out, err = invoke(pooled, "verify", "--json")
    assert code == 0, out + err
    told = {found["text"] for found in json.loads(out)["findings"] if found["rule"] == "client"}
    assert {
        f"{what} through port {port} succeeds, TLS verified" for what, port in (("a write", WRITES), ("a read", READS))
    } <= told


@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_wrong_with_its_units(pooled: Site, name: str) -> None:
    unit = pooled.eyes(PROXY).service(name)
    if name == "pgbouncer":  # the package's own
        assert unit.is_masked and not unit.is_running
        return
    done = pooled.eyes(PROXY).run(f"systemd-analyze verify --man=no {name}.service")
    assert done.rc == 0 and "pgquorum-pool" not in done.stderr, done.stderr
    assert unit.is_running and unit.is_enabled


@pytest.mark.parametrize("process", PROCESSES)
def test_it_runs_with_what_it_was_given(pooled: Site, process: str) -> None:
    config = {row["key"]: row["value"] for row in console(pooled, process, "show config")}
    wanted = {
        "listen_port": str(PROCESSES[process]), "pool_mode": "transaction", "max_prepared_statements": "200",
        "client_tls_sslmode": "require", "server_tls_sslmode": "verify-full", "auth_type": "hba", "max_client_conn": "2000",
        "server_login_retry": "1", "admin_users": "", "stats_users": "",
    }  # fmt: skip
    assert {key: config[key] for key in wanted} == wanted
    behind = "5000" if process == "write-1" else "5001"
    databases = {row["name"]: (row["port"], row["max_connections"]) for row in console(pooled, process, "show databases")}
    assert databases["app"] == (behind, str(POOL_SIZE))
    assert databases["pgquorum_verifiers"] == (behind, "2")


@pytest.mark.parametrize("process", PROCESSES)
def test_one_that_came_up_again_is_the_next_time_no_slower(pooled: Site, process: str) -> None:
    assert pooled.killed_and_back(PROXY, f"pgquorum-pool@{process}.service") == 0


def test_its_console_is_its_own_users_alone(pooled: Site) -> None:
    assert console(pooled, "write-1", "show version")
    psql = f"psql -Xqw -h /run/pgquorum-pool/write-1 -p {WRITES} -U pgbouncer pgbouncer -c 'show version'"
    for user in ("root", "haproxy"):
        said = pooled.on(PROXY, f"runuser -u {user} -- {psql} 2>&1 && echo LET IN || true")
        assert "LET IN" not in said and said
    with pytest.raises(psycopg.OperationalError):  # nor whoever has a role of that name
        pooled.connect(WRITES, dbname="pgbouncer")


@pytest.mark.parametrize(("port", "recovering"), [(WRITES, False), (READS, True)])
def test_a_client_comes_through_both_ports_with_tls_verified(pooled: Site, port: int, recovering: bool) -> None:
    asked = "select pg_is_in_recovery(), ssl, host(client_addr) from pg_stat_ssl join pg_stat_activity using (pid) where pid ="
    with pooled.connect(port) as connection:
        assert connection.execute(f"{asked} pg_backend_pid()").fetchone() == (recovering, True, ADDRESS[PROXY])
    with pooled.connect(port, host=ADDRESS[PROXY], hostaddr=None) as connection:  # by address, too
        connection.execute("select 1")
    with pytest.raises(psycopg.OperationalError, match=r'server certificate for .* does not match host name "elsewhere"'):
        pooled.connect(port, host="elsewhere")
    with pytest.raises(psycopg.OperationalError, match=r"SSL required|TLS required"):
        pooled.connect(port, sslmode="disable")
    with pytest.raises(psycopg.OperationalError, match="channel binding"):
        pooled.connect(port, channel_binding="require")


@pytest.mark.parametrize("port", PROCESSES.values())
def test_openssl_trusts_it_by_name_and_by_address(pooled: Site, port: int) -> None:
    for check in (["-verify_hostname", PROXY], ["-verify_ip", ADDRESS[PROXY]]):
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"{IN_URL[PROXY]}:{port}", "-starttls", "postgres", "-verify_return_error",
             "-CAfile", pooled.secrets / "postgres-ca.crt", *check],
            input="", capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        assert "Verify return code: 0 (ok)" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("port", [5000, 5001])
def test_past_the_pools_channel_binding_is_had_as_before(pooled: Site, port: int) -> None:
    """So nobody in between has TLS of its own there."""
    with pooled.connect(port, channel_binding="require") as connection:
        assert connection.execute("select pg_is_in_recovery()").fetchone() == (port == 5001,)


@contextmanager
def led_elsewhere(site: Site, authority: Pair, name: str) -> Iterator[None]:
    """The pool of writes, whose connections go to a server that shows a certificate of this authority for this name."""
    shown = make_certificate(Wanted(name, (name,), 1), authority)
    site.on(PROXY, f"umask 077; cat >{PEM}", stdin=(shown.key + shown.certificate).decode())
    unit, file = "pgquorum-pool@write-1", "/etc/pgquorum/pgbouncer/write.ini"
    site.on(PROXY, f"cat >/run/other-server.py; cp -p {file} /run/write.ini", stdin=OTHER_SERVER)
    site.on(PROXY, f"systemd-run --quiet --unit=other-server python3 /run/other-server.py {ADDRESS[PROXY]}")
    try:
        wait_until(lambda: site.on(PROXY, f"ss -Hltn 'sport = :{ELSEWHERE}'"), "it listens")
        site.on(PROXY, f"sed -i '/^app = /s/ port=5000 / port={ELSEWHERE} /' {file}; systemctl reload {unit}")
        yield
    finally:
        left = f"systemctl stop other-server; systemctl reset-failed other-server 2>/dev/null; rm /run/other-server.py {PEM}"
        site.on(PROXY, f"mv /run/write.ini {file}; systemctl reload {unit}; {left}")


@pytest.mark.parametrize(
    ("ours", "name", "said"),
    [
        pytest.param(False, ADDRESS[PROXY], "certificate verif", id="of-another-authority"),
        pytest.param(True, "elsewhere.example.com", "not present in server certificate", id="for-another-name"),
        pytest.param(True, ADDRESS[PROXY], "", id="as-it-should-be"),  # so the other two could have been told something
    ],
)
def test_a_pool_tells_nothing_to_a_server_whose_certificate_is_not_right(pooled: Site, ours: bool, name: str, said: str) -> None:
    since = pooled.on(PROXY, "date +%s")
    with led_elsewhere(pooled, pooled.vault.authorities["postgres"] if ours else make_authority("somebody else"), name):
        with pytest.raises(psycopg.Error), pooled.connect(WRITES) as connection:
            connection.execute("select 1")
        heard = "journalctl -q --no-pager -o cat -u other-server --since @" + since
        lines = wait_until(lambda: pooled.on(PROXY, f"{heard} | grep -E '^(told|broken) '"), "somebody has come").splitlines()
    print("\n".join(lines))
    assert any("app" in line for line in lines) == (not said), lines
    if said:
        assert said in pooled.on(PROXY, f"journalctl -q --no-pager -u pgquorum-pool@write-1 --since @{since}")
    wait_until(lambda: pooled.connect(WRITES).close() is None, "clients come in as before")
    assert rules(pooled) & {"services.not-active", "pooling.silent", "files.edited"} == set()


@pytest.mark.parametrize("words", [(), ("--read-only",)])
def test_the_connection_string_is_good_as_it_is(pooled: Site, words: tuple[str, ...]) -> None:
    code, out, err = invoke(pooled, "dsn", "--pooled", *words)
    assert code == 0 and "without channel_binding" in err
    with psycopg.connect(out.strip(), password=ENVIRONMENT["PGQUORUM_PASSWORD_ROLE_APP"], connect_timeout=5) as connection:
        assert connection.execute("select pg_is_in_recovery()").fetchone() == (bool(words),)


def test_a_preflight_asks_for_its_ports_too(pooled: Site) -> None:
    pooled.on(PROXY, "systemctl stop pgquorum-pool@read-1")
    try:
        _, out, _ = invoke(pooled, "preflight", "--json")
    finally:
        pooled.on(PROXY, "systemctl start pgquorum-pool@read-1")
    found = [(one["about"], one["text"]) for one in json.loads(out)["findings"] if one["rule"] == "client.refused"]
    assert found == [(PROXY, f"port {READS} refuses connections from here")]


def test_pools_that_postgresql_has_no_room_for_are_refused_and_nothing_is_touched(pooled: Site) -> None:
    before = pooled.snapshot()
    with pooled.edited(SETTINGS, f"pooling_pool_size = {MOST_POOL_SIZE + 1}"):
        run = pooled.deploy("-y")
    refused(run, f"pooling_pool_size = {MOST_POOL_SIZE + 1}: ", f"should be at most {MOST_POOL_SIZE}")
    assert pooled.snapshot() == before


def size(site: Site) -> set[str]:
    """Of the pools of the application's database, by PgBouncer's own word."""
    rows = [row for process in PROCESSES for row in console(site, process, "show databases")]
    return {row["pool_size"] for row in rows if row["name"] == "app"}


@pytest.mark.long
def test_pools_grow_with_max_connections_as_soon_as_postgresql_has_it_and_no_sooner(pooled: Site) -> None:
    try:
        with pooled.edited("group_data/postgres.py", f"postgres_parameters |= {{'max_connections': {MORE_CONNECTIONS}}}"):
            said = pooled.deployed().output
            assert "until `invoke rolling-restart`" in said and size(pooled) == {str(POOL_SIZE)}, said
            code, out, err = invoke(pooled, "rolling-restart", "--yes", seconds=500)
            assert code == 0, out + err
            assert pooled.psql(pooled.leader(), "show max_connections") == str(MORE_CONNECTIONS)
            pooled.deployed()
            assert size(pooled) == {str(BIGGER_POOL_SIZE)}
    finally:
        pooled.deployed()
        code, out, err = invoke(pooled, "rolling-restart", "--yes", seconds=500)
        assert code == 0, out + err
    assert size(pooled) == {str(POOL_SIZE)} and pooled.changes() == 0


def test_prepared_statements_hold_whichever_connection_a_transaction_gets(pooled: Site) -> None:
    with ExitStack() as stack:
        one, other = (stack.enter_context(pooled.connect(WRITES)) for _ in range(2))
        found = set()
        for number in range(40):
            if number == 20:  # the connection that was at hand is taken by somebody else
                other.execute("begin")
                other.execute("select 1")
            row = one.execute("select pg_backend_pid(), %s::int", (number,), prepare=True).fetchone()
            assert row and row[1] == number
            found.add(row[0])
        assert len(found) > 1


def test_a_hundred_clients_share_what_one_pool_has(pooled: Site) -> None:
    """More of them than PostgreSQL would take from this role."""
    with ExitStack() as stack:
        clients = [stack.enter_context(pooled.connect(WRITES)) for _ in range(250)]
        for client in clients:
            client.execute("select 1")
        asked = "select count(*) from pg_stat_activity where usename = 'app' and backend_type = 'client backend'"
        assert 1 <= int(pooled.psql(pooled.leader(), asked)) <= POOL_SIZE
        (row,) = (row for row in console(pooled, "write-1", "show pools") if row["database"] == "app")
        assert int(row["cl_active"]) >= 250
        state = {one["name"]: one for one in status(pooled)["hosts"][PROXY]["pooler"]["processes"]}
        assert state["write-1"]["clients"] >= 250


@pytest.mark.parametrize("port", PROCESSES.values())
def test_a_role_made_by_hand_comes_in_with_the_password_that_it_has_now(pooled: Site, port: int) -> None:
    by_hand(pooled, "by_hand")
    try:
        wait_until(lambda: pooled.connect(port, user="by_hand", password=PASSWORD).close() is None, "it comes in")
        with pytest.raises(psycopg.OperationalError, match="SASL authentication failed"):
            pooled.connect(port, user="by_hand", password="wrong")
        pooled.psql(pooled.leader(), "alter role by_hand password 'another-0123456789'")
        wait_until(
            lambda: pooled.connect(port, user="by_hand", password="another-0123456789").close() is None, "and with another"
        )
        with pytest.raises(psycopg.OperationalError, match="SASL authentication failed"):
            pooled.connect(port, user="by_hand", password=PASSWORD)
    finally:
        pooled.psql(pooled.leader(), "drop role by_hand")


@pytest.mark.parametrize(
    "barred",
    ["alter role {} valid until '2020-01-01'", "alter role {} superuser", "alter role {} replication", "grant postgres to {}",
     "alter role {} nologin"],
    ids=lambda words: words,
)  # fmt: skip
def test_whom_the_pools_are_not_for_is_refused_though_it_came_in_before(pooled: Site, barred: str) -> None:
    """With the password that was right a moment ago: PgBouncer must not remember it."""
    by_hand(pooled, "by_hand")
    try:
        wait_until(lambda: pooled.connect(WRITES, user="by_hand", password=PASSWORD).close() is None, "it comes in")
        pooled.psql(pooled.leader(), barred.format("by_hand"))
        with pytest.raises(psycopg.OperationalError, match=r"SASL authentication failed|login rejected"):
            pooled.connect(WRITES, user="by_hand", password=PASSWORD)
    finally:
        pooled.psql(pooled.leader(), "drop role by_hand")


@pytest.mark.parametrize("port", PROCESSES.values())
def test_a_wrong_password_and_an_unknown_role_are_refused(pooled: Site, port: int) -> None:
    with pytest.raises(psycopg.OperationalError, match="SASL authentication failed"):
        pooled.connect(port, password="wrong")
    with pytest.raises(psycopg.OperationalError, match="no such user"):
        pooled.connect(port, user="nobody_of_that_name")


@pytest.mark.parametrize("role", NEVER)
def test_the_systems_own_roles_and_superusers_are_refused(pooled: Site, role: str) -> None:
    password = ENVIRONMENT["PGQUORUM_PASSWORD_REPLICATION" if role == "replicator" else "PGQUORUM_PASSWORD_REWIND"]
    for database in ("app", "pgquorum_verifiers"):
        with pytest.raises(psycopg.OperationalError):
            pooled.connect(WRITES, user=role, password=password, dbname=database)
    with pytest.raises(psycopg.OperationalError):  # PgBouncer's role has its certificate, from the proxy alone
        pooled.connect(5000, user=role, password=password, dbname="postgres")


def test_only_its_own_user_can_read_what_it_keeps_and_no_password_is_there(pooled: Site) -> None:
    kept = pooled.on(PROXY, "stat -c '%U:%G %a %n' /etc/pgquorum/pgbouncer/users.txt /etc/pgquorum/pgbouncer/tls/server.key")
    assert {line.rpartition(" ")[0] for line in kept.splitlines()} == {"root:pgbouncer 640"}
    secrets = "\n".join(pooled.vault.all_secrets())
    found = pooled.on(PROXY, "grep -rlF -f - /etc /run 2>/dev/null || true", stdin=secrets)
    assert found == "/etc/haproxy/statistics-users.cfg"
    verifier = pooled.psql(pooled.leader(), "select rolpassword from pg_authid where rolname = 'app'")
    assert verifier in pooled.on(PROXY, "cat /etc/pgquorum/pgbouncer/users.txt")
    for secret in (*secrets.splitlines(), verifier):
        assert secret not in pooled.on(PROXY, "journalctl --no-pager --boot -u 'pgquorum-pool@*'")


def test_the_function_answers_to_pgbouncers_role_alone(pooled: Site) -> None:
    with pooled.connect(5000) as connection, pytest.raises(psycopg.errors.Error):
        connection.execute("select * from pgquorum_pooler.verifier('app')")
    asked = "set role pgquorum_pooler; select role, verifier like 'SCRAM%' from pgquorum_pooler.verifier('{}')"
    assert pooled.psql(pooled.leader(), asked.format("app")) == "app|t"
    assert pooled.psql(pooled.leader(), asked.format("postgres")) == "postgres|"
    assert pooled.psql(pooled.leader(), asked.format("nobody_of_that_name")) == ""


def test_what_is_wrong_is_told_and_again_when_it_is_right(pooled: Site) -> None:
    try:
        pooled.on(PROXY, "systemctl stop pgquorum-pool@read-1")
        pooled.psql(pooled.leader(), "alter role app valid until '2020-01-01'")
        found = rules(pooled)
        assert {"services.not-active", "pooling.other-password"} <= found
        assert invoke(pooled, "verify")[0] == 1
    finally:
        pooled.on(PROXY, "systemctl start pgquorum-pool@read-1")
        pooled.psql(pooled.leader(), "alter role app valid until 'infinity'")
    wait_until(lambda: rules(pooled) & {"services.not-active", "pooling.other-password"} == set(), "nothing is told any more")
    code, out, _ = invoke(pooled, "logs", "--component", "pgbouncer", "--lines", "0", "--since", "1 hour ago")
    assert code == 0 and "login attempt" in out and "pgquorum-pool@read-1" in out


def test_a_new_certificate_is_taken_without_cutting_anybody(pooled: Site) -> None:
    def serial() -> str:
        command = f"openssl s_client -connect {IN_URL[PROXY]}:{WRITES} -starttls postgres </dev/null 2>/dev/null"
        return subprocess.run(
            ["sh", "-c", f"{command} | openssl x509 -noout -serial"], capture_output=True, text=True, timeout=20, check=True
        ).stdout

    before = serial()
    with pooled.connect(WRITES) as connection:
        connection.execute("select 1")
        for name in ("crt", "key"):
            (pooled.secrets / f"{PROXY}-pgbouncer.{name}").unlink()
        pooled.deployed()
        assert serial() != before
        connection.execute("select 1")


def test_a_failover_under_load_loses_nothing_through_the_pools(pooled: Site) -> None:
    old = pooled.leader()
    proof = run(pooled, "--pooled", "--fault", "postgres-kill")
    (trial,) = proof["trials"]
    as_promised(trial)
    assert proof["ports"] == [WRITES, READS]
    assert trial["writes"]["acknowledged"] > 100
    assert pooled.leader() != old
    with pooled.connect(WRITES) as connection:
        assert connection.execute("select host(inet_server_addr())").fetchone() == (ADDRESS[pooled.leader()],)


@pytest.mark.parametrize(("word", "count"), FLOODS)
def test_a_thousand_connections_that_say_nothing_keep_nobody_out_of_the_pools(pooled: Site, word: str, count: int) -> None:
    """Fifteen hundred, of which the packet filter lets an address have as many as a process is to have clients."""
    with reads_and_writes(pooled, PATIENT, (WRITES, READS)) as traffic:
        targets = [(PROXY, port) for port in (WRITES, READS)]
        with starving(pooled, pooled.replicas()[0], word, count, targets, connections=1500 if count == 1 else 1000):
            time.sleep(SECONDS)
        print(f"longest wait of a client: {traffic.longest:.2f} s")
    assert traffic.failures == []


def test_when_the_setting_goes_off_nothing_is_left_of_it(pooled: Site) -> None:
    settings = pooled.folder / SETTINGS
    settings.write_text(settings.read_text().replace(ON, "pooling = False"))
    pooled.deployed()
    assert pooled.changes() == 0
    assert runs(pooled, PROCESSES) == []
    assert pooled.on(PROXY, "ls -d /etc/pgquorum/pgbouncer /run/pgquorum-pool/* /etc/systemd/system/*pgquorum-pool* 2>&1 || true")
    left = pooled.on(PROXY, "find /etc/pgquorum /etc/systemd/system -name '*pgquorum-pool*' -o -path '*pgquorum/pgbouncer*'")
    assert left == ""
    for port in PROCESSES.values():
        with pytest.raises(psycopg.OperationalError, match="refused"):
            pooled.connect(port)
    with pooled.connect(5000) as connection:
        connection.execute("select 1")
    there = (
        "select count(*) from pg_roles where rolname = 'pgquorum_pooler'",
        "select count(*) from pg_namespace where nspname ~ 'pooler'",
    )
    assert [pooled.psql(pooled.leader(), query) for query in there] == ["0", "0"]
    assert "cert" not in pooled.on(DATABASES[0], f"cat /var/lib/postgresql/*/pgquorum/pg_hba.conf | grep {NEVER[-1]}")
    assert status(pooled)["healthy"]
