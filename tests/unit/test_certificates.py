"""The certificates, read by the openssl program."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from clusters import DATABASES, PROXIES, cluster

from cluster import certificates
from cluster.certificates import Wanted, days_left, make_authority, make_certificate, why_renew
from cluster.vault import Vault

USES = [(host, use) for host in DATABASES for use in ("etcd", "etcd-client", "postgres")] + [
    (host, use) for host in PROXIES for use in ("haproxy", "haproxy-client")
]
BOTH_ENDS = [(host, use) for host, use in USES if use in ("etcd", "postgres")]
CLIENTS = [(host, use) for host, use in USES if use.endswith("-client")]
SERVERS = [(host, use) for host, use in USES if use == "haproxy"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("vault")
    vault = Vault(cluster({"db2": {"ssh_hostname": "db2.example"}}, secrets_directory=str(directory)), {})
    vault.save()
    return vault.directory


@pytest.fixture
def openssl(folder: Path) -> Callable[..., str]:
    def run(*arguments: str, fails: bool = False) -> str:
        done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def authority(use: str) -> str:
    return {"etcd": "etcd-ca.crt", "etcd-client": "etcd-ca.crt", "haproxy": "haproxy-ca.crt"}.get(use, "postgres-ca.crt")


@pytest.mark.parametrize(("host", "use"), CLIENTS)
def test_one_that_clients_show_serves_nobody(openssl: Callable[..., str], host: str, use: str) -> None:
    chain = ["verify", "-x509_strict", "-CAfile", authority(use)]
    openssl(*chain, "-purpose", "sslclient", f"{host}-{use}.crt")
    openssl(*chain, "-purpose", "sslserver", f"{host}-{use}.crt", fails=True)


def test_haproxy_has_nothing_by_which_it_could_pass_for_postgresql(openssl: Callable[..., str]) -> None:
    """Clients trust postgres-ca.crt and ask for HAProxy's name: no certificate on a HAProxy host may satisfy them."""
    for proxy in PROXIES:
        openssl("verify", "-CAfile", "postgres-ca.crt", f"{proxy}-haproxy.crt", fails=True)
        openssl("verify", "-CAfile", "postgres-ca.crt", "-purpose", "sslserver", f"{proxy}-haproxy-client.crt", fails=True)


@pytest.mark.parametrize(("host", "use"), BOTH_ENDS + SERVERS)
def test_it_is_trusted_for_its_ends_by_name_and_address(openssl: Callable[..., str], host: str, use: str) -> None:
    chain = ["verify", "-x509_strict", "-CAfile", authority(use)]
    openssl(*chain, "-purpose", "sslserver", f"{host}-{use}.crt")
    openssl(*chain, "-purpose", "sslclient", f"{host}-{use}.crt", fails=(host, use) in SERVERS)
    for name in (host, "localhost"):
        openssl(*chain, "-verify_hostname", name, f"{host}-{use}.crt")
    for address in ((DATABASES | PROXIES)[host], "127.0.0.1"):
        openssl(*chain, "-verify_ip", address, f"{host}-{use}.crt")
    openssl(*chain, "-verify_hostname", "elsewhere", f"{host}-{use}.crt", fails=True)


@pytest.mark.parametrize(("host", "use"), USES)
def test_one_authority_does_not_vouch_for_the_other(openssl: Callable[..., str], host: str, use: str) -> None:
    other = "postgres-ca.crt" if authority(use) == "etcd-ca.crt" else "etcd-ca.crt"
    openssl("verify", "-CAfile", other, f"{host}-{use}.crt", fails=True)


@pytest.mark.parametrize("host", DATABASES)
def test_the_server_of_postgresql_is_also_called_as_haproxy_is(openssl: Callable[..., str], host: str) -> None:
    for proxy, address in PROXIES.items():
        openssl("verify", "-CAfile", "postgres-ca.crt", "-verify_hostname", proxy, f"{host}-postgres.crt")
        openssl("verify", "-CAfile", "postgres-ca.crt", "-verify_ip", address, f"{host}-postgres.crt")
        openssl("verify", "-CAfile", "etcd-ca.crt", "-verify_hostname", proxy, f"{host}-etcd.crt", fails=True)


