"""Pooled connections: how large pools are, what does not fit, who may come in, and where clients are sent."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from clusters import cluster, hosts, problems

from cluster import paths, pooled_roles, pooling
from cluster.components import COMPONENTS
from cluster.connections import used
from cluster.databases import RESERVED, wanted_roles
from cluster.errors import ClusterError
from cluster.topology import Cluster, Sessions
from cluster.vault import Vault
from day2.commands.connect.clients import UNBOUND, dsn
from day2.hosts.dsn import application
from day2.load.workload import Workload
from day2.predictions.prediction import Effect, Prediction
from operations import pgbouncer
from operations.context import Run
from operations.managed import render

OF_APP: dict[str, Any] = {"postgres_roles": [{"name": "app"}], "postgres_databases": [{"name": "app", "owner": "app"}]}


def pooled(**settings: Any) -> Cluster:
    return cluster(**OF_APP | {"pooling": True} | settings)


def refused(**settings: Any) -> list[str]:
    return problems(hosts(**OF_APP | {"pooling": True} | settings))


def connections(number: int) -> dict[str, Any]:
    return {"postgres_parameters": {"max_connections": number}}


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({}, 13),  # 92 of 100 for applications, half of that for two processes, 10 in each for the tool
        (connections(200), 38),
        (connections(200) | {"pooling_processes": 2}, 14),
        (connections(200) | {"postgres_databases": [{"name": n, "owner": "app"} for n in ("a", "b", "c")]}, 12),
        ({"pooling_pool_size": 30}, 30),
    ],
)
def test_pools_take_half_of_what_applications_have(settings: dict[str, Any], size: int) -> None:
    of = pooled(**settings)
    assert pooling.pool_size(of) == size
    databases, processes = len(of.postgres.databases), 2 * of.haproxy.pooling_processes
    assert pooling.taken(of) == processes * (size * databases + 10) <= of.for_applications


@pytest.mark.parametrize(
    ("settings", "running", "size", "of_role"),
    [
        ({}, Sessions(100, 92), 13, None),
        ({"pooling_pool_size": 60}, Sessions(100, 92), 36, None),
        ({"pooling_processes": 8}, Sessions(100, 92), 1, None),
        ({"pooling_processes": 8, "postgres_databases": [{"name": n, "owner": "app"} for n in "abcdef"]}, Sessions(30, 15), 1, 1),
    ],
)
def test_pools_keep_to_what_there_is_until_the_restart(
    settings: dict[str, Any], running: Sessions, size: int, of_role: int | None
) -> None:
    """PgBouncer takes a zero for no limit at all."""
    of = replace(pooled(**connections(2000) | settings), running=running)
    assert pooling.pool_size(of) == size
    assert pooling.most_of_role(of, of.postgres.roles[0]) == of_role


def test_a_size_that_does_not_fit_is_refused_with_the_largest_that_does() -> None:
    assert refused(pooling_pool_size=36) == []
    (said,) = refused(pooling_pool_size=37)
    assert said == (
        "pooling_pool_size = 37: 2 processes of PgBouncer (2 ports, pooling_processes, hosts) with 1 database would take 94"
        " connections, and PostgreSQL has 92 for applications (max_connections = 100): should be at most 36"
    )
    (said,) = refused(**connections(200), pooling_pool_size=37, pooling_processes=4)
    assert said.endswith("should be at most 14")


def test_more_processes_than_there_are_connections_for_are_refused() -> None:
    (said,) = refused(pooling_processes=8)
    assert said == (
        "pooling = True: 16 processes of PgBouncer (2 ports, pooling_processes, hosts) with 1 database need at least 176"
        " connections, and may have 46 (max_connections = 100): raise max_connections in postgres_parameters, or have fewer"
        " pooling_processes"
    )
    assert problems(hosts(**OF_APP, pooling_processes=8)) == []  # nobody runs them


def test_haproxy_lets_all_connections_of_its_pools_through() -> None:
    many = connections(2000) | {"pooling_pool_size": 600}
    assert refused(**many) == []
    (said,) = refused(**many, haproxy_max_connections=600)
    assert said.startswith("haproxy_max_connections = 600: the pools of one port may take 610 of them (pooling = True)")


def test_a_role_never_comes_to_its_limit() -> None:
    few = [{"name": "app", "connection_limit": 9}, {"name": "all", "connection_limit": -1}, {"name": "most"}]
    of = pooled(postgres_roles=few)
    assert [pooling.most_of_role(of, role) for role in of.postgres.roles] == [4, None, None]
    (said,) = refused(postgres_roles=[{"name": "app", "connection_limit": 1}])
    assert said.startswith("postgres_roles: 'app' has connection_limit = 1: should be at least 2, one for each of 2 processes")


@pytest.mark.parametrize("setting", ["postgres_databases", "postgres_roles"])
def test_what_pgbouncer_calls_its_console_is_nobodys_name(setting: str) -> None:
    named = {
        "postgres_databases": [{"name": "pgbouncer", "owner": "app"}],
        "postgres_roles": [{"name": "app"}, {"name": "pgbouncer"}],
    }
    assert refused(**{setting: named[setting]}) == [f"{setting}: 'pgbouncer' is what PgBouncer calls its console: pooling = True"]
    assert problems(hosts(**OF_APP | {setting: named[setting]})) == []


def test_ports_are_checked_where_there_are_pools_alone() -> None:
    assert refused(pooling_write_port=5000) == [
        "haproxy_write_port and pooling_write_port are both 5000 on proxy1: choose different ports"
    ]
    assert problems(hosts(pooling_write_port=5000)) == []


def test_without_pools_nothing_of_them_is_anywhere() -> None:
    of = cluster(**OF_APP)
    assert pooling.processes(of) == of.pooler_hosts == ()
    (component,) = (one for one in COMPONENTS if one.name == "pgbouncer")
    assert of.carriers(component) == ()
    assert not any(one.port in component.ports for one in used(of))
    assert "pgbouncer" not in of.packages(of.host("proxy1"))
    assert "pgbouncer" in pooled().packages(pooled().host("proxy1"))
    assert "pgbouncer" not in pooled().packages(pooled().host("db1"))


# Who may come in.


def live(**of: Any) -> dict[str, Any]:
    return {"roles": {}, "pooler": None} | of


MADE = {paths.POOLER_ROLE: pooled_roles.AS_MADE | {"member_of": list(RESERVED)}}


def test_pgbouncer_gets_a_role_without_a_password_and_a_function_that_answers_to_it_alone() -> None:
    sql = list(pooled_roles.statements(pooled(), live(), RESERVED))
    assert sql[0] == 'create role "pgquorum_pooler" login;'
    assert "revoke all on function pgquorum_pooler.verifier(text) from public;" in sql
    (function,) = (line for line in sql if line.startswith("create function"))
    assert "security definer set search_path = pg_catalog, pg_temp\nas" in function
    assert list(pooled_roles.statements(pooled(), live(roles=MADE, pooler=pooled_roles.WANTED), RESERVED)) == []


@pytest.mark.parametrize(("what", "value"), [("login", False), ("replication", True), ("limit", 0), ("password", "0" * 64)])
def test_pgbouncers_role_is_mended(what: str, value: object) -> None:
    changed = {paths.POOLER_ROLE: MADE[paths.POOLER_ROLE] | {what: value}}
    [sql] = pooled_roles.statements(pooled(), live(roles=changed, pooler=pooled_roles.WANTED), RESERVED)
    assert sql == 'alter role "pgquorum_pooler" login noreplication connection limit -1 password null;'


@pytest.mark.parametrize("key", pooled_roles.WANTED)
def test_a_function_that_was_changed_is_made_anew(key: str) -> None:
    sql = list(pooled_roles.statements(pooled(), live(roles=MADE, pooler=pooled_roles.WANTED | {key: None}), RESERVED))
    assert [line.partition(" pgquorum_pooler")[0] for line in sql[:2]] == ["drop schema if exists", "create schema"]


def test_both_go_when_there_are_no_pools_any_more() -> None:
    sql = list(pooled_roles.statements(cluster(), live(roles=MADE, pooler=pooled_roles.WANTED), RESERVED))
    assert sql == ["drop schema pgquorum_pooler cascade;", 'drop owned by "pgquorum_pooler";', 'drop role "pgquorum_pooler";']
    assert list(pooled_roles.statements(cluster(), live(), RESERVED)) == []


@pytest.fixture
def run(tmp_path: Path) -> Run:
    roles = [{"name": "app"}, {"name": "feed", "replication": True}]
    of = pooled(postgres_roles=roles, pooling_processes=2, secrets_directory=str(tmp_path), certificate_names=["pg.example"])
    return cast(Run, SimpleNamespace(cluster=of, vault=Vault(of, {}), host=of.host("proxy1")))


def written(run: Run, name: str) -> str:
    (text,) = (file.content for file in pgbouncer.files(run) if file.path == f"{paths.POOL}/{name}" and file.content)
    return text


def test_the_file_has_the_very_verifiers_of_the_server_and_no_password(run: Run) -> None:
    server = {role.name: role.verifier for role in wanted_roles(run.cluster, run.vault)}
    lines = dict(line.strip('"').split('" "') for line in written(run, "users.txt").splitlines())
    assert lines == {name: server[name] for name in ("pgquorum_probe", "app")}  # not who may replicate
    everything = "".join(file.content or "" for file in pgbouncer.files(run))
    assert not any(secret in everything for secret in run.vault.all_secrets())


def test_keys_and_verifiers_are_its_users_alone(run: Run) -> None:
    private = {file.path: (file.owner, file.group, file.mode, file.secret) for file in pgbouncer.files(run) if file.mode == "640"}
    assert private == dict.fromkeys((f"{paths.POOL_TLS}/server.key", paths.POOL_USERS), ("root", paths.POOL_USER, "640", True))


def test_its_certificate_bears_all_names_of_the_cluster(run: Run) -> None:
    """One more of the owner's makes it anew."""
    before = run.vault.certificate("proxy1", "pgbouncer").certificate
    run.vault.save()
    same = Vault(run.cluster, {})
    assert same.certificate("proxy1", "pgbouncer").certificate == before
    settings = {"secrets_directory": run.cluster.all.secrets_directory, "pooling_processes": 2}
    other = Vault(pooled(certificate_names=["pg.example", "db.example"], **settings), {})
    assert other.certificate("proxy1", "pgbouncer").certificate != before


