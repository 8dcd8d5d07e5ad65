"""A certificate authority is replaced by the page of the runbook, word for word, while clients write: nobody is refused on the
way, and in the end who still shows a certificate of the former one is. Seen by OpenSSL and libpq."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from clients import reads_and_writes
from commands import invoke
from helpers import Site, refused
from hosts import ADDRESS, DATABASES, HOSTS, IN_URL, KEEPER, PROXY, SPEC, wait_until
from keeping import ONLY_WITH_BACKUPS, archived, written
from proving import switch_over
from repository import ROOT

pytestmark = [ONLY_WITH_BACKUPS, pytest.mark.usefixtures("healed")]

PAGE = "## A new certificate authority\n"
SETTINGS = "group_data/haproxy.py"
POOLED = (6432, 6433)
UNITS = "etcd patroni haproxy pgbackrest pgquorum-confirm-quorum pgquorum-wake-patroni 'pgquorum-pool@*'"
# Where each authority's certificates are shown: the ports, and what is said there before TLS begins.
SHOWN = {
    "etcd": [(host, port, "") for host in DATABASES for port in (2379, 2380)],
    "postgres": [
        *((host, 5432, "postgres") for host in DATABASES), *((host, 8008, "") for host in DATABASES),
        *((PROXY, port, "postgres") for port in (5000, 5001, *POOLED)),
    ],
    "backup": [(host, 8432, "") for host in [*DATABASES, KEEPER or ""]],
}  # fmt: skip
# Whose certificates its clients show, and where.
CLIENTS = {
    "etcd": (f"{DATABASES[0]}-etcd-client", 2379),
    "postgres": (f"{PROXY}-haproxy-client", 8008),
    "backup": (f"{KEEPER}-pgbackrest", 8432),
}


def page(authority: str, cluster: str) -> tuple[str, list[str]]:
    """The runbook's commands before the steps, and those of each step, for one authority."""
    text = (ROOT / "docs/runbook.md").read_text().partition(PAGE)[2].partition("\n## ")[0]
    first = "\n".join(line.removeprefix("    ") for line in text.splitlines() if line.startswith("    "))
    steps = re.findall(r"^\d\. .*?: `(.+?)`", text, re.MULTILINE)
    assert first and len(steps) == 3, text
    return for_one(first, authority, cluster), [for_one(step, authority, cluster) for step in steps]


def for_one(commands: str, authority: str, cluster: str) -> str:
    return commands.replace("prod etcd", f"{cluster} {authority}").replace("etcd-ca", f"{authority}-ca")


def operator(site: Site, commands: str) -> None:
    """What the operator types in the directory of the secrets."""
    subprocess.run(["bash", "-ec", f"umask 077\n{commands}"], cwd=site.secrets, check=True, capture_output=True)


@pytest.fixture(scope="module")
def whole(joined: Site) -> Iterator[Site]:
    """The cluster with all that has certificates: with pools, and a host for backups."""
    here = [gateway.partition("/")[0] for gateway in SPEC.gateways]
    let_in = f"firewall_also['backup_port'] = {here!r}"  # beside what conftest.py lets in from here
    try:
        with joined.edited(SETTINGS, "pooling = True"), joined.edited("group_data/all.py", let_in):
            joined.deployed()
            yield joined
    finally:
        joined.heal()
        joined.deployed()


def began(site: Site) -> dict[str, str]:
    """Since when each service runs, and PostgreSQL."""
    show = f"systemctl show -P ExecMainStartTimestampMonotonic {UNITS} || true; pgrep -o -x postgres || true"
    return site.on_all(show, [*DATABASES, PROXY, KEEPER or ""])


def shows(site: Site, host: str, port: int, first: str, trusted: Path) -> bool:
    """Whether a port shows a certificate by an authority in a file, as OpenSSL says."""
    words = f"openssl s_client -connect {IN_URL[host]}:{port} -CAfile {trusted} -verify_return_error".split()
    words += ["-starttls", first] if first else []
    done = subprocess.run(words, input="", capture_output=True, text=True, timeout=20, check=False)
    return "Verify return code: 0 (ok)" in done.stdout


def admits(host: str, port: int, pair: Path, trusted: Path) -> bool:
    """Whether a server goes on talking to whoever shows a certificate."""
    context = ssl.create_default_context(cafile=str(trusted))
    context.load_cert_chain(f"{pair}.crt", f"{pair}.key")
    with socket.create_connection((ADDRESS[host], port), timeout=5) as raw:
        try:
            with context.wrap_socket(raw, server_hostname=host) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                connection.recv(1)  # with TLS 1.3 a refusal comes after the handshake
        except TimeoutError:
            return True
        except (ssl.SSLError, ConnectionError):
            return False
        return True


