"""Who acknowledges sooner than the durability promises is named, with what a failover would lose; and taken back, or refused."""

from __future__ import annotations

import json

import psycopg
import pytest
from commands import invoke
from helpers import Site, refused
from hosts import ADDRESS, wait_until

pytestmark = pytest.mark.usefixtures("first_deploy", "healed")

RESET = "alter role app reset synchronous_commit"


def verified(site: Site, about: str) -> list[tuple[str, str]]:
    """What `verify` finds about something: level and text."""
    return [(f["level"], f["text"]) for f in json.loads(invoke(site, "verify", "--json")[1])["findings"] if f["about"] == about]


def guarded(site: Site, database: str) -> bool:
    """Whether a database refuses such sessions, as its catalogue has it."""
    return site.psql(site.leader(), "select count(*) from pg_event_trigger", database) == "1"


def test_how_much_a_failover_would_lose_is_counted(site: Site) -> None:
    leader, replicas = site.leader(), site.replicas()
    made: list[str] = []
    with site.connect(5000) as app:
        app.execute("drop table if exists unconfirmed")
        app.execute("create table unconfirmed (n int)")
    site.psql(leader, "alter role app set synchronous_commit = off")
    try:
        wait_until(lambda: [level for level, _ in verified(site, "acknowledged")] == ["ok"], "replicas have all")
        assert not any(level == "ok" for level, _ in verified(site, "durability"))
        for replica in replicas:
            site.on(replica, "systemctl stop patroni")
        with site.connect(5432, host=leader, hostaddr=ADDRESS[leader]) as app:
            for n in range(53):
                app.execute("insert into unconfirmed values (%s)", (n,))
        made = site.reserve(leader, f"{site.cluster.postgres.data_directory}/pg_wal")
        found = verified(site, "acknowledged")
        assert [level for level, _ in found] == ["warning"], found
        assert "would lose at most " in found[0][1], found
        # The one of `verify` itself waits for a replica, and stands in the log too; so does what autovacuum does meanwhile.
        assert 53 <= int(found[0][1].partition("at most ")[2].split()[0]) <= 200, found
    finally:
        for replica in replicas:
            site.on(replica, "systemctl start patroni")
        site.on(leader, " ".join(["rm -f", *made]))
        wait_until(site.healthy, "the replicas are back")
        site.psql(site.leader(), RESET)
    wait_until(lambda: verified(site, "acknowledged") == [], "nothing is at risk")


def test_a_deploy_takes_it_back_where_the_settings_say_so(site: Site) -> None:
    with site.deployed_with("group_data/all.py", 'weaker_commits = "mend"'):
        leader = site.leader()
        for statement in (
            "alter role app set synchronous_commit = local",
            "alter database app set synchronous_commit = off",
            "alter system set synchronous_commit = off",
            "select pg_reload_conf()",
        ):
            site.psql(leader, statement)
        wait_until(lambda: site.psql(leader, "show synchronous_commit") == "off", "it is in force")
        output = site.deployed().output
        assert 'alter role "app" reset synchronous_commit' in output and "alter system reset synchronous_commit" in output
        assert (
            site.psql(leader, "select count(*) from pg_db_role_setting where setconfig::text like '%synchronous_commit%'") == "0"
        )
        wait_until(lambda: site.psql(leader, "show synchronous_commit") == "on", "it is taken back")
        assert site.changes() == 0


def test_sessions_that_begin_with_it_are_refused_where_the_settings_say_so(site: Site) -> None:
    site.psql(site.leader(), "alter role app set synchronous_commit = off")
    try:
        with site.deployed_with("group_data/all.py", 'weaker_commits = "refuse"'):
            assert site.changes() == 0
            with pytest.raises(psycopg.OperationalError, match="sessions with synchronous_commit = off are refused"):
                site.connect(5000)
            site.connect(5001).close()  # a replica writes nothing
            site.connect(5000, options="-c synchronous_commit=on").close()
            site.psql(site.leader(), RESET)
            site.connect(5000).close()
            with pytest.raises(psycopg.OperationalError, match="sessions with synchronous_commit = local are refused"):
                site.connect(5000, options="-c synchronous_commit=local")
            site.psql(site.leader(), "create database made_later owner app")
            assert all(guarded(site, name) for name in ("app", "postgres", "template1", "pgquorum", "made_later"))
            assert "unguarded" not in invoke(site, "verify", "--json")[1]
            site.psql(site.leader(), "drop event trigger pgquorum_refuse_weaker_commits", "app")
            site.connect(5000).close()  # it is then that PostgreSQL notes that no trigger is left
            wait_until(lambda: '"settings.unguarded"' in invoke(site, "verify", "--json")[1], "it is missed")
            site.deployed()
            assert guarded(site, "app")
    finally:
        site.psql(site.leader(), RESET)
    assert not any(guarded(site, name) for name in ("app", "postgres", "template1", "pgquorum", "made_later"))
    assert site.psql(site.leader(), "select count(*) from pg_namespace where nspname = 'pgquorum'", "app") == "0"
    site.psql(site.leader(), "drop database made_later")
    assert site.changes() == 0


def test_the_superuser_runs_nothing_of_an_owners(site: Site) -> None:
    """A schema of that name, with a function that the superuser would run at every login."""
    with site.connect(5000) as app:
        app.execute("create schema pgquorum")
        app.execute(
            "create function pgquorum.refuse_weaker_commits() returns event_trigger language plpgsql as"
            " $$ begin alter role app superuser; end $$"
        )
        app.execute(
            "create function public.differs(oid, int) returns bool language plpgsql as"
            " $$ begin alter role app superuser; return false; end $$"
        )
        app.execute("create operator public.<> (leftarg = oid, rightarg = int, function = public.differs)")
        app.execute("alter database app set search_path = public, pg_catalog")
    try:
        with site.edited("group_data/all.py", 'weaker_commits = "refuse"'):
            refused(site.deploy("-y"), "the schema pgquorum in database app is not the superuser's")
        assert site.psql(site.leader(), "select rolsuper from pg_roles where rolname = 'app'") == "f"
        assert not guarded(site, "app")
    finally:
        with site.connect(5000) as app:
            app.execute("drop schema if exists pgquorum cascade")
            app.execute("alter database app reset search_path")
            app.execute("drop operator public.<> (oid, int)")
            app.execute("drop function public.differs(oid, int)")
        site.deployed()
    assert site.changes() == 0
