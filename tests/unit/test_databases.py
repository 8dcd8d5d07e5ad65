"""Roles and databases: what is missing is made, what differs is mended, nothing is dropped, no password is sent."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from clusters import cluster

from cluster import paths
from cluster.databases import (
    QUERY,
    REWIND_FUNCTIONS,
    password_statements,
    remarks,
    slot_problems,
    statements,
    wanted_databases,
    wanted_roles,
)
from cluster.dynamic_config import postgres_parameters
from cluster.settings import Slot
from cluster.topology import Cluster, Sessions
from cluster.vault import Vault

ROLES = [{"name": "app", "connection_limit": 20}, {"name": "reports", "member_of": ["app", "pg_monitor"]}]


AS_COMMITTED: dict[str, Any] = {
    "shut_out": [],
    "pooler": None,
    "own_roles": {},
    "overrides": [],
    "altered": None,
    "connectable": ["postgres", "template1"],
    "with_login_trigger": [],
}
EMPTY: dict[str, Any] = {"roles": {}, "databases": {}, "rewind": [], "logical": True, "slots": [],
                         "open": ["postgres", "template1"], **AS_COMMITTED}  # fmt: skip


@pytest.fixture
def shop(tmp_path: Path) -> Cluster:
    return cluster(secrets_directory=str(tmp_path), postgres_roles=ROLES, postgres_databases=[{"name": "shop", "owner": "app"}])


@pytest.fixture
def vault(shop: Cluster) -> Vault:
    return Vault(shop, {})


def as_wanted(shop: Cluster, vault: Vault) -> dict[str, Any]:
    """What the server answers when all is as it should be, beside things of the user's own."""
    roles = {
        role.name: {
            "login": True, "limit": role.connection_limit, "member_of": list(role.member_of), "replication": role.replication,
            "password": hashlib.sha256(role.verifier.encode()).hexdigest(),
        }
        for role in wanted_roles(shop, vault)
    }  # fmt: skip
    mine = {"login": False, "limit": 3, "member_of": [], "password": hashlib.sha256(b"").hexdigest()}
    databases = wanted_databases(shop) | {"mine": "mine"}
    slots = {"logical": True, "slots": [slot.name for slot in shop.postgres.slots]} | AS_COMMITTED
    return {"roles": roles | {"mine": mine}, "databases": databases, "rewind": list(REWIND_FUNCTIONS), "open": [], **slots}


def test_on_an_empty_server_all_is_made_roles_before_what_needs_them(shop: Cluster, vault: Vault) -> None:
    sql = statements(shop, vault, EMPTY)
    heads = [" ".join(line.split()[:3]) for line in sql]
    names = ("replicator", "rewinder", "pgquorum_probe", "app", "reports")
    assert heads[:5] == [f'create role "{name}"' for name in names]
    assert sql[0].startswith('create role "replicator" login replication connection limit -1 password')
    reserved = [f'grant "pg_use_reserved_connections" to "{name}";' for name in ("rewinder", "pgquorum_probe")]
    assert sql[5:9] == [*reserved, 'grant "app" to "reports";', 'grant "pg_monitor" to "reports";']
    assert sql[9:13] == [f'grant execute on function {name} to "rewinder";' for name in REWIND_FUNCTIONS]
    assert 'create database "shop" owner "app";' in sql[13:]
    assert f'create database "{paths.PROBE_DATABASE}" owner "{paths.PROBE_ROLE}";' in sql[13:]
    assert any("create table if not exists probe" in line for line in sql)


def test_passwords_between_hosts_are_given_alone_and_make_no_role(shop: Cluster, vault: Vault) -> None:
    """Before Patroni reads them."""
    live = as_wanted(shop, vault)
    assert password_statements(shop, vault, live) == password_statements(shop, vault, EMPTY) == []
    for name in ("rewinder", "app"):
        live["roles"][name] |= {"password": "another"}
    (line,) = password_statements(shop, vault, live)
    assert line.startswith('alter role "rewinder" login connection limit -1 password')


def test_when_all_is_there_nothing_is_done(shop: Cluster, vault: Vault) -> None:
    assert statements(shop, vault, as_wanted(shop, vault)) == []


