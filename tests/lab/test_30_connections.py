"""Who may connect to what: all is TLS, both ends show who they are, and the superuser comes by the socket only."""

from __future__ import annotations

import base64
import csv
import http.client
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from helpers import ENVIRONMENT, Site
from hosts import ADDRESS, DATABASES, IN_URL, PROXY, SPEC, wait_until

from cluster.certificates import make_authority

# Ports that ask for a client's certificate, with something that each answers to one who has it.
MUTUAL = {2379: "/health", 2380: "/members", 8008: "/patroni"}


def context(site: Site, port: int, *, certificate: bool, authority: Path | None = None) -> ssl.SSLContext:
    """A client that checks the server, with or without a certificate of its own."""
    use, client = ("etcd", "etcd-client") if port in (2379, 2380) else ("postgres", "postgres")
    made = ssl.create_default_context(cafile=str(authority or site.secrets / f"{use}-ca.crt"))
    if certificate:
        pair = site.secrets / f"{DATABASES[0]}-{client}"
        made.load_cert_chain(f"{pair}.crt", f"{pair}.key")
    return made


def get(host: str, port: int, path: str, through: ssl.SSLContext) -> int:
    """The status of GET, the server's certificate being checked for the host's address."""
    connection = http.client.HTTPSConnection(ADDRESS[host], port, timeout=10, context=through)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("host", DATABASES)
@pytest.mark.parametrize("port", MUTUAL)
def test_without_a_certificate_nobody_is_answered(site: Site, host: str, port: int) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError)):
        get(host, port, MUTUAL[port], context(site, port, certificate=False))


@pytest.mark.parametrize("host", DATABASES)
@pytest.mark.parametrize("port", [2379, 8008])
def test_with_one_of_the_right_authority_one_is(site: Site, host: str, port: int) -> None:
    assert get(host, port, MUTUAL[port], context(site, port, certificate=True)) == 200


def test_as_a_member_of_etcd_only_members_are_answered(site: Site) -> None:
    """The certificate must be that of the address it comes from."""
    one, other, _ = DATABASES
    tls = "--cacert /etc/etcd/tls/ca.crt --cert /etc/etcd/tls/server.crt --key /etc/etcd/tls/server.key"
    assert site.on(one, f"curl -s --http1.1 -o /dev/null -w '%{{http_code}}' {tls} https://{IN_URL[other]}:2380/members") == "200"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        get(one, 2380, MUTUAL[2380], context(site, 2380, certificate=True))


@pytest.mark.parametrize("port", MUTUAL)
def test_a_certificate_of_another_authority_opens_nothing(site: Site, port: int) -> None:
    """That of PostgreSQL's authority at etcd, and the other way round."""
    through = context(site, port, certificate=False)
    pair = site.secrets / f"{DATABASES[0]}-{'postgres' if port in (2379, 2380) else 'etcd'}"
    through.load_cert_chain(f"{pair}.crt", f"{pair}.key")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        get(DATABASES[0], port, MUTUAL[port], through)


@pytest.mark.parametrize(("host", "port"), [(host, port) for host in DATABASES for port in MUTUAL] + [(PROXY, 7000)])
def test_plain_text_is_refused(site: Site, host: str, port: int) -> None:
    with socket.create_connection((ADDRESS[host], port), 10) as plain:
        plain.settimeout(10)
        plain.sendall(f"GET {MUTUAL.get(port, '/')} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        try:
            answer = plain.recv(4096)
        except ConnectionError:
            answer = b""
    assert b" 200" not in answer


@pytest.mark.parametrize(("host", "port"), [*((host, 5432) for host in DATABASES), (PROXY, 5000), (PROXY, 5001)])
def test_postgresql_refuses_plain_text(site: Site, host: str, port: int) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"pg_hba.conf rejects connection .* no encryption"):
        site.connect(port, host=host, hostaddr=ADDRESS[host], sslmode="disable")


@pytest.mark.parametrize("port", [5000, 5001])
def test_a_client_can_verify_whom_it_reaches_through_haproxy(site: Site, port: int) -> None:
    with site.connect(port) as connection:
        assert connection.execute("select ssl, version from pg_stat_ssl where pid = pg_backend_pid()").fetchone() == (
            True,
            "TLSv1.3",
        )
    with site.connect(port, host=ADDRESS[PROXY], hostaddr=None) as connection:  # by address, too
        connection.execute("select 1")
    for address in SPEC.host(PROXY).addresses:  # of each kind that it has
        with site.connect(port, hostaddr=address) as connection:
            connection.execute("select 1")


@pytest.mark.parametrize("port", [5000, 5001])
def test_a_client_that_verifies_refuses_another_authority_and_another_name(site: Site, port: int, tmp_path: Path) -> None:
    other = tmp_path / "other.crt"
    other.write_bytes(make_authority("somebody else").certificate)
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        site.connect(port, sslrootcert=str(other))
    with pytest.raises(psycopg.OperationalError, match=r'server certificate for .* does not match host name "elsewhere"'):
        site.connect(port, host="elsewhere")


def test_a_wrong_password_is_refused(site: Site) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        site.connect(5000, password="wrong")


@pytest.mark.parametrize("role", ["postgres", "replicator", "rewinder"])
@pytest.mark.parametrize(("host", "port"), [(DATABASES[0], 5432), (DATABASES[1], 5432), (PROXY, 5000), (PROXY, 5001)])
def test_the_systems_own_roles_are_refused_over_the_network(site: Site, host: str, port: int, role: str) -> None:
    password = ENVIRONMENT["PGQUORUM_PASSWORD_REPLICATION" if role == "replicator" else "PGQUORUM_PASSWORD_REWIND"]
    for database in ("postgres", "app"):
        with pytest.raises(psycopg.OperationalError, match=r"pg_hba.conf rejects connection"):
            site.connect(port, host=host, hostaddr=ADDRESS[host], user=role, password=password, dbname=database)


