"""Logical replication out of the cluster: a real subscriber misses and repeats nothing, whoever leads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from clients import Writers
from commands import invoke, status
from helpers import ENVIRONMENT, Site, refused
from hosts import ADDRESS, BINARIES, DATABASES, POSTGRES, PROXY, wait_until
from proving import run_one, switch_over

pytestmark = pytest.mark.usefixtures("healed")

SLOT = "written"
SETTINGS = f"""
postgres_slots = [{{"name": "{SLOT}", "database": "app"}}]
postgres_roles = [{{"name": "app", "replication": True}}]
"""
SUBSCRIBER, PORT = "/var/tmp/subscriber", 6000
AS_POSTGRES = "runuser -u postgres --"
START = f"{AS_POSTGRES} {BINARIES}/pg_ctl -D {SUBSCRIBER} -l {SUBSCRIBER}.log -w start >/dev/null"
SOURCE = "/etc/apt/sources.list.d/subscriber.list"
SERVER = f"""
set -e
if [ -d /srv/lab/pgdg ]; then  # a proxy of a release that does not have it itself
    . /etc/os-release
    echo "deb [trusted=yes] file:/srv/lab/pgdg $VERSION_CODENAME-pgdg main" >{SOURCE}
    apt-get update -o Dir::Etc::sourcelist={SOURCE} -o Dir::Etc::sourceparts=/dev/null -o APT::Get::List-Cleanup=0 >/dev/null
fi
apt-get install -y --no-install-recommends postgresql-{POSTGRES} >/dev/null 2>&1
{AS_POSTGRES} {BINARIES}/initdb -D {SUBSCRIBER} -A peer >/dev/null
printf "port = {PORT}\\nlisten_addresses = ''\\nunix_socket_directories = '/tmp'\\nwal_retrieve_retry_interval = 500ms\\n" \
  >>{SUBSCRIBER}/postgresql.conf
{START}
"""
GONE = f"""
{AS_POSTGRES} {BINARIES}/pg_ctl -D {SUBSCRIBER} -m immediate stop
rm -rf {SUBSCRIBER} {SUBSCRIBER}.log {SOURCE}
apt-get remove -y postgresql-{POSTGRES}
"""


def ask(site: Site, sql: str) -> str:
    """The subscriber's answer, which runs where an application would."""
    return site.on(PROXY, f'{AS_POSTGRES} psql -h /tmp -p {PORT} -d postgres -v ON_ERROR_STOP=1 -Atc "{sql}"')


@pytest.fixture(scope="module")
def slots(site: Site) -> Iterator[Site]:
    """The cluster with a logical slot: the first one asks for a restart, and nobody forgets to say so."""
    site.heal()
    with site.edited("group_data/postgres.py", SETTINGS):
        site.deployed()
        found = status(site)["findings"]
        assert {f["about"] for f in found if f["rule"] == "restart.pending"} == set(DATABASES)
        assert "slots.missing" in {f["rule"] for f in found}
        code, out, err = invoke(site, "rolling-restart", "--yes", "--pending-only")
        assert code == 0, out + err
        site.deployed()
        assert site.psql(site.leader(), "select slot_name from pg_replication_slots where failover") == SLOT
        assert site.changes() == 0
        yield site
    site.heal()
    site.psql(site.leader(), f"select pg_drop_replication_slot('{SLOT}')")
    left = "select count(*) from pg_replication_slots where slot_type = 'logical'"
    wait_until(lambda: all(site.psql(host, left) == "0" for host in DATABASES), "replicas drop their copies")
    site.deployed()
    code, out, err = invoke(site, "rolling-restart", "--yes", "--pending-only")
    assert code == 0, out + err
    for gone in (f"drop publication if exists {SLOT}", "drop table if exists written"):
        site.psql(site.leader(), gone, "app")
    site.deployed()