@pytest.mark.parametrize(("what", "value"), [("login", False), ("limit", -1), ("password", "0" * 64)])
def test_a_role_that_differs_is_mended(shop: Cluster, vault: Vault, what: str, value: object) -> None:
    live = as_wanted(shop, vault)
    live["roles"]["app"][what] = value
    (line,) = statements(shop, vault, live)
    assert line.startswith('alter role "app" login connection limit 20 password \'SCRAM-SHA-256$')


def test_the_probes_table_is_made_wherever_it_is_not_and_is_its_own(shop: Cluster, vault: Vault) -> None:
    """Dropped by hand, or lost between its database and itself: no client's test would ever pass again."""
    live = as_wanted(shop, vault)
    for known in ("pgquorum_probe", None):
        assert statements(shop, vault, live, probe=known) == []
    (made,) = statements(shop, vault, live, probe="")
    assert made in statements(shop, vault, EMPTY)
    assert made.startswith("\\connect pgquorum\nset role pgquorum_probe;\ncreate table if not exists probe (")
    (given,) = statements(shop, vault, live, probe="postgres")
    assert given == '\\connect pgquorum\nalter table public.probe owner to "pgquorum_probe";\n\\connect postgres'
    assert sum("create table" in line for line in statements(shop, vault, EMPTY, probe="")) == 1


@pytest.mark.parametrize("lacks", ["the database", "the membership"])
def test_the_probe_may_make_tables_over_a_reserved_connection_too(shop: Cluster, vault: Vault, lacks: str) -> None:
    live = as_wanted(shop, vault)
    if lacks == "the database":
        del live["databases"][paths.PROBE_DATABASE]
    else:
        live["roles"][paths.PROBE_ROLE]["member_of"] = []
    assert 'grant all on schema public to "pgquorum_probe";' in statements(shop, vault, live)[-1]


@pytest.mark.parametrize(("what", "value"), [("login", False), ("replication", False), ("password", "0" * 64)])
def test_the_role_for_replication_is_mended_too(shop: Cluster, vault: Vault, what: str, value: object) -> None:
    live = as_wanted(shop, vault)
    live["roles"]["replicator"][what] = value
    (line,) = statements(shop, vault, live)
    assert line.startswith('alter role "replicator" login replication connection limit -1 password \'SCRAM-SHA-256$')


def test_what_a_role_of_the_tools_own_was_given_by_hand_is_taken_from_it(shop: Cluster, vault: Vault) -> None:
    assert "rolsuper" in QUERY and "pg_auth_members" in QUERY
    loose = {"rewinder": {"may": ["login", "password", "superuser"]}}
    assert statements(shop, vault, as_wanted(shop, vault) | {"own_roles": loose}) == [
        "alter role \"rewinder\" nosuperuser nocreaterole nocreatedb nobypassrls valid until 'infinity';"
    ]


def test_what_pg_rewind_may_call_is_given_back(shop: Cluster, vault: Vault) -> None:
    live = as_wanted(shop, vault)
    live["rewind"].remove(REWIND_FUNCTIONS[2])
    assert statements(shop, vault, live) == [f'grant execute on function {REWIND_FUNCTIONS[2]} to "rewinder";']


def test_the_systems_databases_are_closed_after_who_needs_them_was_let_in(shop: Cluster, vault: Vault) -> None:
    assert statements(shop, vault, as_wanted(shop, vault) | {"open": ["postgres", "template1"]}) == [
        'grant connect on database postgres to "replicator", "rewinder", pg_monitor;',
        "revoke connect on database postgres from public;",
        "revoke connect on database template1 from public;",
    ]
    assert "datname in ('postgres', 'template1')" in QUERY
    assert statements(shop, vault, as_wanted(shop, vault) | {"shut_out": ["rewinder"]}) == [
        'grant connect on database postgres to "rewinder";'
    ]


