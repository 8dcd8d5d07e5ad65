"""The packet filter: who gets through it, that nobody can be shut out by it, and that strangers can't starve the cluster."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_network
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from clients import reads_and_writes
from commands import invoke, status
from helpers import INVENTORY, Site, refused
from hosts import ADDRESS, DATABASES, HOSTS, PATIENCE, PROXY, SPEC, wait_until
from repository import ROOT
from strangers import PATIENT, SECONDS, SSL_REQUEST, addresses, elsewhere, starving

pytestmark = pytest.mark.usefixtures("healed")

# Prints the ports of the address $1, of those from $2 to $3, that take a connection, from the address $4 if there is one.
SCAN = """
import asyncio, sys
target, first, last, *own = sys.argv[1:]
async def look(port, turn):
    async with turn:
        try:
            opened = asyncio.open_connection(target, port, local_addr=(own[0], 0) if own else None)
            _, writer = await asyncio.wait_for(opened, 5)
        except OSError:
            return
        print(port)
        writer.close()
async def look_at_all():
    turn = asyncio.Semaphore(200)
    await asyncio.gather(*(look(port, turn) for port in range(int(first), int(last) + 1)))
asyncio.run(look_at_all())
"""
CANCEL_REQUEST = "0000001004d2162e0000006f0000006f"  # of a process and by a key that somebody guesses
ALL_PORTS, CLUSTER_PORTS = (1, 65535), (1, 10_000)
HERE = [str(ip_network(address.partition("/")[0])) for address in SPEC.gateways]  # where SSH is dialled from


def open_ports(site: Site, where: str, target: str, ports: tuple[int, int], *own: str) -> set[int]:
    """Those of a host that take a connection from another host, by its own address or another of its own."""
    arguments = shlex.join(["-", ADDRESS[target], *map(str, ports), *own])
    said, _ = site.watch(where, f"python3 {arguments}", SCAN).communicate(timeout=3 * PATIENCE)
    return {int(port) for port in said.split()}


def let_in(site: Site) -> set[int]:
    """Which of etcd's and Patroni's ports of the first host a client can dial."""
    with addresses(site, PROXY) as (client,):
        return {port for port in (2379, 2380, 8008) if open_ports(site, PROXY, DATABASES[0], (port, port), client)}


def test_from_everywhere_only_what_is_described_can_be_dialled(site: Site) -> None:
    with addresses(site, PROXY) as (client,):
        assert open_ports(site, PROXY, DATABASES[0], ALL_PORTS, client) == {22, 5432}
    assert open_ports(site, PROXY, DATABASES[0], CLUSTER_PORTS) == {22, 5432, 8008}
    assert open_ports(site, DATABASES[1], DATABASES[0], CLUSTER_PORTS) == {22, 2379, 2380, 5432, 8008}
    assert open_ports(site, DATABASES[1], PROXY, CLUSTER_PORTS) == {22, 5000, 5001, 7000}


@pytest.mark.parametrize("target", HOSTS)
def test_who_is_no_client_dials_nothing_but_ssh(site: Site, target: str) -> None:
    where = DATABASES[1] if target == PROXY else PROXY
    with elsewhere(site, where) as stranger:
        assert open_ports(site, where, target, CLUSTER_PORTS, stranger) == {22}


def test_other_tables_of_a_host_are_left_alone(site: Site) -> None:
    """By loading, reloading and removing ours."""
    foreign = "table inet owner { chain input { type filter hook input priority 0; policy accept; tcp dport 9 drop; }; }"
    site.on(DATABASES[0], f"nft -f - <<'END'\n{foreign}\nEND")
    before = site.on(DATABASES[0], "nft list table inet owner")
    try:
        site.on(DATABASES[0], "systemctl restart pgquorum-firewall.service")
        assert site.on(DATABASES[0], "nft list table inet owner") == before
        with site.deployed_with(f".lab/{SPEC.name}/group_data/all.py", "firewall = False"):
            assert site.on(DATABASES[0], "nft list table inet owner") == before
        assert site.on(DATABASES[0], "nft list table inet owner") == before
    finally:
        site.on(DATABASES[0], "nft delete table inet owner")


def test_a_filter_that_is_flushed_is_seen_and_brought_back(site: Site) -> None:
    site.on(DATABASES[0], "nft flush ruleset")
    found = [one for one in status(site)["findings"] if one["rule"] == "firewall.not-loaded"]
    assert [one["about"] for one in found] == [DATABASES[0]]
    assert let_in(site) == {2379, 2380, 8008}
    assert site.changes() == 1
    assert let_in(site) == set()
    code, out, err = invoke(site, "verify")
    assert code == 0, out + err
    assert "packet filter is gone" not in out


def test_a_filter_outlives_what_the_distribution_does_with_its_own(site: Site) -> None:
    try:
        for way in ("restart", "reload"):
            site.on(DATABASES[0], f"systemctl {way} nftables.service")
            wait_until(lambda: let_in(site) == set(), f"after a {way} it is loaded")
    finally:
        site.on(DATABASES[0], "systemctl stop nftables.service; systemctl start pgquorum-firewall.service")
    assert site.changes() == 0


def test_a_filter_that_would_shut_the_operator_out_is_not_kept(site: Site) -> None:
    with site.edited("group_data/all.py", 'operator_networks = ["192.0.2.0/24"]'):
        run = site.deploy("-y")
        refused(run, f"the packet filter of {PROXY} was not kept: no new SSH connection got through it")
        wait_until(lambda: all(host.ssh for host in site.lab.status()), "SSH gets through again")
    assert site.changes() == 0


@pytest.mark.long
def test_ssh_is_the_operators_and_the_hosts_alone_where_the_settings_say_so(site: Site) -> None:
    with site.deployed_with("group_data/all.py", f"operator_networks = {HERE!r}"):
        assert may_dial_ssh(site) == {"the operator", "a host"}
        assert site.changes() == 0
        code, out, err = invoke(site, "status")
        assert code == 0, out + err
    assert may_dial_ssh(site) == {"the operator", "a host", "a client", "a stranger"}


def may_dial_ssh(site: Site) -> set[str]:
    """Of those who may want to, on the first host."""
    ssh, found = (22, 22), set()
    with suppress(OSError), socket.create_connection((ADDRESS[DATABASES[0]], 22), 5):
        found.add("the operator")
    with addresses(site, PROXY) as (client,), elsewhere(site, PROXY) as stranger:
        for name, where, own in (("a host", DATABASES[1], []), ("a client", PROXY, [client]), ("a stranger", PROXY, [stranger])):
            if open_ports(site, where, DATABASES[0], ssh, *own):
                found.add(name)
    return found


@pytest.mark.long
def test_an_operator_who_is_killed_while_a_filter_is_tried_leaves_the_one_before_it(site: Site) -> None:
    """By the timer on each host; and one that loses its power meanwhile begins with the one before, too."""
    with site.edited("group_data/all.py", 'operator_networks = ["192.0.2.0/24"]'):
        run = site.pyinfra(INVENTORY, "deploy.py", "-y")
        try:
            tried = "systemctl is-active --quiet pgquorum-firewall-revert.timer"
            wait_until(lambda: site.on(DATABASES[0], f"{tried} && echo tried") == "tried", "the filter is tried")
        finally:
            os.killpg(run.pid, signal.SIGKILL)
            run.communicate()
    site.lab.off(DATABASES[0])
    site.lab.on(DATABASES[0])
    wait_until(lambda: all(host.ssh for host in site.lab.status()), "SSH gets through to every host again")
    assert let_in(site) == set()
    site.heal()
    assert site.changes() == 0


@pytest.mark.long
def test_a_cluster_as_init_makes_it_has_the_filter(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This one, by the inventory that `invoke init` makes of its hosts, with its secrets. SSH's own configuration says with
    which key, as an operator has it."""
    lab, made = site.folder / f".lab/{SPEC.name}", site.folder / f"inventories/{SPEC.name}"
    ssh = tmp_path / ".ssh/config"
    ssh.parent.mkdir(mode=0o700)
    ssh.write_text(f"Host *\n    IdentityFile {lab}/id_ed25519\n    UserKnownHostsFile {lab}/known_hosts\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = site.folder / "group_data/all.py"
    tested = settings.read_text()
    databases = ",".join(f"{host}={ADDRESS[host]}" for host in DATABASES)
    try:
        settings.write_text((ROOT / "group_data/all.py").read_text())  # as it is shipped
        code, out, err = invoke(
            site, "init", SPEC.name, "--database", databases, "--proxy", f"{PROXY}={ADDRESS[PROXY]}",
            "--clients", ",".join(map(str, SPEC.networks)), "--operators", ",".join(HERE), "--user", "root",
        )  # fmt: skip
        assert code == 0, out + err
        for name in ("etcd", "postgres"):  # where this lab's packages and disks are
            file = made / f"group_data/{name}.py"
            file.write_text(f"{file.read_text()}\n{(lab / f'group_data/{name}.py').read_text().partition(chr(10))[2]}")
        shutil.copytree(site.secrets, made / "secrets" / SPEC.name)
        code, out, err = invoke(site, "preflight", inventory=SPEC.name)
        assert code == 0, out + err
        inventory = f"inventories/{SPEC.name}/inventory.py"
        run = site.deploy("-y", inventory=inventory)
        assert run.exit_code == 0, run.output
        assert site.changes(inventory=inventory) == 0
        for port in (2379, 2380, 8008):  # even from here
            with pytest.raises(ConnectionError):
                socket.create_connection((ADDRESS[DATABASES[0]], port), 5)
        assert may_dial_ssh(site) == {"the operator", "a host"}
        with elsewhere(site, DATABASES[1]) as stranger:
            assert open_ports(site, DATABASES[1], PROXY, CLUSTER_PORTS, stranger) == set()
        code, out, err = invoke(site, "verify", inventory=SPEC.name)
        assert code == 0, out + err
    finally:
        settings.write_text(tested)
        shutil.rmtree(made, ignore_errors=True)
        site.deployed()
    assert site.changes() == 0


def test_it_goes_with_its_setting_and_comes_back(site: Site) -> None:
    with site.deployed_with(f".lab/{SPEC.name}/group_data/all.py", "firewall = False"):
        assert let_in(site) == {2379, 2380, 8008}
        assert {said.strip() for said in site.on_all("nft list tables | grep pgquorum || echo none", HOSTS).values()} == {"none"}
        assert site.changes() == 0
    assert let_in(site) == set()


# The others are for `--long`.
FLOODS = "proxy-stalling-10"


def floods() -> Iterator[Any]:
    """To where, with what word, from how many addresses."""
    for where, (name, word), count in product(
        ("proxy", "primary", "replica", "both"), (("silent", ""), ("stalling", SSL_REQUEST)), (1, 10)
    ):
        one = f"{where}-{name}-{count}"
        yield pytest.param(where, word, count, id=one, marks=() if one in FLOODS else pytest.mark.long)


@pytest.mark.parametrize(("where", "word", "count"), [*floods()])
def test_a_thousand_connections_that_say_nothing_cost_no_client_an_error(site: Site, where: str, word: str, count: int) -> None:
    leader = site.leader()
    ports = {
        "proxy": [(PROXY, port) for port in (5000, 5001, 7000)],
        "primary": [(leader, port) for port in (5432, 8008, 2379, 2380)],
        "replica": [(site.replicas()[1], port) for port in (5432, 8008, 2379, 2380)],
        "both": [(PROXY, 5000), (leader, 5432)],
    }
    with reads_and_writes(site, PATIENT) as traffic:
        with starving(site, PROXY if where in ("primary", "replica") else site.replicas()[0], word, count, ports[where]):
            time.sleep(SECONDS)
            code, out, err = invoke(site, "status")
        print(f"longest wait of a client: {traffic.longest:.2f} s")
    assert traffic.failures == []
    assert code == 0, out + err
    assert site.leader() == leader


def test_a_flood_of_cancel_requests_ends_nobodys_query(site: Site) -> None:
    """Each names a process and a key, and PostgreSQL asks for no more; so the key must be right."""
    leader = site.leader()
    with reads_and_writes(site, PATIENT) as traffic, site.connect(5000) as long:
        word = CANCEL_REQUEST.replace("0000006f", f"{long.info.backend_pid:08x}", 1)
        with starving(site, site.replicas()[0], word, 1, [(PROXY, 5000), (leader, 5432)], connections=100):
            long.execute("select pg_sleep(%s)", (SECONDS / 2,))
    assert traffic.failures == []
    assert site.leader() == leader