def test_the_systems_roles_are_barred_before_anybody_is_let_in(run: Run) -> None:
    rules = [line for line in written(run, "hba.conf").splitlines() if not line.startswith("#")]
    assert rules == [
        "host pgquorum_verifiers all all reject",
        "host all postgres,replicator,rewinder,pgquorum_pooler all reject",
        "hostssl all all 10.0.0.0/24 scram-sha-256",
    ]


def test_each_process_has_a_socket_and_a_number_of_its_own(run: Run) -> None:
    for name, port in (("write-1", 6432), ("write-2", 6432), ("read-1", 6433), ("read-2", 6433)):
        text = written(run, f"{name}.ini")
        for line in (
            f"listen_port = {port}",
            "so_reuseport = 1",
            f"unix_socket_dir = /run/pgquorum-pool/{name}",
            f"peer_id = {name[-1]}",
        ):
            assert f"\n{line}\n" in text
    assert "2 = host=/run/pgquorum-pool/read-2 port=6433" in written(run, "read.ini")
    assert "app = host=10.0.0.9 port=5001 dbname=app" in written(run, "read.ini")
    assert "app = host=10.0.0.9 port=5000 dbname=app" in written(run, "write.ini")


def test_clients_by_another_kind_of_address_restart_no_process(run: Run) -> None:
    """Where it listens is read at a start alone; who may come in at any time."""
    of = pooled(client_networks=["10.0.0.0/24", "fd00::/64"], pooling_processes=2)
    both = cast(Run, SimpleNamespace(cluster=of, vault=run.vault, host=of.host("proxy1")))
    assert written(both, "write-1.ini") == written(run, "write-1.ini")
    assert "\nlisten_addr = 0.0.0.0,::\n" in written(run, "write-1.ini")
    assert "hostssl all all fd00::/64 scram-sha-256" in written(both, "hba.conf")