@pytest.mark.parametrize(
    ("parameters", "limit"),
    [({}, 82), ({"max_connections": 200}, 172), ({"max_connections": "300", "reserved_connections": 0}, 267)],
)
def test_a_role_without_a_limit_leaves_others_some_connections(tmp_path: Path, parameters: dict[str, Any], limit: int) -> None:
    roles = [{"name": "app"}, {"name": "reports", "connection_limit": -1}]
    shop = cluster(secrets_directory=str(tmp_path), postgres_roles=roles, postgres_parameters=parameters)
    limits = {role.name: role.connection_limit for role in wanted_roles(shop, Vault(shop, {}))}
    assert (limits["app"], limits["reports"], limits["rewinder"]) == (limit, -1, -1)


def test_a_role_gets_no_more_than_there_is_until_the_restart(tmp_path: Path) -> None:
    settings = {"postgres_roles": [{"name": "app"}], "postgres_parameters": {"max_connections": 500}}
    shop = replace(cluster(secrets_directory=str(tmp_path), **settings), running=Sessions(100, 92))
    assert {role.name: role.connection_limit for role in wanted_roles(shop, Vault(shop, {}))}["app"] == 82
    assert (shop.sessions, replace(shop, running=None).sessions) == (100, 500)
    assert postgres_parameters(shop)["max_connections"] == 500


def test_a_membership_is_granted_once_and_others_are_left(shop: Cluster, vault: Vault) -> None:
    live = as_wanted(shop, vault)
    live["roles"]["reports"]["member_of"] = ["app", "mine"]
    assert statements(shop, vault, live) == ['grant "pg_monitor" to "reports";']


def test_a_membership_that_no_setting_says_is_told_with_both_ways(shop: Cluster, vault: Vault) -> None:
    live = as_wanted(shop, vault)
    assert list(remarks(shop, live)) == list(remarks(shop, EMPTY)) == []
    live["roles"]["app"]["member_of"] = ["pg_read_all_data", "mine"]  # `mine` could not be said
    (said,) = remarks(shop, live)
    assert said.startswith("role app is a member of pg_read_all_data, which its member_of in postgres_roles does not say:")
    assert '`revoke "pg_read_all_data" from "app"`' in said


def test_who_may_replicate_is_what_the_settings_say(shop: Cluster, vault: Vault) -> None:
    live = as_wanted(shop, vault)
    live["roles"]["app"]["replication"] = True
    (line,) = statements(shop, vault, live)
    assert line.startswith('alter role "app" login noreplication connection limit 20 password')
    assert "noreplication" not in "".join(statements(shop, vault, EMPTY))


def test_a_database_of_another_owner_is_given_back(shop: Cluster, vault: Vault) -> None:
    live = as_wanted(shop, vault)
    live["databases"]["shop"] = "mine"
    assert statements(shop, vault, live) == ['alter database "shop" owner to "app";']


def test_nothing_is_ever_dropped(shop: Cluster, vault: Vault) -> None:
    smaller = cluster(secrets_directory=shop.all.secrets_directory)
    assert statements(smaller, vault, as_wanted(shop, vault)) == []


def test_no_password_is_sent(shop: Cluster, vault: Vault) -> None:
    sql = "\n".join(statements(shop, vault, EMPTY))
    assert not [secret for secret in vault.all_secrets() if secret in sql]


def test_no_verifier_shows_in_a_repr(shop: Cluster, vault: Vault) -> None:
    assert "SCRAM" not in repr(wanted_roles(shop, vault))


def test_the_server_is_asked_for_all_that_pg_rewind_calls() -> None:
    assert all(f"'{name}'" in QUERY for name in REWIND_FUNCTIONS) and f"'{paths.REWIND_ROLE}'" in QUERY


def test_a_logical_slot_is_made_in_its_database_as_one_that_survives_a_failover(shop: Cluster, vault: Vault) -> None:
    settings: dict[str, Any] = {"postgres_roles": ROLES, "postgres_databases": [{"name": "shop", "owner": "app"}]}
    slots = [{"name": "orders", "database": "shop"}]
    with_slot = cluster(secrets_directory=shop.all.secrets_directory, postgres_slots=slots, **settings)
    live = as_wanted(shop, vault)
    (made,) = statements(with_slot, vault, live)
    assert made.splitlines() == [
        "\\connect shop",
        "select pg_catalog.pg_create_logical_replication_slot('orders', 'pgoutput', false, false, true) \\g /dev/null",
        "\\connect postgres",
    ]
    assert statements(with_slot, vault, live | {"slots": ["orders"]}) == []
    assert statements(with_slot, vault, live | {"logical": False}) == [], "a server whose wal_level waits for a restart can't"


