"""The deploy of a cluster with pooled connections, of one without, and of one that does without from now on, in rehearsals."""

from __future__ import annotations

import json
import re

import pytest
from conftest import DATABASES, NO_DATABASES, PROXIES, ROLES, SURVEY, Answers, Rehearsal, Stage, living

from cluster import paths, pooled_roles
from cluster.databases import RESERVED
from cluster.dynamic_config import wanted_config

POOLING = "pooling = True\n"
START = "systemctl enable --now --quiet"
UNITS = ("pgquorum-pool@write-1.service", "pgquorum-pool@read-1.service")
SETTING_UP = re.compile(
    r"mktemp /etc/pgquorum/pgbouncer|now --quiet pgquorum-pool@|apt-get .*pgbouncer|mask .*pgbouncer|useradd .*pgbouncer"
)
PRIMARY: Answers = [("db1", "dathasloginevt", [NO_DATABASES]), ("db1", "/config --fail", ["{}"])]


def pool(stage: Stage, settings: str = "") -> None:
    stage.settings["pooling"] = True
    stage.write("group_data/haproxy.py", POOLING + settings)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """A deploy to blank hosts, with all that pyinfra can be made to say about it."""
    stage = Stage(tmp_path_factory.mktemp("pooling"))
    pool(stage)
    run = stage.rehearse("-y", "-vvv", "--diff", answers=PRIMARY)
    assert run.exit_code == 0, run.output
    return run


def test_a_cluster_without_pools_hears_nothing_of_them(first_deploy: Rehearsal) -> None:
    assert [c.command for c in first_deploy.commands if c.executing and SETTING_UP.search(c.command)] == []


def test_pools_begin_on_the_proxies_when_haproxy_runs(first: Rehearsal) -> None:
    for unit in UNITS:
        places = first.executed(f"{START} {unit}")
        assert {first.commands[n].host for n in places} == set(PROXIES)
        for host in PROXIES:
            assert first.last(f"{START} haproxy.service", host) < first.first(f"{START} {unit}", host)
            written = first.first(f"mktemp {paths.POOL_USERS}", host)
            assert first.last("useradd", host) < written < first.first(f"{START} {unit}", host)


def test_the_packages_own_unit_never_runs(first: Rehearsal) -> None:
    for host in PROXIES:
        (place,) = first.executed("apt-get -q", host)
        assert re.search(r"mask --runtime --quiet .*pgbouncer\.service", first.commands[place].command)
        assert first.first("mask --now --quiet pgbouncer.service", host) > place
    assert not first.executed(f"{START} pgbouncer.service")
    for host in DATABASES:
        assert not first.executed("useradd", host)


def test_pgbouncers_role_is_made_on_the_primary_with_the_others(first: Rehearsal) -> None:
    (place,) = (n for n in first.executed("psql") if "create role" in first.commands[n].stdin)
    assert 'create role "pgquorum_pooler" login;' in first.commands[place].stdin
    assert place < first.first(f"{START} {UNITS[0]}")


def test_no_password_gets_to_a_proxy_and_no_verifier_is_shown(first: Rehearsal) -> None:
    (text,) = {first.commands[n].stdin for n in first.executed(f"mktemp {paths.POOL_USERS}")}
    verifiers = re.findall(r"SCRAM-SHA-256\$\d+:[^\"]+", text)
    assert len(verifiers) == 2
    for verifier in verifiers:
        assert verifier not in first.output
        assert not any(verifier in command.command for command in first.commands)


def test_the_last_phase_writes_and_reads_through_them(first: Rehearsal) -> None:
    script = first.commands[first.last("sh -s")].stdin
    scripts = [c.stdin for c in first.commands if c.command.startswith("sh -s") and "port=5000" in c.stdin]
    assert scripts and all("port=6432" in one and "port=6433" in one for one in scripts), script


def living_cluster(stage: Stage, databases: str) -> Answers:
    """Hosts that are deployed to, with what the primary says of its roles and databases."""
    vault = stage.deployed_before()
    config = json.dumps(wanted_config(stage.cluster()))
    return [(".", SURVEY, living(vault)), ("db1", "dathasloginevt", [databases]), ("db1", "/config --fail", [config])]


