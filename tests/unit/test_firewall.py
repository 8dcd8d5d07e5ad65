"""Who may dial which port of a host, and the table that says so to the kernel."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from clusters import DATABASES, PROXIES, cluster, hosts, problems
from hypothesis import given
from hypothesis import strategies as st

from agents.parts import machine
from cluster.components import COMPONENTS
from cluster.connections import CONNECTIONS, NO_PORT, OPERATOR
from cluster.firewall import Door, Networks, doors, vrrp_peers
from cluster.pooling import places
from cluster.settings import AllSettings
from cluster.topology import Cluster
from operations.firewall import LISTED
from operations.managed import render

CLIENT, STRANGER, MONITOR = "10.0.0.200", "192.0.2.7", "10.9.0.4"


def by_port(of: Cluster, name: str) -> dict[int, Door]:
    return {door.port: door for door in doors(of, of.host(name))}


def lets_in(door: Door, address: str) -> bool:
    (one,) = Networks.of([address]).v4
    return any(one.subnet_of(network) for side in (door.peers, door.clients) for network in side.v4)


def test_every_connection_that_the_cluster_needs_is_let_in() -> None:
    one = cluster(pooling=True)
    for connection in CONNECTIONS:
        if connection.source == OPERATOR or connection.port == NO_PORT:
            continue
        dialling = [host.address for host in one.members(connection.source)] if connection.source != "clients" else [CLIENT]
        for host in one.members(connection.target):
            for address in dialling:
                assert lets_in(by_port(one, host.name)[one.setting(connection.port)], address), (connection, host.name)


def test_no_port_of_a_component_is_without_a_door() -> None:
    one = cluster(pooling=True)
    for component in COMPONENTS:
        for host in one.members(component.group):
            assert {one.setting(port) for port in component.ports} <= by_port(one, host.name).keys()


@pytest.mark.parametrize(
    ("port", "others"),
    [(2379, set()), (2380, set()), (8008, {*PROXIES.values()}), (5432, {*PROXIES.values(), CLIENT})],
)
def test_nobody_else_is_let_in_at_a_database_host(port: int, others: set[str]) -> None:
    door = by_port(cluster(), "db2")[port]
    let_in = {address for address in (*DATABASES.values(), *PROXIES.values(), CLIENT, STRANGER) if lets_in(door, address)}
    assert let_in == {*DATABASES.values(), *others}


def test_a_proxy_lets_clients_in_and_no_stranger() -> None:
    found = by_port(cluster(), "proxy1")
    assert found.keys() == {5000, 5001, 7000}
    assert all(lets_in(door, CLIENT) and not lets_in(door, STRANGER) for door in found.values())


def test_ssh_is_left_alone_unless_it_is_said_where_the_operator_is() -> None:
    assert 22 not in by_port(cluster(), "db1")
    door = by_port(cluster(operator_networks=["192.0.2.0/24"], firewall=True), "db1")[22]
    assert lets_in(door, STRANGER) and lets_in(door, PROXIES["proxy1"]) and not lets_in(door, CLIENT)
    of = cluster({"db1": {"ssh_port": 2222}}, operator_networks=["192.0.2.0/24"], firewall=True)
    assert 2222 in by_port(of, "db1") and 22 not in by_port(of, "db1")
    # What its sshd says counts: the port may be in SSH's configuration alone, or lead to another one of the host's.
    assert [door.port for door in doors(of, of.host("db1"), (2223,)) if door.port < 2300] == [2223]
    assert [door.port for door in doors(of, of.host("db2"), (22, 2222)) if door.port < 2300] == [22, 2222]


def test_nobody_believes_ssh_closed_where_there_is_no_filter() -> None:
    (said,) = problems(hosts(operator_networks=["192.0.2.0/24"]))
    assert said == "operator_networks has 192.0.2.0/24, but firewall = False: should be True, or SSH is open to everybody"


def test_others_are_let_in_by_name_of_the_port() -> None:
    one = cluster(firewall_also={"patroni_port": ["10.9.0.0/24"]})
    assert [port for port, door in by_port(one, "db1").items() if lets_in(door, MONITOR)] == [8008]
    (said,) = problems(hosts(firewall_also={"patroni": ["10.9.0.0/24"]}))
    assert said.startswith("firewall_also[patroni] = 'patroni': should be 'etcd_client_port', 'etcd_peer_port', "), said


def test_every_port_can_be_named() -> None:
    (key, _) = AllSettings.model_fields["firewall_also"].annotation.__args__  # type: ignore[union-attr]
    assert set(key.__args__) == {port for component in COMPONENTS for port in component.ports}


@given(st.lists(st.ip_addresses(v=4), max_size=8), st.lists(st.ip_addresses(v=6), max_size=8))
def test_networks_never_overlap_which_the_kernel_would_refuse(four: list[object], six: list[object]) -> None:
    networks = Networks.of([*four, "10.0.0.0/8", *six, "fd00::/16"])
    for of_a_kind in (networks.v4, networks.v6):
        assert not any(a.overlaps(b) for n, a in enumerate(of_a_kind) for b in of_a_kind[n + 1 :])  # type: ignore[arg-type]
    assert all(any(one in network for network in networks.v4) for one in four)


def table(of: Cluster, name: str) -> str:
    return render("firewall/pgquorum.nft.j2", doors=doors(of, of.host(name)), vrrp=vrrp_peers(of, of.host(name)))


def test_what_is_there_and_what_is_of_the_host_itself_is_never_judged() -> None:
    lines = [line.strip() for line in table(cluster(), "db1").splitlines()]
    first = lines.index("type filter hook input priority filter; policy accept;")
    assert lines[first + 1] == "iif lo accept"
    assert lines[first + 3] == "tcp flags & (fin | syn | rst | ack) != syn accept"


def test_every_door_ends_with_a_reset_and_only_clients_of_postgresql_are_counted() -> None:
    text = table(cluster(firewall_connections=40), "db1")
    chains = dict(re.findall(r"chain to_(\d+) \{\n(.*?)\n    \}", text, re.S))
    assert chains.keys() == {"2379", "2380", "5432", "8008"}
    assert all(chain.splitlines()[-1].strip() == "reject with tcp reset" for chain in chains.values())
    assert [port for port, chain in chains.items() if "ct count over 40" in chain] == ["5432"]
    assert [port for port, chain in chains.items() if "tcp dport ct count over 82" in chain] == ["5432"]  # all clients together
    accepted = [line.strip() for line in chains["5432"].splitlines()]
    assert accepted[0].endswith("accept") and DATABASES["db1"] in accepted[0]  # before anything is counted
    assert "vmap { 2379 : goto to_2379, 2380 : goto to_2380, 5432 : goto to_5432, 8008 : goto to_8008 }" in text


def test_one_address_may_be_all_clients_of_the_pools_and_leaves_as_many_places() -> None:
    one = cluster(pooling=True, pooling_max_clients=300, pooling_processes=2)
    text = table(one, "proxy1")
    chains = dict(re.findall(r"chain to_(\d+) \{\n(.*?)\n    \}", text, re.S))
    assert [port for port, chain in chains.items() if "ct count over" in chain] == ["6432", "6433"]
    assert all("saddr ct count over 600 " in chains[port] and "dport ct count" not in chains[port] for port in ("6432", "6433"))
    assert "all_to_" not in text
    assert places(one) * 2 - 600 == 600


def test_who_has_the_address_is_told_by_the_other_proxies_alone() -> None:
    one = cluster(two=True, proxy_address="10.0.0.77")
    lines = [line.strip() for line in table(one, "proxy1").splitlines()]
    assert lines.index("meta l4proto 112 ip saddr { 10.0.0.10/32 } accept") + 1 == lines.index("meta l4proto 112 drop")
    assert not any("112" in table(of, name) for of, name in ((one, "db1"), (cluster(two=True), "proxy1")))


def test_clients_who_come_and_go_are_no_change_of_the_filter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the deploy sees it and as `status` does, who are told the same by nft."""
    table = "table inet pgquorum {\n\tset to_5432_v4 {\n\t\tsize 65535%s\n\t}\n}\n"
    note, nft = tmp_path / "note", tmp_path / "nft"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def told(text: str) -> str:
        nft.write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\n")
        nft.chmod(0o700)
        return subprocess.run(["sh", "-c", f"{LISTED} | sha256sum"], capture_output=True, text=True, check=True).stdout

    note.write_text(told(table % ""))
    loaded = {"table": "pgquorum", "note": str(note)}
    for count, same in (("", True), ("\t# count 10", True), ("0", False)):
        assert (told(table % count) == note.read_text()) == machine.firewall(loaded) == same