@pytest.fixture(scope="module")
def subscriber(slots: Site) -> Iterator[Site]:
    """Another PostgreSQL subscribes to what the writers write."""
    site = slots
    Writers(site, 0)
    site.psql(site.leader(), f"create publication {SLOT} for table written", "app")
    password = ENVIRONMENT["PGQUORUM_PASSWORD_ROLE_APP"].replace("\\", r"\\").replace("'", r"\'")
    source = f"host={ADDRESS[PROXY]} port=5000 dbname=app user=app sslmode=require password='{password}'".replace("'", "''")
    options = f"create_slot = false, slot_name = '{SLOT}', copy_data = false, failover = true"
    create = f"create subscription {SLOT} connection '{source}' publication {SLOT} with ({options})"
    try:
        site.on(PROXY, SERVER, timeout=300)
        ask(site, "create table written (writer int, seq int, primary key (writer, seq))")
        site.on(PROXY, f"{AS_POSTGRES} psql -h /tmp -p {PORT} -v ON_ERROR_STOP=1 -q", create)
        yield site
    finally:
        site.on(PROXY, f"{GONE} >/dev/null 2>&1 || true", timeout=300)


def rows(answer: str) -> set[str]:
    return set(answer.split())


def everywhere(site: Site) -> bool:
    """Whether every replica could take over with the slot."""
    return "slots." not in json.dumps(status(site)["findings"])


def fault(name: str) -> Callable[[Site], object]:
    return lambda site: run_one(site, name)


@pytest.mark.parametrize(
    "happens",
    [
        pytest.param(switch_over, marks=pytest.mark.long),
        fault("host-off"),
        pytest.param(fault("lagging-then-stop"), marks=pytest.mark.long),
    ],
    ids=["switchover", "host-off", "lagging-then-stop"],
)
def test_a_subscriber_has_every_row_once_whoever_leads(subscriber: Site, happens: Callable[[Site], object]) -> None:
    site = subscriber
    ask(site, "truncate written")
    writers = Writers(site)  # they make their table anew
    site.psql(site.leader(), f"alter publication {SLOT} set table written", "app")
    with writers:
        wait_until(lambda: everywhere(site), "every replica has the slot")
        happens(site)
    assert writers.lost() == set()
    every = "select writer || ',' || seq from written"
    on_leader = rows(site.psql(site.leader(), every, "app"))
    wait_until(lambda: rows(ask(site, every)) >= on_leader, "the subscriber has every row")
    assert rows(ask(site, every)) == on_leader
    # A change that came twice would break the table's primary key. PostgreSQL 17 does not count that by itself.
    if POSTGRES >= 18:
        assert ask(site, "select confl_insert_exists from pg_stat_subscription_stats") == "0"
    assert site.on(PROXY, f"grep -c 'duplicate key' {SUBSCRIBER}.log || true") == "0"


def test_a_subscriber_gets_nothing_that_only_the_primary_has(subscriber: Site) -> None:
    site = subscriber
    leader, replicas = site.leader(), site.replicas()
    mine = "select count(*) from written where writer = 99"
    insert = "insert into written values (99, 1)"
    site.on_all("kill -STOP $(pgrep -f '[w]alreceiver streaming')", replicas)
    try:  # for less than wal_sender_timeout
        site.on(leader, f"{AS_POSTGRES} timeout -s INT 2 psql -Xq -d app -c '{insert}' || true")
        assert site.psql(leader, mine, "app") == "1"
        assert ask(site, mine) == "0"
    finally:
        site.on_all("kill -CONT $(pgrep -f '[w]alreceiver streaming')", replicas)
    wait_until(lambda: ask(site, mine) == "1", "the subscriber gets it once a replica has it")


def test_a_slot_that_would_be_lost_keeps_the_primary_where_it_is(slots: Site) -> None:
    site = slots
    leader = site.leader()
    site.psql(leader, "select pg_create_logical_replication_slot('mine', 'test_decoding')", "app")
    try:
        for words in (["switchover", "--yes"], ["rolling-restart", "--yes"]):
            code, _, err = invoke(site, *words)
            assert code == 2
            assert "nothing was touched" in err and "pg_drop_replication_slot('mine')" in err, err
        assert "slots.undeclared" in json.dumps(status(site)["findings"])
        assert site.leader() == leader
    finally:
        site.psql(leader, "select pg_drop_replication_slot('mine')")


def test_the_last_slot_is_not_left_on_servers_that_would_not_start_with_it(slots: Site) -> None:
    with slots.edited("group_data/postgres.py", "postgres_slots = []"):
        run = slots.deploy("-y")
    refused(run, "nothing was changed", f"pg_drop_replication_slot('{SLOT}')")
    assert slots.changes() == 0