def test_when_the_setting_goes_off_a_deploy_takes_all_of_it_away(stage: Stage) -> None:
    roles = {paths.POOLER_ROLE: {"login": True, "limit": -1, "password": "", "replication": False, "member_of": list(RESERVED)}}
    there = json.dumps(json.loads(NO_DATABASES) | {"roles": roles, "pooler": pooled_roles.WANTED})
    answers: Answers = [
        *living_cluster(stage, there),
        ("proxy", "ls -d /etc/systemd/system/pgquorum-pool@.service", [paths.POOL]),
        ("proxy", "systemctl list-units --all", list(UNITS)),
    ]
    run = stage.rehearse("-y", answers=answers)
    assert run.exit_code == 0, run.output
    for host in PROXIES:
        ended = run.first(f"disable --now --quiet {' '.join(UNITS)}", host)
        assert ended < run.first(f"rm -rf {paths.POOL} /etc/systemd/system/pgquorum-pool@.service", host)
    sql = "".join(run.commands[n].stdin for n in run.executed("psql"))
    assert "drop schema pgquorum_pooler cascade;" in sql and 'drop role "pgquorum_pooler";' in sql


def test_haproxy_reads_its_files_though_it_was_masked_while_packages_were_installed(stage: Stage) -> None:
    """It runs, and was kept from starting for a moment: PgBouncer comes to a host that lives."""
    pool(stage)
    shown = [
        "ActiveState=active", "UnitFileState=masked-runtime", "NeedDaemonReload=no", f"CommandLine=haproxy {paths.HAPROXY_USERS}",
        "StateChangeTimestamp=Tue 2026-11-24 13:10:24.123456 UTC", "FilesWritten=4000000000.0",
    ]  # fmt: skip
    run = stage.rehearse(
        "-y", answers=[*living_cluster(stage, NO_DATABASES), ("proxy1", "systemctl show .*haproxy.service", shown)]
    )
    assert run.exit_code == 0, run.output
    assert run.first(f"{START} haproxy.service", "proxy1") < run.first("systemctl reload haproxy.service", "proxy1")


def test_a_process_that_is_too_many_is_ended(stage: Stage) -> None:
    pool(stage)
    answers: Answers = [
        *living_cluster(stage, NO_DATABASES),
        ("proxy1", "systemctl list-units --all", [*UNITS, "pgquorum-pool@write-2.service"]),
    ]
    run = stage.rehearse("-y", answers=answers)
    assert run.exit_code == 0, run.output
    assert run.executed(
        "disable --now --quiet pgquorum-pool@write-2.service; rm -f /etc/pgquorum/pgbouncer/write-2.ini", "proxy1"
    )
    assert not run.executed("disable --now", "proxy2")


@pytest.mark.parametrize(
    ("running", "haproxy", "role", "size"), [("100 92", 100, 82, 1), ("500 492", 500, 442, 51), ("", 500, 442, 51)]
)
def test_limits_follow_max_connections_when_postgresql_has_it(
    stage: Stage, running: str, haproxy: int, role: int, size: int
) -> None:
    """One that does not answer will start with the settings."""
    pool(stage)
    stage.settings["postgres_parameters"] = {"max_connections": 500}
    stage.write("group_data/postgres.py", f"{ROLES}postgres_parameters = {{'max_connections': 500}}\n")
    answers: Answers = [("db", "superuser_reserved_connections", [running]), *living_cluster(stage, NO_DATABASES)]
    run = stage.rehearse("-y", answers=answers)
    assert run.exit_code == 0, run.output
    assert (
        "has 92 connections for applications until `invoke rolling-restart` (or" in run.output
        and "and 492 after it" in run.output
    ) is (haproxy == 100)
    proxies = "".join(run.commands[n].stdin for n in run.executed("mktemp /etc/haproxy/haproxy.cfg"))
    assert f"fe_conn gt {haproxy} }}" in proxies
    sql = "".join(run.commands[n].stdin for n in run.executed("psql"))
    assert f"connection limit {role}" in sql
    pools = "".join(run.commands[n].stdin for n in run.executed("mktemp /etc/pgquorum/pgbouncer/write.ini"))
    assert f"pool_size={size} " in pools


