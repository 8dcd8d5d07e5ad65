"""Who talks to whom: what a host dials, and that the documentation says the same."""

from __future__ import annotations

import re

import pytest
from clusters import DATABASES, NEEDED, cluster
from repository import ROOT

from cluster.building import RawHost, build
from cluster.components import COMPONENTS, GROUPS
from cluster.connections import CLIENTS, CONNECTIONS, EVERY_HOST, NO_PORT, OPERATOR, reached_from
from cluster.settings import HostSettings

HEAD = ("from", "to", "port", "protocol", "by what right", "what for")


def ports_from(host: str) -> dict[str, set[int]]:
    """For each host that `host` dials, at which ports."""
    of = cluster()
    dialled: dict[str, set[int]] = {}
    for target, port in reached_from(of, of.host(host)):
        dialled.setdefault(target.name, set()).add(port)
    return dialled


def test_a_database_host_dials_every_etcd_member_and_server() -> None:
    assert ports_from("db1") == {name: {2379, 2380, 5432, 8008} for name in DATABASES}


def test_haproxy_dials_postgresql_and_patroni_and_never_etcd() -> None:
    assert ports_from("proxy1") == {name: {5432, 8008} for name in DATABASES}


def test_where_etcd_has_hosts_of_its_own_they_dial_each_other_only() -> None:
    groups = {"e1": "etcd", "db1": "postgres", "db2": "postgres", "lb1": "haproxy"}
    settings = NEEDED | {"etcd_client_port": 12379}
    hosts = {
        name: RawHost(frozenset((group,)), {"address": f"10.0.0.{n}", **settings})
        for n, (name, group) in enumerate(groups.items(), 1)
    }
    of = build(hosts)
    assert {(target.name, port) for target, port in reached_from(of, of.host("e1"))} == {("e1", 12379), ("e1", 2380)}
    assert ("e1", 12379) in {(target.name, port) for target, port in reached_from(of, of.host("db1"))}


@pytest.mark.parametrize("one", CONNECTIONS, ids=lambda one: f"{one.source} to {one.port} of {one.target}")
def test_a_connection_names_what_there_is(one) -> None:
    """Groups of the inventory, and a port that the target listens on."""
    assert one.source in (*GROUPS, CLIENTS, OPERATOR)
    if one.port == NO_PORT:
        assert "IP protocol" in one.protocol
    elif one.target == EVERY_HOST:
        assert one.port in HostSettings.model_fields
    else:
        assert one.port in [
            port for component in COMPONENTS if one.target in (component.group, component.also) for port in component.ports
        ]


def test_no_connection_is_there_twice() -> None:
    assert len({(one.source, one.target, one.port) for one in CONNECTIONS}) == len(CONNECTIONS)


def test_the_table_in_the_documentation_is_the_data() -> None:
    lines = [line for line in (ROOT / "docs/network.md").read_text().splitlines() if line.startswith("|")]
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines]
    assert rows[0] == HEAD
    assert all(re.fullmatch("-+", cell) for cell in rows[1])
    assert rows[2:] == documented()


def documented() -> list[tuple[str, ...]]:
    """The rows that the table should have."""
    of = cluster()

    def where(port: str) -> str:
        return f"{number(port)}, `{port}`" if port != NO_PORT else "none"

    def number(port: str) -> int:
        return 22 if port in HostSettings.model_fields else of.setting(port)  # that of SSH's configuration, or its own

    return [(one.source, one.target, where(one.port), one.protocol, one.right, one.why) for one in CONNECTIONS]