def on_hosts(site: Site) -> dict[str, str]:
    """What the hosts are like; the operator's secrets are what is edited."""
    return {name: found for name, found in site.snapshot().items() if name in HOSTS}


def verified(site: Site) -> None:
    code, out, err = invoke(site, "verify", "--json")
    assert code == 0, out + err
    assert not [one for one in json.loads(out)["findings"] if one["level"] == "problem"], out


def test_a_skipped_step_is_refused_with_its_reason_and_nothing_is_touched(site: Site) -> None:
    """Refused, too, is one that leaves a host out."""
    before, ca = on_hosts(site), site.secrets / "etcd-ca.crt"
    kept = {path: path.read_bytes() for path in (ca, ca.with_suffix(".key"))}
    first, steps = page("etcd", site.secrets.name)
    operator(site, first)
    try:
        lacks, begins = "lacks the certificate of the authority by which", "begins with the certificate of an authority that"
        for step, why in ((steps[2], lacks), (steps[1], begins)):
            operator(site, f"cp new.key etcd-ca.key; {step}")
            told = (f"etcd-ca.crt {why}", "docs/runbook.md, A new certificate authority")
            refused(site.deploy("-y"), "nothing was changed", *told)
            assert invoke(site, "preflight")[0] == 1
            for path, content in kept.items():
                path.write_bytes(content)
        operator(site, steps[0])
        refused(site.deploy("-y", "--limit", DATABASES[0]), "etcd-ca.crt: not as", "deploy to all")
        operator(site, "head -n 5 new.crt >cut && cat former.crt cut >etcd-ca.crt; rm cut")
        refused(site.deploy("-y"), "etcd-ca.key and .crt: ")
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
        operator(site, "rm -f new.key new.crt former.crt cut")
    assert on_hosts(site) == before
    assert site.changes() == 0


@pytest.mark.long
@pytest.mark.parametrize("authority", SHOWN)
def test_an_authority_is_replaced_and_nobody_is_refused_on_the_way(whole: Site, authority: str, tmp_path: Path) -> None:
    site, ca = whole, whole.secrets / f"{authority}-ca.crt"
    first, steps = page(authority, site.secrets.name)
    pair, port = CLIENTS[authority]
    for suffix in ("crt", "key"):
        shutil.copy2(site.secrets / f"{pair}.{suffix}", tmp_path)
    operator(site, first)
    dialled = [host for host in DATABASES if host != pair.removesuffix("-pgbackrest")]
    for number, step in enumerate(steps, 1):
        operator(site, step)
        before, postmasters = began(site), site.postmasters()
        with reads_and_writes(site) as traffic, reads_and_writes(site, ports=POOLED) as pooled:
            site.deployed()
        assert (traffic.failures, pooled.failures) == ([], []), number
        assert site.postmasters() == postmasters
        restarted = [host for host, since in began(site).items() if since != before[host]]
        assert restarted == (DATABASES if authority == "etcd" else []), number
        assert site.changes() == 0, number
        verified(site)
        signer = site.secrets / ("former.crt" if number == 1 else "new.crt")
        assert [one for one in SHOWN[authority] if not shows(site, *one, signer)] == [], number
        assert [host for host in dialled if admits(host, port, tmp_path / pair, ca)] == (dialled if number < 3 else []), number
        assert all(admits(host, port, site.secrets / pair, ca) for host in dialled), number
        switch_over(site)
        wait_until(site.healthy, "the cluster is whole")
        last = written(site)
        wait_until(lambda name=last: archived(site) >= name, "what is written is archived")
    if authority == "postgres":
        refused_by_postgresql(site, tmp_path / pair)
    operator(site, "rm new.key new.crt former.crt")


def refused_by_postgresql(site: Site, pair: Path) -> None:
    """PostgreSQL takes a password without a certificate from its clients, but no certificate of the former authority."""
    by = {"sslcert": f"{pair}.crt", "sslkey": f"{pair}.key"}
    with pytest.raises(psycopg.OperationalError, match="unknown ca"):
        site.connect(5000, **by)
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        site.connect(5000, sslrootcert=str(site.secrets / "former.crt"))
    site.connect(5000).close()
