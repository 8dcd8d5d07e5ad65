"""PostgreSQL's parameters are judged as the server would, by what it says about itself."""

from __future__ import annotations

from typing import Any

import pytest
from clusters import cluster, hosts, problems
from hypothesis import given
from hypothesis import strategies as st

from cluster.dynamic_config import postgres_parameters
from cluster.parameters import (
    DURABLE,
    OWNED,
    PATRONIS_LEAST,
    VERSIONS,
    in_one_unit,
    is_as,
    known_parameters,
    normalize,
    parameter_problems,
    spelled,
)

# What looks like a number to PostgreSQL, or nearly so.
NUMBERS = st.from_regex(r"[+-]?(0x)?[0-9a-fA-F]{1,30}([.][0-9]+)?(e[0-9]{1,4})? ?(kB|MB|TB|ms|d)?", fullmatch=True)


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("work_mem", "64MB", "65536kB"),
        ("work_mem", 4096, "4MB"),
        ("work_mem", "0.5GB", "512MB"),
        ("shared_buffers", 32768, "256MB"),
        ("shared_buffers", "256 MB", "262144kB"),
        ("max_wal_size", "2GB", 2048),
        ("checkpoint_timeout", "5min", 300),
        ("checkpoint_timeout", "300s", "300000ms"),
        ("statement_timeout", "1.5s", 1500),
        ("jit", True, "on"),
        ("jit", "YES", 1),
        ("jit", False, "off"),
        ("random_page_cost", "1.10", 1.1),
        ("wal_level", "Logical", "logical"),
        ("wal_compression", "on", True),
        ("log_file_mode", "0640", 0o640),
        ("log_file_mode", "0x1A0", 0o640),
        ("work_mem", "010MB", "8MB"),
        ("random_page_cost", "01.1", 1.1),
    ],
)
def test_two_ways_to_say_the_same(name: str, one: object, other: object) -> None:
    assert normalize(name, one) == normalize(name, other)


@pytest.mark.parametrize(
    ("name", "one", "other"), [("work_mem", "64MB", "64kB"), ("jit", "on", "off"), ("wal_level", "replica", "logical")]
)
def test_two_different_values(name: str, one: object, other: object) -> None:
    assert normalize(name, one) != normalize(name, other)


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("work_mem", "63kB", "should be from 64 to 2147483647 (in units of kB)"),
        ("work_mem", "4KB", "should be a whole number, alone or with one of the units B, kB, MB, GB, TB"),
        ("work_mem", "4min", "alone or with one of the units B, kB"),
        ("checkpoint_timeout", "1MB", "alone or with one of the units us, ms, s, min, h, d"),
        ("max_connections", "many", "should be a whole number"),
        ("random_page_cost", "cheap", "should be a number"),
        ("jit", "2", "should be 'on' or 'off'"),
        ("log_min_messages", "loud", "should be one of debug5"),
        ("log_file_mode", "0680", "begins with 0 and so should be octal"),
        ("log_file_mode", "0x200", "should be from 0 to 511"),
        ("work_mem", "1e999", "should be from 64 to 2147483647"),
        ("work_mem", "0x" + "f" * 400, "should be from 64 to 2147483647"),
        ("max_connections", 20, "should be at least 25: below, Patroni uses a value of its own without a word"),
        ("max_wal_senders", "2", "should be at least 3"),
        ("wal_keep_size", 0, "should be at least 16MB"),
        ("fsync", "off", "should be on: else acknowledged writes may be lost in a crash"),
        ("full_page_writes", False, "should be on"),
        ("data_sync_retry", "on", "should be off"),
        ("recovery_min_apply_delay", "5min", "is decided by Patroni, which says how replicas recover"),
        ("logging_collector", "on", "is decided by the journal"),
    ],
)
def test_a_value_the_server_would_refuse(name: str, value: object, right: str) -> None:
    (problem,) = parameter_problems({name: value})
    assert problem.startswith(f"postgres_parameters[{name}] = {value!r}: ")
    assert right in problem