def test_haproxy_lets_its_own_host_in_and_takes_it_for_many() -> None:
    """It would else give it the share of one client."""
    text = render("haproxy/haproxy.cfg.j2", cluster=pooled(), host=pooled().host("proxy1"))
    assert text.count("reject if !{ src 10.0.0.0/24 10.0.0.9 }") == 2
    assert len(re.findall(r"sc0_conn_cur gt \d+ \} !\{ src 10\.0\.0\.9 \}\n", text)) == 2
    without = render("haproxy/haproxy.cfg.j2", cluster=cluster(**OF_APP), host=pooled().host("proxy1"))
    assert "10.0.0.9" not in without


# The connection string.


def test_a_pooled_connection_asks_for_no_channel_binding_which_is_said(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.vault.save()
    for read_only, port in ((False, "6432"), (True, "6433")):
        assert dsn(run.cluster, role=None, database=None, read_only=read_only, with_password=False, pooled=True) == 0
        out, err = capsys.readouterr()
        assert f"port={port} " in out and "channel_binding" not in out and "sslmode=verify-full" in out
        assert UNBOUND in err
    assert application(run.cluster, role=None, database=None, read_only=False)["channel_binding"] == "require"


def test_pools_that_are_not_there_and_roles_that_may_not_come_in_are_refused(run: Run) -> None:
    with pytest.raises(ClusterError, match=r"^--pooled: pooling = False, so no connections are pooled: set it in group_data/hap"):
        application(cluster(**OF_APP), role=None, database=None, read_only=False, pooled=True)
    with pytest.raises(ClusterError, match=r"^--pooled: 'feed' may replicate \(postgres_roles\), and no such role"):
        application(run.cluster, role="feed", database="app", read_only=False, pooled=True)


def test_what_is_predicted_of_a_fault_gives_pools_the_time_to_connect_anew() -> None:
    plain = Prediction(Effect.FAILS_OVER, 10.0, "the key ends")
    assert (plain.pooled().within, plain.pooled().why) == (13.0, "the key ends; then PgBouncer connects anew")
    assert plain.pooled().effect is plain.effect


def test_writers_through_pools_take_the_server_from_each_answer() -> None:
    """The connection may lead to another one than when it began; and what a pool says of itself is what it heard long ago."""
    straight, through = (Workload({}, "secret", 1, pooled=pooled) for pooled in (False, True))
    assert "RETURNING server, timeline" in through._insert.as_string() and "RETURNING" not in straight._insert.as_string()
    assert straight._sessions.parameters["target_session_attrs"] == "read-write"
    assert "target_session_attrs" not in through._sessions.parameters