def test_the_name_that_the_operator_uses_is_in_it_too(openssl: Callable[..., str]) -> None:
    openssl("verify", "-CAfile", "postgres-ca.crt", "-verify_hostname", "db2.example", "db2-postgres.crt")


@pytest.mark.parametrize(("host", "use"), USES)
def test_what_it_may_be_used_for(openssl: Callable[..., str], host: str, use: str) -> None:
    said = openssl("x509", "-noout", "-ext", "extendedKeyUsage,basicConstraints,keyUsage", "-in", f"{host}-{use}.crt")
    assert ("TLS Web Server Authentication" in said) == (not use.endswith("-client"))
    assert ("TLS Web Client Authentication" in said) == (use != "haproxy")
    assert "CA:FALSE" in said
    assert "Certificate Sign" not in said


@pytest.mark.parametrize(("host", "use"), USES)
def test_key_and_certificate_belong_together(openssl: Callable[..., str], host: str, use: str) -> None:
    of_key = openssl("pkey", "-pubout", "-in", f"{host}-{use}.key")
    assert openssl("x509", "-noout", "-pubkey", "-in", f"{host}-{use}.crt") == of_key


@pytest.mark.parametrize("use", ["etcd", "postgres", "haproxy"])
def test_an_authority_can_sign_hosts_and_nothing_below_them(openssl: Callable[..., str], use: str) -> None:
    said = openssl("x509", "-noout", "-ext", "basicConstraints,keyUsage", "-in", f"{use}-ca.crt")
    assert "CA:TRUE, pathlen:0" in said
    assert "Certificate Sign, CRL Sign" in said


def test_no_two_keys_or_serial_numbers_are_the_same(openssl: Callable[..., str], folder: Path) -> None:
    files = sorted(path.name for path in folder.glob("*.crt"))
    assert len(files) == len(USES) + 3
    assert len({openssl("x509", "-noout", "-serial", "-in", name) for name in files}) == len(files)
    assert len({openssl("x509", "-noout", "-pubkey", "-in", name) for name in files}) == len(files)


def test_it_is_valid_already_for_a_host_whose_clock_is_behind(openssl: Callable[..., str]) -> None:
    half_an_hour = str(int(time.time()) - 1800)
    openssl("verify", "-attime", half_an_hour, "-CAfile", "etcd-ca.crt", "db1-etcd.crt")


@pytest.mark.parametrize("days", [90, 730])
def test_it_lasts_as_long_as_asked(openssl: Callable[..., str], tmp_path: Path, days: int) -> None:
    pair = make_certificate(Wanted("db1", ("db1",), days), make_authority("shop etcd"))
    file = tmp_path / "new.crt"
    file.write_bytes(pair.certificate)
    day = 86_400
    openssl("x509", "-noout", "-checkend", str(days * day - 600), "-in", str(file))
    openssl("x509", "-noout", "-checkend", str(days * day + 600), "-in", str(file), fails=True)
    assert days_left(pair.certificate) == days - 1  # and some hours


def test_when_it_is_renewed_and_why() -> None:
    mine, other = make_authority("one"), make_authority("one")
    wanted = Wanted("db1", ("db1", "10.0.0.1"), certificates.RENEW_DAYS + 30)
    pair = make_certificate(wanted, mine)
    assert why_renew(pair, wanted, mine) is None
    assert why_renew(pair, Wanted("db1", ("10.0.0.1", "db1"), 730), mine) is None
    assert why_renew(pair, Wanted("db1", ("db1", "10.0.0.2"), 730), mine) == "its names have changed"
    assert why_renew(pair, Wanted("db1", ("db1",), 730), mine) == "its names have changed"
    client_only = Wanted("db1", ("db1", "10.0.0.1"), 730, frozenset(("client",)))
    assert why_renew(pair, client_only, mine) == "what it is good for has changed"
    assert why_renew(pair, wanted, other) == "it was signed by another authority"
    now = certificates.dt.datetime.now(certificates.dt.UTC)
    near = now + certificates.dt.timedelta(days=31)
    assert why_renew(pair, wanted, mine, near) == f"it ends in {certificates.RENEW_DAYS - 2} days"
    assert why_renew(pair, wanted, mine, now + certificates.dt.timedelta(days=29)) is None