@pytest.mark.parametrize("name", ["block_size", "server_version", "data_checksums"])
def test_what_can_only_be_read(name: str) -> None:
    assert list(parameter_problems({name: "1"})) == [f"postgres_parameters[{name}] = '1': can only be read, not set"]


@pytest.mark.parametrize("name", sorted(OWNED))
def test_what_the_tool_decides_is_refused_and_says_by_what(name: str) -> None:
    (problem,) = parameter_problems({name: "x"})
    assert problem == f"postgres_parameters[{name}] = 'x': is decided by {OWNED[name]}"


def test_logical_decoding_may_be_asked_for() -> None:
    assert list(parameter_problems({"wal_level": "logical"})) == []
    assert list(parameter_problems({"wal_level": "minimal"})) != []


def test_what_belongs_to_an_extension_is_left_to_the_server() -> None:
    assert list(parameter_problems({"pg_stat_statements.max": 1000, "shared_preload_libraries": "pg_stat_statements"})) == []


@pytest.mark.parametrize(
    ("name", "values", "shown"),
    [
        ("shared_buffers", ("1GB", "32768"), ("1024MB", "256MB")),  # what has no unit is in blocks of 8kB
        ("work_mem", ("4MB", "1000kB"), ("4096kB", "1000kB")),
        ("max_slot_wal_keep_size", ("8GB", "-1"), ("8GB", "-1")),
        ("log_min_duration_statement", ("1s", "250"), ("1000ms", "250ms")),
        ("checkpoint_timeout", ("300", "1h"), ("5min", "60min")),
        ("vacuum_cost_delay", ("0.5ms", "2"), ("500us", "2000us")),
        ("autovacuum_vacuum_cost_delay", ("2ms", "1.00001"), ("2ms", "1ms")),
        ("max_connections", (200, "100"), (200, "100")),
        ("work_mem", ("4MB", "much"), ("4MB", "much")),
    ],
)
def test_values_side_by_side_have_one_unit(name: str, values: tuple[object, ...], shown: tuple[object, ...]) -> None:
    assert in_one_unit(name, *values) == shown


@pytest.mark.parametrize(
    ("name", "told", "wanted"),
    [
        ("DateStyle", "ISO, DMY", "iso, dmy"),
        ("DateStyle", "ISO, DMY", "European,ISO"),
        ("DateStyle", "German, DMY", "german"),
        ("client_encoding", "UTF8", "utf-8"),
        ("default_text_search_config", "pg_catalog.english", "english"),
        ("wal_compression", "pglz", "on"),
        ("IntervalStyle", "iso_8601", "ISO_8601"),
        ("work_mem", "65536", "64MB"),
    ],
)
def test_what_postgresql_writes_in_its_own_way_is_no_other_value(name: str, told: str, wanted: str) -> None:
    assert is_as(name, told, wanted) and is_as(name, wanted, wanted)


@pytest.mark.parametrize(
    ("name", "told", "wanted"),
    [
        ("DateStyle", "ISO, MDY", "iso, dmy"),
        ("DateStyle", "SQL, DMY", "iso, dmy"),
        ("client_encoding", "UTF8", "latin1"),
        ("default_text_search_config", "pg_catalog.german", "english"),
        ("default_text_search_config", "pg_catalog.english", "shop.english"),
        ("wal_compression", "lz4", "on"),
        ("search_path", "A", "a"),
    ],
)
def test_and_another_one_is(name: str, told: str, wanted: str) -> None:
    assert not is_as(name, told, wanted)


def test_which_need_a_restart() -> None:
    known = known_parameters()
    assert all(known[name].needs_restart for name in ("shared_buffers", "max_connections", "max_worker_processes"))
    assert not any(known[name].needs_restart for name in ("work_mem", "max_wal_size", "log_min_duration_statement"))


