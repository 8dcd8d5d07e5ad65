"""Files of a cluster at work that were edited by hand or that a deploy writes anew: no client notices."""

from __future__ import annotations

import http.client
import itertools
import ssl
import time

import pytest
from clients import Traffic, reads_and_writes
from helpers import Site, refused
from hosts import ADDRESS, DATABASES, IN_URL, PROXY, wait_until

pytestmark = pytest.mark.usefixtures("healed")


def test_files_edited_by_hand_are_brought_back_and_no_client_notices(site: Site) -> None:
    files = {PROXY: "/etc/haproxy/haproxy.cfg", DATABASES[0]: "/etc/patroni/conf.d/patroni.yml"}
    before = {host: site.on(host, f"stat -c '%a %U' {file}; cat {file}") for host, file in files.items()}
    restarts = site.processes()
    site.on(
        PROXY, f"sed -i 's/^    maxconn 1000/    maxconn 10/' {files[PROXY]}; chmod 666 {files[PROXY]}; systemctl reload haproxy"
    )
    site.on(DATABASES[0], f"echo '# edited' >> {files[DATABASES[0]]}; chown root {files[DATABASES[0]]}")
    with reads_and_writes(site) as traffic:
        site.deployed()
        time.sleep(3)  # an old process of HAProxy, or a server that is thought to be down, would show by now
    assert traffic.failures == []
    assert traffic.done > 20
    assert {host: site.on(host, f"stat -c '%a %U' {file}; cat {file}") for host, file in files.items()} == before
    assert site.changes() == 0
    assert site.processes() == restarts


def test_a_reload_of_haproxy_loses_no_connection(site: Site) -> None:
    with site.connect(5000) as writing, site.connect(5001) as reading:
        for connection in (writing, reading):
            connection.execute("set application_name = 'held'")
        worker = site.on(PROXY, "pgrep -P $(systemctl show -P MainPID haproxy)")
        with reads_and_writes(site) as traffic:
            for n in range(3):
                with site.edited("group_data/haproxy.py", f"haproxy_max_connections = {900 + n}"):
                    site.deployed()
        assert traffic.failures == []
        assert site.on(PROXY, "pgrep -P $(systemctl show -P MainPID haproxy)").split()[-1] not in worker.split()
        for connection in (writing, reading):
            assert connection.execute("show application_name").fetchone() == ("held",)
    site.deployed()


def test_a_configuration_that_haproxy_refuses_never_takes_its_place(site: Site) -> None:
    before = site.snapshot([PROXY])
    with site.edited("templates/haproxy/haproxy.cfg.j2", "    wibble on"), reads_and_writes(site) as traffic:
        run = site.deploy("-y")
    refused(run, "the deploy stopped at ", "wibble")
    assert site.snapshot([PROXY]) == before
    assert traffic.failures == []
    assert site.changes() == 0


def test_etcd_restarts_one_member_at_a_time_and_keeps_its_majority(site: Site) -> None:
    through = ssl.create_default_context(cafile=str(site.secrets / "etcd-ca.crt"))
    pair = site.secrets / f"{DATABASES[0]}-etcd-client"
    through.load_cert_chain(f"{pair}.crt", f"{pair}.key")

    def healthy(host: str) -> bool:
        connection = http.client.HTTPSConnection(ADDRESS[host], 2379, timeout=3, context=through)
        try:
            connection.request("GET", "/health?serializable=true")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    looks: list[set[str]] = []
    settings = site.folder / "group_data/etcd.py"
    settings.write_text(settings.read_text().replace("etcd_compaction_hours = 1", "etcd_compaction_hours = 2"))
    started = "systemctl show -P ExecMainStartTimestampMonotonic etcd"
    before, postgres, leader = site.on_all(started, DATABASES), site.postmasters(), site.leader()
    with (
        Traffic(lambda: looks.append({host for host in DATABASES if not healthy(host)})) as looking,
        reads_and_writes(site) as traffic,
    ):
        site.deployed()
    assert looking.failures == traffic.failures == []
    assert max(len(look) for look in looks) == 1  # it did see restarts, and never two at once
    after = site.on_all(started, DATABASES)
    assert all(before[host] != after[host] for host in DATABASES)
    times = [int(after[host]) for host in DATABASES]
    assert all(later > earlier for earlier, later in itertools.pairwise(times))  # by name
    assert (site.postmasters(), site.leader()) == (postgres, leader)
    assert site.changes() == 0


def test_a_renewed_certificate_is_used_without_a_restart_of_postgresql(site: Site) -> None:
    """A host's certificate is made anew when it is missing: as one that nears its end."""
    host = DATABASES[1]
    before = site.postmasters()
    serial = "openssl x509 -noout -serial -in "
    old = site.on(host, f"{serial} /etc/patroni/tls/server.crt")
    (site.secrets / f"{host}-postgres.crt").unlink()
    with reads_and_writes(site) as traffic:
        site.deployed()
    assert traffic.failures == []
    new = site.on(host, f"{serial} /etc/patroni/tls/server.crt")
    assert new != old
    shown = (
        f"openssl s_client -connect {IN_URL[host]}:5432 -starttls postgres </dev/null 2>/dev/null | openssl x509 -noout -serial"
    )
    wait_until(lambda: site.on(host, shown) == new, "PostgreSQL shows the new one")
    rest = f"openssl s_client -connect {IN_URL[host]}:8008 </dev/null 2>/dev/null | openssl x509 -noout -serial"
    wait_until(lambda: site.on(host, rest) == new, "Patroni shows the new one")
    assert site.postmasters() == before
    assert site.changes() == 0


def test_a_renewed_certificate_for_etcd_restarts_who_reads_it_at_its_start_alone(site: Site) -> None:
    host, beside = DATABASES[1], "pgquorum-confirm-quorum"
    show = f"for u in etcd patroni pgquorum-wake-patroni {beside}; do echo $u $(systemctl show -P MainPID $u); done"
    before, postmasters = site.on(host, show).splitlines(), site.postmasters()
    own = "openssl x509 -noout -serial -in /etc/patroni/tls/etcd-client.crt"
    old = site.on(host, own)
    (site.secrets / f"{host}-etcd-client.crt").unlink()
    with reads_and_writes(site) as traffic:
        run = site.deployed()
    assert traffic.failures == []
    assert site.on(host, own) != old
    assert f"systemctl restart {beside}" not in run.output  # in words, not in commands
    assert [line.split()[0] for line in site.on(host, show).splitlines() if line not in before] == [beside]
    assert site.postmasters() == postmasters
    # Patroni takes the new one for its next connection, and asks for one when etcd there begins anew.
    site.on(host, "systemctl restart etcd")
    wait_until(site.healthy, "etcd is back, and Patroni's connection to it")
    assert site.changes() == 0