def test_replication_is_refused_from_elsewhere_than_the_members(site: Site) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"pg_hba.conf rejects replication connection"):
        site.connect(
            5432, host=site.leader(), hostaddr=ADDRESS[site.leader()], user="replicator", replication="true", dbname=None,
            password=ENVIRONMENT["PGQUORUM_PASSWORD_REPLICATION"],
        )  # fmt: skip


def test_replication_is_encrypted(site: Site) -> None:
    encrypted = site.psql(site.leader(), "select count(*), bool_and(ssl) from pg_stat_replication join pg_stat_ssl using (pid)")
    assert encrypted == f"{len(DATABASES) - 1}|t"


def test_writes_go_to_the_primary_and_reads_to_the_replicas(site: Site) -> None:
    def server(port: int) -> tuple[str, bool]:
        with site.connect(port) as connection:
            return connection.execute("select host(inet_server_addr()), pg_is_in_recovery()").fetchone()  # type: ignore[return-value]

    assert {server(5000) for _ in range(5)} == {(ADDRESS[site.leader()], False)}
    assert {server(5001) for _ in range(20)} == {(ADDRESS[replica], True) for replica in site.replicas()}


def read_from(site: Site) -> set[str]:
    """The addresses that answer on the port for reads."""
    found = set()
    for _ in range(10):
        with site.connect(5001) as connection:
            found.add(connection.execute("select host(inet_server_addr())").fetchone()[0])  # type: ignore[index]
    return found


def test_a_replica_that_lags_behind_gets_no_reads(site: Site) -> None:
    late, other = site.replicas()
    receiver = "$(pgrep -f 'postgres.*[w]alreceiver')"
    try:
        site.on(late, f"kill -STOP {receiver}")
        with site.connect(5000) as connection:
            connection.execute("drop table if exists much")
            connection.execute("create table much as select repeat(n::text, 100) as t from generate_series(1, 60000) n")
        wait_until(lambda: read_from(site) == {ADDRESS[other]}, f"{late} is not read any more")
    finally:
        site.on(late, f"kill -CONT {receiver}")
    wait_until(lambda: read_from(site) == {ADDRESS[late], ADDRESS[other]}, f"{late} is read again")


def test_when_no_replica_answers_the_primary_is_read(site: Site) -> None:
    primary, replicas = site.leader(), site.replicas()
    try:
        site.on_all("systemctl kill -s STOP patroni", replicas)
        wait_until(lambda: read_from(site) == {ADDRESS[primary]}, "the primary is read")
    finally:
        site.on_all("systemctl kill -s CONT patroni", replicas)
    wait_until(lambda: read_from(site) == {ADDRESS[replica] for replica in replicas}, "the replicas are read again")
    assert site.leader() == primary


@pytest.fixture
def statistics(site: Site) -> Iterator[http.client.HTTPSConnection]:
    through = ssl.create_default_context(cafile=str(site.secrets / "haproxy-ca.crt"))
    connection = http.client.HTTPSConnection(ADDRESS[PROXY], 7000, timeout=10, context=through)
    yield connection
    connection.close()


def test_the_statistics_need_the_password(site: Site, statistics: http.client.HTTPSConnection) -> None:
    for given in ({}, {"Authorization": "Basic " + base64.b64encode(b"admin:wrong").decode()}):
        statistics.request("GET", "/;csv", headers=given)
        answer = statistics.getresponse()
        answer.read()
        assert answer.status == 401


def test_the_statistics_tell_who_is_up(site: Site, statistics: http.client.HTTPSConnection) -> None:
    password = ENVIRONMENT["PGQUORUM_PASSWORD_HAPROXY_STATS"]
    login = base64.b64encode(f"admin:{password}".encode()).decode()
    statistics.request("GET", "/;csv", headers={"Authorization": f"Basic {login}"})
    answer = statistics.getresponse()
    rows = list(csv.DictReader(answer.read().decode().removeprefix("# ").splitlines()))
    assert answer.status == 200

    def up(backend: str) -> set[str]:
        return {r["svname"] for r in rows if r["pxname"] == backend and r["svname"] in DATABASES and r["status"] == "UP"}

    assert up("write") == {site.leader()}
    assert up("read") == set(site.replicas())


SERVERS = [(host, port, "etcd") for host in DATABASES for port in (2379, 2380)]
SERVERS += [(host, port, "postgres") for host in DATABASES for port in (8008, 5432)]
SERVERS += [(PROXY, port, "postgres") for port in (5000, 5001)] + [(PROXY, 7000, "haproxy")]


@pytest.mark.parametrize(("host", "port", "use"), SERVERS)
def test_openssl_trusts_every_server(site: Site, host: str, port: int, use: str) -> None:
    """By name and by address, at the authority that should vouch for it."""
    protocol = ["-starttls", "postgres"] if port in (5432, 5000, 5001) else []
    pair = site.secrets / (f"{PROXY}-haproxy-client" if host == PROXY else f"{host}-{use}")
    for check in (["-verify_hostname", host], ["-verify_ip", ADDRESS[host]]):
        done = subprocess.run(
            ["openssl", "s_client", "-connect", f"{IN_URL[host]}:{port}", *protocol, "-CAfile", site.secrets / f"{use}-ca.crt",
             "-cert", f"{pair}.crt", "-key", f"{pair}.key", "-verify_return_error", *check],
            input="", capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        assert "Verification: OK" in done.stdout, done.stdout + done.stderr
        assert "Verify return code: 0 (ok)" in done.stdout