def test_every_row_of_the_table_can_be_judged() -> None:
    for name, parameter in known_parameters().items():
        if parameter.kind in ("integer", "real"):
            assert normalize(name, parameter.minimum) <= normalize(name, parameter.maximum), name  # type: ignore[operator]
        elif parameter.kind == "enum":
            assert [normalize(name, choice) for choice in parameter.choices] == list(parameter.choices), name


def test_what_is_not_durable_is_the_owners_choice_when_nothing_is_promised() -> None:
    assert list(parameter_problems({"fsync": "off", "full_page_writes": "off"}, durable=False)) == []


@pytest.mark.parametrize("name", sorted(PATRONIS_LEAST | DURABLE))
def test_what_is_judged_by_its_value_is_a_parameter(name: str) -> None:
    assert name in known_parameters() and name not in OWNED


@pytest.mark.parametrize(
    ("name", "own"), [("timezone", "TimeZone"), ("DATESTYLE", "DateStyle"), ("Work_Mem", "work_mem"), ("x", "x")]
)
def test_a_name_is_taken_in_any_case(name: str, own: str) -> None:
    assert spelled(name) == own
    if own != "x":
        assert own in postgres_parameters(cluster(postgres_parameters={name: "4MB" if own == "work_mem" else "ISO"}))


def test_a_parameter_that_is_there_twice_is_refused() -> None:
    (said,) = problems(hosts(postgres_parameters={"work_mem": "4MB", "WORK_MEM": "8MB"}))
    assert "has work_mem twice: should have it once" in said


@given(st.sampled_from(sorted(known_parameters())), st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), NUMBERS))
def test_any_value_is_accepted_or_refused_by_a_sentence(name: str, value: object) -> None:
    for problem in parameter_problems({name: value}):
        assert problem.startswith(f"postgres_parameters[{name}] = {value!r}: ")


def test_a_parameter_is_judged_by_the_version_that_is_deployed() -> None:
    (said,) = problems(hosts(postgres_version=17, postgres_parameters={"io_method": "worker"}))
    assert said == "postgres_parameters[io_method] = 'worker': PostgreSQL 17 has no such parameter"
    assert problems(hosts(postgres_version=18, postgres_parameters={"io_method": "worker"})) == []
    assert problems(hosts(postgres_version=17, postgres_parameters={"SSL_ECDH_CURVE": "prime256v1"})) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_what_the_tool_sets_is_known_to_every_version(version: int) -> None:
    of = cluster(
        postgres_version=version,
        postgres_databases=[{"name": "app", "owner": "app"}],
        postgres_roles=[{"name": "app"}],
        postgres_slots=[{"name": "changes", "database": "app"}],
    )
    assert set(postgres_parameters(of)) <= set(known_parameters(version))


@pytest.mark.parametrize(("given", "directory"), [({}, "17/pgquorum"), ({"postgres_data_directory": "/data/17/x"}, "/data/17/x")])
def test_the_data_lies_where_the_packages_of_the_version_have_it(given: dict[str, str], directory: str) -> None:
    assert cluster(postgres_version=17, **given).postgres.data_directory.endswith(directory)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"postgres_parameters": {"wal_receiver_status_interval": "0s"}}, "wal_receiver_status_interval] = '0s': replicas would"),
        ({"postgres_parameters": {"event_triggers": "off"}, "weaker_commits": "refuse"}, "event_triggers] = 'off': weaker_"),
    ],
)
def test_what_would_break_a_promise_beside_another_setting_is_refused(settings: dict[str, Any], told: str) -> None:
    (one,) = problems(hosts(**settings))
    assert told in one


def test_and_not_where_nothing_is_promised() -> None:
    lax = {"durability": "asynchronous", "weaker_commits": "tell"}
    assert problems(hosts(postgres_parameters={"wal_receiver_status_interval": 0, "event_triggers": False}, **lax)) == []