SINCE = "Tue 2026-11-24 13:10:24.123456 UTC"
RUNS = [
    "ActiveState=active", "UnitFileState=enabled", "NeedDaemonReload=no", "FilesWritten=1.0",
    f"StateChangeTimestamp={SINCE}", f"ExecMainStartTimestamp={SINCE}",
]  # fmt: skip
DUE = [*RUNS[:3], "FilesWritten=4000000000.0", *RUNS[4:]]


def test_what_is_too_many_ends_before_one_is_started_that_shares_its_port_no_more(stage: Stage) -> None:
    pool(stage)
    answers: Answers = [
        *living_cluster(stage, NO_DATABASES),
        ("proxy1", "systemctl list-units --all", [*UNITS, "pgquorum-pool@write-2.service", "pgquorum-pool@read-2.service"]),
        ("proxy1", "systemctl show .*pgquorum-pool@(write|read)-1.* /etc/pgquorum/pgbouncer/(write|read)-1.ini ", DUE),
        ("proxy1", "systemctl show .*pgquorum-pool@", RUNS),
    ]
    run = stage.rehearse("-y", answers=answers)
    assert run.exit_code == 0, run.output
    ended = run.first("disable --now --quiet pgquorum-pool@write-2.service pgquorum-pool@read-2.service", "proxy1")
    restarts = [run.first(f"systemctl restart {unit}", "proxy1") for unit in UNITS]
    assert ended < min(restarts)


@pytest.mark.parametrize(
    ("write", "read", "stopped"),
    [
        (6433, 6432, UNITS),  # each where the other one was
        (6433, 6434, UNITS[1:]),
        (6431, 6432, UNITS[:1]),
        (6532, 6533, ()),
    ],
)
def test_who_listens_where_another_one_is_to_is_stopped_before_any_is_started(
    stage: Stage, write: int, read: int, stopped: tuple[str, ...]
) -> None:
    stage.settings |= {"pooling_write_port": write, "pooling_read_port": read}
    pool(stage, f"pooling_write_port = {write}\npooling_read_port = {read}\n")
    (_, _, lived), *others = living_cluster(stage, NO_DATABASES)  # type: ignore[misc]
    # The survey tells of the ports that the settings have.
    listens = [
        f"listener {port} {unit} pgbouncer" for port, unit in zip((6432, 6433), UNITS, strict=True) if port in (write, read)
    ]
    answers: Answers = [
        ("proxy1", SURVEY, [*lived, *listens]), (".", SURVEY, lived), *others,
        ("proxy1", "systemctl show .*pgquorum-pool@(write|read)-1.* /etc/pgquorum/pgbouncer/(write|read)-1.ini ", DUE),
        ("proxy1", "systemctl show .*pgquorum-pool@", RUNS),
    ]  # fmt: skip
    run = stage.rehearse("-y", answers=answers)
    assert run.exit_code == 0, run.output
    restarts = [run.first(f"systemctl restart {unit}", "proxy1") for unit in UNITS]
    stops = run.executed("systemctl stop pgquorum-pool@", "proxy1")
    assert [run.commands[n].command for n in stops if n < min(restarts)] == [
        f"systemctl stop {' '.join(stopped)}" for _ in stopped[:1]
    ]


def test_pools_that_do_not_fit_are_refused_before_anything_is_touched(stage: Stage) -> None:
    pool(stage)
    stage.write("group_data/haproxy.py", f"{POOLING}pooling_pool_size = 90\n")
    run = stage.rehearse("-y")
    assert run.exit_code != 0 and run.changed_nothing
    assert "pooling_pool_size = 90: 4 processes of PgBouncer" in run.output
    assert "max_connections = 100): should be at most 13" in run.output
