"""The tool's own roles: in what they differ is told, and taken back; what is as it should be is left."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from clusters import cluster

from cluster import own_roles
from cluster.own_roles import OwnRole, differences, statements, wanted

SHOP, POOLED = cluster(), cluster(pooling=True)
FROM_POSTGRES = 'granted by "postgres" cascade;'
WITHOUT = "nosuperuser nocreaterole nocreatedb nobypassrls valid until 'infinity';"


def with_one(name: str, **differs: Any) -> dict[str, OwnRole]:
    """All as a cluster with pools needs them, but for one."""
    roles = wanted(POOLED)
    return roles | {name: replace(roles[name], **differs)}


def test_what_is_as_it_should_be_is_left() -> None:
    assert differences(POOLED, wanted(POOLED)) == {} and list(statements(POOLED, wanted(POOLED))) == []
    assert differences(SHOP, wanted(POOLED)) == {}  # PgBouncer's goes as a whole where there are no pools any more
    by_another = with_one("rewinder", member_of=(("pg_use_reserved_connections", "dba"),))
    assert differences(POOLED, by_another) == {} and list(statements(POOLED, by_another)) == []


@pytest.mark.parametrize("name", wanted(POOLED))
@pytest.mark.parametrize(
    ("differs", "told", "sql"),
    [
        ({"expires": True}, "expires", 'alter role "{}" ' + WITHOUT),
        ({"members": (("app", "postgres"),)}, "has app as a member", 'revoke "{}" from "app" ' + FROM_POSTGRES),
        ({"settings": ((None, "work_mem=1"),)}, "has work_mem=1", 'alter role "{}" reset all;'),
        (
            {"settings": (('a "shop"', "work_mem=1"), ('a "shop"', "jit=off"))},
            'has work_mem=1 in database a "shop", has jit=off in database a "shop"',
            'alter role "{}" in database "a ""shop""" reset all;',
        ),
    ],
)
def test_what_was_given_by_hand_is_told_and_taken_back(name: str, differs: dict[str, Any], told: str, sql: str) -> None:
    live = with_one(name, **differs)
    assert {role: ", ".join(words) for role, words in differences(POOLED, live).items()} == {name: told}
    assert list(statements(POOLED, live)) == [sql.format(name)]


@pytest.mark.parametrize("name", wanted(POOLED))
@pytest.mark.parametrize("what", sorted(own_roles.LOOSE))
def test_no_role_keeps_an_attribute_that_opens_more(name: str, what: str) -> None:
    live = with_one(name, may=(*wanted(POOLED)[name].may, what))
    assert differences(POOLED, live) == {name: [f"has {what}"]}
    assert list(statements(POOLED, live)) == [f'alter role "{name}" {WITHOUT}']


def test_a_membership_is_taken_back_by_whoever_has_granted_it() -> None:
    live = with_one("replicator", member_of=(("pg_monitor", "dba"), ("pg_monitor", "postgres")))
    assert differences(POOLED, live) == {"replicator": ["is a member of pg_monitor"]}
    assert list(statements(POOLED, live)) == [
        f'revoke "pg_monitor" from "replicator" granted by "{grantor}" cascade;' for grantor in ("dba", "postgres")
    ]


def test_what_one_lacks_is_told() -> None:
    bare = OwnRole((), connection_limit=0)
    live = {"replicator": bare, "rewinder": bare}
    assert differences(SHOP, live) == {
        "replicator": ["lacks login", "lacks replication", "lacks password", "has connection limit 0"],
        "rewinder": [
            "lacks login", "lacks password", "has connection limit 0", "is no member of pg_use_reserved_connections",
        ],
        "pgquorum_probe": ["is not there"],
    }  # fmt: skip
    assert list(statements(SHOP, live)) == []  # that comes with their passwords, which are not known here


def test_a_servers_answer_is_read() -> None:
    said = {
        "may": ["login", "password"], "connection_limit": -1, "expires": False, "members": [],
        "member_of": [["pg_use_reserved_connections", "postgres"]], "settings": [[None, "jit=off"]],
    }  # fmt: skip
    role = own_roles.read({"rewinder": said})["rewinder"]
    assert role == replace(wanted(SHOP)["rewinder"], member_of=role.member_of, settings=((None, "jit=off"),))
    assert role.member_of == (("pg_use_reserved_connections", "postgres"),)