def test_a_slots_name_that_another_one_has_is_refused_with_both_ways(shop: Cluster) -> None:
    of = replace(shop, postgres=shop.postgres.model_copy(update={"slots": (Slot(name="orders", database="shop"),)}))
    ours = {"name": "orders", "database": "shop", "plugin": "pgoutput"}
    assert list(slot_problems(of, [ours, {"name": "db2", "database": None, "plugin": None}])) == []
    assert list(slot_problems(shop, [ours | {"plugin": "wal2json"}])) == []
    (said,) = slot_problems(of, [ours | {"plugin": "wal2json"}])
    assert said.startswith(
        "postgres_slots: 'orders' is there already, of database 'shop' with plugin 'wal2json', and should be of"
    )
    assert "(select pg_drop_replication_slot('orders'))" in said
    (physical,) = slot_problems(of, [ours | {"database": None, "plugin": None}])
    assert "is there already, a physical one, and" in physical


LOOSE = [
    {"role": "app", "database": None, "value": "off"},
    {"role": None, "database": 'a "shop"', "value": "local"},
    {"role": "app", "database": "shop", "value": "remote_write"},
    {"role": None, "database": None, "value": "OFF"},
    {"role": "reports", "database": None, "value": "remote_apply"},
]


def test_a_weaker_commit_is_taken_back_only_where_the_settings_say_so(shop: Cluster, vault: Vault) -> None:
    live = as_wanted(shop, vault) | {"overrides": LOOSE, "altered": "local"}
    assert statements(shop, vault, live) == []
    mends = replace(shop, all=shop.all.model_copy(update={"weaker_commits": "mend"}))
    assert statements(mends, vault, live) == [
        'alter role "app" reset synchronous_commit;',
        'alter database "a ""shop""" reset synchronous_commit;',
        'alter role "app" in database "shop" reset synchronous_commit;',
        "alter role all reset synchronous_commit;",
        "alter system reset synchronous_commit;\nselect pg_catalog.pg_reload_conf() \\g /dev/null",
    ]
    promised_nothing = replace(mends, all=mends.all.model_copy(update={"durability": "asynchronous"}))
    assert statements(promised_nothing, vault, live) == []


def test_sessions_with_a_weaker_commit_are_refused_in_every_database_until_they_are_not(shop: Cluster, vault: Vault) -> None:
    refuses = replace(shop, all=shop.all.model_copy(update={"weaker_commits": "refuse"}))
    live = as_wanted(shop, vault) | {"connectable": ["postgres", "shop", "template1"], "with_login_trigger": ["postgres", "shop"]}
    found = statements(refuses, vault, live, guarded=["postgres"])
    assert [line.partition("\n")[0] for line in found] == [
        '-- database "shop" refuses sessions with a weaker synchronous_commit',
        '-- database "template1" refuses sessions with a weaker synchronous_commit',
    ]
    assert all(line.endswith("commit;\n\\connect postgres") for line in found)
    [back] = statements(shop, vault, live, guarded=["postgres"])
    assert back.startswith(
        '-- database "postgres" refuses sessions with a weaker synchronous_commit no more\n\\connect "postgres"\n'
    )
    assert "drop event trigger" in back and "create" not in back


def test_verifiers_go_before_what_begins_another_session_and_databases_are_made_after_their_template(
    shop: Cluster, vault: Vault
) -> None:
    """Only the first session has been told to log nothing, and a new database is as template1 is by then."""
    refuses = replace(shop, all=shop.all.model_copy(update={"weaker_commits": "refuse"}))
    found = statements(refuses, vault, EMPTY)
    first = next(n for n, line in enumerate(found) if "\\connect" in line)
    assert not any("SCRAM" in line for line in found[first:])
    assert first < next(n for n, line in enumerate(found) if line.startswith("create database"))
