"""Settings are checked as a whole, before any host is touched: each mistake has its sentence, and all are told at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from clusters import NEEDED, cluster, hosts, problems

from cluster.building import RawHost, build
from cluster.contradictions import OF_POSTGRESQL
from cluster.errors import ClusterError, SettingsError
from cluster.settings import RENAMED
from cluster.values import parse_size
from cluster.vault import Vault


def test_a_cluster_of_defaults() -> None:
    made = cluster()
    assert (made.name, made.all.durability, made.all.failover_profile) == ("shop", "quorum", "lan")
    assert [h.name for h in made.hosts] == ["db1", "db2", "db3", "proxy1"]
    assert [h.address for h in made.etcd_hosts] == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert made.postgres_hosts == made.etcd_hosts
    assert made.host("proxy1") == made.haproxy_hosts[0]


def test_hosts_are_ordered_by_name_whatever_the_inventory_says() -> None:
    backwards = dict(reversed(hosts().items()))
    assert build(backwards) == cluster()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        # unknown, with the nearest name
        ({"durabilty": "quorum"}, "durabilty is not a setting (did you mean 'durability'?)"),
        ({"postgres_prot": 5433}, "postgres_prot is not a setting (did you mean 'postgres_port'?)"),
        ({"zzz": 1}, "zzz is not a setting"),
        ({"failover_timing": {"tll": 30}}, "failover_timing[tll] is not a timer (did you mean 'ttl'?)"),
        ({"postgres_roles": [{"name": "a", "passwort": "x"}]}, "postgres_roles[0][passwort] is not a setting"),
        (
            {"postgres_parameters": {"work_men": "4MB"}},
            "postgres_parameters[work_men] = '4MB': PostgreSQL 18 has no such parameter (did you mean 'work_mem'?)",
        ),
        # mistyped
        ({"postgres_port": "5432"}, "postgres_port = '5432': should be a whole number"),
        ({"postgres_port": True}, "postgres_port = True: should be a whole number"),
        ({"etcd_quota": "2 gigs"}, "etcd_quota = '2 gigs': should be a size such as '64MB' or '2GB'"),
        ({"postgres_version": 16}, "postgres_version = 16: should be 17 or 18"),
        ({"without_replica": "stop"}, "without_replica = 'stop': should be 'wait' or 'continue'"),
        ({"durability": "yes"}, "durability = 'yes': should be 'quorum', 'all', 'synchronous' or 'asynchronous'"),
        ({"failover_profile": "fast"}, "failover_profile = 'fast': should be 'lan', 'standard' or 'wan'"),
        (
            {"cluster_name": "Shop 1"},
            "cluster_name = 'Shop 1': should be a lower-case letter followed by up to 30 letters, digits and hyphens",
        ),
        (
            {"certificate_names": ["DB.example"]},
            "certificate_names[0] = 'DB.example': should be an IP address or a name as in DNS, in lower-case letters",
        ),
        (
            {"postgres_roles": [{"name": "App"}]},
            "postgres_roles[0][name] = 'App': should be lower-case letters, digits and underscores, at most 63, not starting"
            " with a digit",
        ),
        (
            {"postgres_data_directory": "/data"},
            "postgres_data_directory = '/data': should be an absolute path at least two levels deep, of letters, digits"
            " and . _ - /",
        ),
        (
            {"postgres_wal_directory": "../wal"},
            "postgres_wal_directory = '../wal': should be an absolute path at least two levels deep, of letters, digits"
            " and . _ - /",
        ),
        (
            {"postgres_data_directory": "/home/postgres/data"},
            "postgres_data_directory = '/home/postgres/data': should be elsewhere: it is under /home, from which systemd"
            " keeps the services",
        ),
        (
            {"etcd_data_directory": "/tmp/etcd"},
            "etcd_data_directory = '/tmp/etcd': should be elsewhere: it is under /tmp, which does not outlive a reboot",
        ),
        ({"postgres_parameters": {"work_mem": "4 megs"}}, "postgres_parameters[work_mem] = '4 megs': should be a whole number"),
        ({"postgres_parameters": {"jit": "maybe"}}, "postgres_parameters[jit] = 'maybe': should be 'on' or 'off'"),
        # out of range
        ({"postgres_port": 0}, "postgres_port = 0: should be at least 1"),
        ({"haproxy_read_port": 65536}, "haproxy_read_port = 65536: should be at most 65535"),
        ({"certificate_days": 30}, "certificate_days = 30: should be at least 90"),
        ({"downgrade_from": 0.3}, "downgrade_from = 0.3: should be a version such as '0.2.0'"),
        ({"downgrade_from": True}, "downgrade_from = True: should be a version such as '0.2.0'"),
        ({"etcd_compaction_hours": 0}, "etcd_compaction_hours = 0: should be at least 1"),
        ({"etcd_quota": "1MB"}, "etcd_quota = '1MB': should be at least 67108864"),
        (
            {"postgres_parameters": {"max_connections": 0}},
            "postgres_parameters[max_connections] = 0: should be from 1 to 262143",
        ),
        # contradictory
        (
            {"haproxy_read_port": 5000},
            "haproxy_write_port and haproxy_read_port are both 5000 on proxy1: choose different ports",
        ),
        ({"patroni_port": 2379}, "etcd_client_port and patroni_port are both 2379 on db1, db2, db3: choose different ports"),
        (
            {"failover_timing": {"ttl": 21, "loop_wait": 2, "retry_timeout": 10}},
            "failover timing: ttl = 21: must be at least loop_wait + 2 * retry_timeout = 2 + 2 * 10 = 22 seconds",
        ),
        ({"client_networks": []}, "client_networks = (): name at least one network"),
        (
            {"postgres_databases": [{"name": "shop", "owner": "shpo"}], "postgres_roles": [{"name": "shop"}]},
            "postgres_databases: 'shop' is owned by 'shpo', which is not in postgres_roles (did you mean 'shop'?)",
        ),
        (
            {"postgres_roles": [{"name": "a", "member_of": ["b"]}]},
            "postgres_roles: 'a' is a member of 'b', which is not in postgres_roles",
        ),
        (
            {"postgres_roles": [{"name": "reports", "member_of": ["pg_read_all_dataa"]}]},
            "postgres_roles: 'reports' is a member of 'pg_read_all_dataa', which PostgreSQL 18 does not have"
            " (did you mean 'pg_read_all_data'?)",
        ),
        (
            {"postgres_roles": [{"name": "a", "member_of": ["pg_signal_autovacuum_worker"]}], "postgres_version": 17},
            "postgres_roles: 'a' is a member of 'pg_signal_autovacuum_worker', which PostgreSQL 17 does not have",
        ),
        (
            {"postgres_roles": [{"name": "a", "member_of": ["pg_database_owner"]}]},
            "postgres_roles: 'a' is a member of 'pg_database_owner', of which PostgreSQL lets nobody be one",
        ),
        (
            {"postgres_roles": [{"name": "reports"}, {"name": "a", "member_of": ["report"]}]},
            "postgres_roles: 'a' is a member of 'report', which is not in postgres_roles (did you mean 'reports'?)",
        ),
        (
            {"postgres_roles": [{"name": "a", "member_of": ["a"]}]},
            "postgres_roles: 'a' is a member of itself, by its member_of",
        ),
        ({"postgres_roles": [{"name": "a"}, {"name": "a"}]}, "postgres_roles: 'a' is there 2 times"),
        (
            {"postgres_roles": [{"name": "replicator"}]},
            "postgres_roles: 'replicator' is a name that PostgreSQL or this tool keeps for itself",
        ),
        (
            {"postgres_databases": [{"name": "template1", "owner": "a"}], "postgres_roles": [{"name": "a"}]},
            "postgres_databases: 'template1' is a name that PostgreSQL or this tool keeps for itself",
        ),
        ({"postgres_parameters": {"ssl": "off"}}, "postgres_parameters[ssl] = 'off': is decided by TLS, which is always on"),
        (
            {"postgres_parameters": {"synchronous_commit": "off"}},
            "postgres_parameters[synchronous_commit] = 'off': is decided by durability",
        ),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_refused(settings: dict[str, object], sentence: str) -> None:
    found = problems(hosts(**settings))
    assert len(found) == 1, found
    assert found[0].startswith(sentence)


@pytest.mark.parametrize(
    "settings",
    [
        {"failover_timing": {"fall": 0}},
        {"failover_timing": {"rise": -1}},
        {"failover_timing": {"inter_ms": 0}},
        {"failover_timing": {"downinter_ms": -500}},
        {"failover_timing": {"heartbeat_ms": 0}},
        {"failover_timing": {"primary_start_timeout": -1}},
        {"failover_timing": {"ttl": 19}},
    ],
)
def test_a_timer_out_of_range_is_refused_by_name(settings: dict[str, dict[str, int]]) -> None:
    (timer,) = settings["failover_timing"]
    found = problems(hosts(**settings))
    assert found
    assert all(timer in problem for problem in found)


@pytest.mark.parametrize(
    ("of", "sentence"),
    [
        ({"db1": {"address": "db1.example"}}, "host db1: address = 'db1.example': should be the IP address"),
        ({"db1": {"address": None}}, "host db1: address = None: should be the IP address"),
        ({"db2": {"address": "10.0.0.1"}}, "address 10.0.0.1 is given to db1, db2: every host needs its own"),
        ({"db2": {"address": "fd00::2"}}, "addresses: all hosts should be of one kind, IPv4 or IPv6"),
        ({"db2": {"ssh_port": "22"}}, "host db2: ssh_port = '22': should be a whole number"),
        ({"db2": {"ssh_usr": "root"}}, "ssh_usr is not a setting (did you mean 'ssh_user'?)"),
        (
            {"db2": {"postgres_port": 5433}, "db1": {"postgres_port": 5432}},
            "postgres_port is one setting for the whole cluster, but is 5432 on db1, 5433 on db2",
        ),
    ],
)
def test_a_wrong_host_is_refused(of: dict[str, dict[str, object]], sentence: str) -> None:
    found = problems(hosts(of))
    assert len(found) == 1, found
    assert found[0].startswith(sentence)


def test_a_setting_of_one_host_that_the_others_lack_is_refused() -> None:
    """It would be obeyed on one host and not on the others."""
    found = problems(hosts({"db1": {"postgres_port": 5433}}))
    assert len(found) == 1
    assert "postgres_port" in found[0]


def test_a_setting_in_the_file_of_another_group_is_refused() -> None:
    """haproxy_write_port in group_data/postgres.py would be silently without effect."""
    found = problems(hosts({name: {"haproxy_write_port": 6000} for name in ("db1", "db2", "db3")}))
    assert len(found) == 1
    assert "haproxy_write_port" in found[0]


@pytest.mark.parametrize(("members", "refused"), [(1, False), (2, True), (3, False), (4, True), (7, False), (9, True)])
def test_etcd_needs_an_odd_number_of_members(members: int, refused: bool) -> None:
    inventory = hosts()
    for name in ("db1", "db2", "db3"):
        inventory[name] = RawHost(frozenset({"postgres"}), inventory[name].data)
    for n in range(members):
        inventory[f"e{n}"] = RawHost(frozenset({"etcd"}), {**NEEDED, "address": f"10.0.1.{n + 1}"})
    found = problems(inventory)
    assert bool(found) == refused
    if refused:
        names = ", ".join(f"e{n}" for n in range(members))
        assert found == [f"group 'etcd' has {members} members ({names}): should be 1, 3, 5 or 7, so that a majority survives"]


def test_a_setting_that_was_renamed_says_what_it_is_called_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RENAMED, "etcd_quotum", ("etcd_quota", "0.3.0"))
    assert problems(hosts(etcd_quotum="2GB")) == ["etcd_quotum is now etcd_quota since 0.3.0"]
    assert problems(hosts(etcd_quotun="2GB")) == ["etcd_quotun is not a setting (did you mean 'etcd_quota'?)"]


def test_a_downgrade_is_from_a_version_or_from_none() -> None:
    assert cluster(downgrade_from="0.10.3").all.downgrade_from == (0, 10, 3)
    assert cluster(downgrade_from=None) == cluster()


def test_every_group_needs_hosts() -> None:
    lonely = {name: host for name, host in hosts().items() if name != "proxy1"}
    assert problems(lonely) == ["group 'haproxy' of the inventory has no hosts"]
    found = problems({})
    assert [p for p in found if "has no hosts" in p] == [
        f"group {group!r} of the inventory has no hosts" for group in ("etcd", "postgres", "haproxy")
    ]


def test_what_one_host_can_not_promise_must_be_asked_for_by_name() -> None:
    inventory = hosts()
    for name in ("db2", "db3"):
        inventory[name] = RawHost(frozenset({"etcd"}), inventory[name].data)
    assert problems(inventory) == [
        "durability = 'quorum': needs at least two hosts in group 'postgres', or 'asynchronous'",
    ]
    for raw in inventory.values():
        raw.data["durability"] = "asynchronous"
    assert problems(inventory) == []


def test_what_is_needed_and_missing_says_where_it_belongs() -> None:
    inventory = hosts()
    for raw in inventory.values():
        del raw.data["cluster_name"]
    assert problems(inventory) == ["cluster_name is needed and not set (group_data/all.py)"]


def test_all_mistakes_are_told_at_once() -> None:
    wrong = hosts(
        {"db1": {"address": "nowhere"}}, cluster_name="SHOP", postgres_port=0, haproxy_stats_port="x", wibble=1
    )  # fmt: skip
    found = problems(wrong)
    for name in ("db1: address", "cluster_name", "postgres_port", "haproxy_stats_port", "wibble"):
        assert sum(name in problem for problem in found) == 1, (name, found)
    with pytest.raises(SettingsError) as told:
        build(wrong)
    heading, *lines = str(told.value).splitlines()
    assert heading == f"{len(found)} settings are wrong, nothing was touched:"
    assert lines == [f"  - {problem}" for problem in found]


def test_all_contradictions_are_told_at_once() -> None:
    found = problems(
        hosts({"db2": {"address": "10.0.0.1"}}, haproxy_read_port=5000, postgres_parameters={"ssl": "off", "wrok_mem": 1})
    )
    for part in ("10.0.0.1", "haproxy_read_port", "[ssl]", "[wrok_mem]"):
        assert any(part in problem for problem in found), (part, found)


def test_contradictions_are_told_beside_what_is_wrong_by_itself() -> None:
    wrong = hosts(
        {"db1": {"address": "nowhere"}, "db2": {"ssh_port": 0, "address": "10.0.0.3"}},
        cluster_name="SHOP", postgres_port=0, haproxy_read_port=5000, failover_timing={"ttl": 19},
        postgres_parameters={"ssl": "off"}, postgres_databases=[{"name": "x", "owner": "nobody"}],
    )  # fmt: skip
    found = problems(wrong)
    alone = ("db1: address", "db2: ssh_port", "cluster_name", "postgres_port = 0")
    between = ("haproxy_read_port are both 5000", "ttl = 19", "[ssl]", "owned by 'nobody'")
    for name in (*alone, *between):
        assert sum(name in problem for problem in found) == 1, (name, found)


@pytest.mark.parametrize(
    "wrong",
    [
        {"postgres_databases": [{"name": "x", "owner": "app"}], "postgres_roles": [{"name": "App"}]},
        {"haproxy_read_port": "5000", "haproxy_write_port": 5001},  # which is the other's default
        {"client_networks": ["everybody"]},
        {"failover_profile": "fast", "failover_timing": {"ttl": 19}},
    ],
)
def test_nothing_is_concluded_from_a_setting_that_is_wrong(wrong: dict[str, Any]) -> None:
    assert len(problems(hosts(**wrong))) == 1


def test_a_groups_list_without_hosts_is_told_once() -> None:
    inventory = hosts()
    del inventory["proxy1"]
    assert problems(inventory) == ["group 'haproxy' of the inventory has no hosts"]


def test_a_name_misspelt_in_one_groups_list_gets_the_one_that_was_meant() -> None:
    inventory = hosts()
    inventory["db2"] = RawHost(frozenset({"postgres"}), inventory["db2"].data)
    inventory["bd2"] = RawHost(frozenset({"etcd"}), dict(NEEDED))
    assert problems(inventory) == ["host bd2 is in group 'etcd' alone, and has no address (did you mean 'db2'?)"]


def test_an_unknown_host_gets_the_nearest_name() -> None:
    with pytest.raises(ClusterError, match=r"^no host is called 'db0' \(did you mean 'db\d'\?\): there are db1, db2"):
        cluster().host("db0")


def test_ipv6_addresses_stand_in_brackets_in_a_url_only() -> None:
    six = {name: {"address": f"fd00::{n}"} for n, name in enumerate(hosts(), 1)}
    host = cluster(six, client_networks=["fd00::/64"]).host("db1")
    assert (host.address, host.url_address) == ("fd00::1", "[fd00::1]")


def test_ssh_goes_to_the_name_unless_told_otherwise() -> None:
    made = cluster({"db2": {"ssh_hostname": "203.0.113.7"}})
    assert [h.ssh_hostname for h in made.postgres_hosts] == ["db1", "203.0.113.7", "db3"]


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), (12, 12), ("64MB", 64 << 20), ("2 GB", 2 << 30), ("1kB", 1024), ("3B", 3), ("1TB", 1 << 40)]
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "1.5GB", "1KB", "GB", True, None, "1 G"])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(ValueError, match="should be a size such as"):
        parse_size(text)


def test_a_cluster_cannot_be_changed() -> None:
    made = cluster()
    with pytest.raises(AttributeError):
        made.name = "other"  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        made.postgres.port = 1  # type: ignore[misc]


@pytest.mark.parametrize("begins", [("a" * 30 + ".") * 2, ""], ids=["in three parts", "in one"])
@pytest.mark.parametrize(("length", "fine"), [(63, True), (64, False), (74, False)])
def test_a_hosts_name_fits_into_a_certificate(length: int, fine: bool, begins: str, tmp_path: Path) -> None:
    name = begins + "b" * (length - len(begins))
    inventory = hosts(secrets_directory=str(tmp_path))
    inventory[name] = inventory.pop("db2")
    found = problems(inventory)
    assert found == [] if fine else found == [f"host {name}: its name has {length} characters: should have at most 63"]
    if fine:
        Vault(build(inventory), {})


def test_an_entry_with_a_key_that_is_none_is_refused_without_its_value() -> None:
    """Which may be a password."""
    roles = [{"name": "app", "password": "hidden-1"}, {"name": "own", "superuser": True}, {"name": "x", "member": ["hidden-2"]}]
    said = problems(hosts(postgres_roles=roles, postgres_databases=[{"name": "a", "owner": "app", "extensions": ["x"]}]))
    assert "hidden" not in str(said)
    assert [line.partition(":")[0] for line in said] == [
        "postgres_roles[0][password] is not a setting",
        "postgres_roles[1][superuser] is not a setting",
        "postgres_roles[2][member] is not a setting (did you mean 'member_of'?)",
        "postgres_databases[0][extensions] is not a setting",
    ]
    assert "PGQUORUM_PASSWORD_ROLE_<NAME>" in said[0]


def test_what_is_done_in_place_of_a_key_that_people_look_for_is_told_with_it() -> None:
    databases = [{"name": "a", "owner": "app", "encoding": "LATIN1"}, {"name": "b", "owner": "app", "schemas": ["x"]}]
    said = problems(hosts(postgres_roles=[{"name": "app", "createdb": True}], postgres_databases=databases))
    assert [line.partition(" is not a setting: ")[2].partition(";")[0] for line in said] == [
        "no application should",
        "databases are UTF8 and sort by C.UTF-8",
        "within a database its owner makes and grants what is needed",
    ]


def test_a_version_of_postgresql_that_patroni_does_not_know_is_refused_with_the_reason() -> None:
    assert problems(hosts(postgres_version=16)) == ["postgres_version = 16: should be 17 or 18"]
    (line,) = problems(hosts(postgres_version=19))
    assert line.startswith("postgres_version = 19: should be 17 or 18; Patroni before 4.2 knows no later one")


@pytest.mark.parametrize("group", sorted({*OF_POSTGRESQL, "others"} - {"pg_database_owner"}))
def test_a_role_may_be_a_member_of_what_is_there(group: str) -> None:
    roles = [{"name": "a", "member_of": [group]}, {"name": "others"}]
    assert problems(hosts(postgres_roles=roles)) == []


def test_nor_is_one_a_member_of_itself_by_way_of_others() -> None:
    roles = [{"name": "a", "member_of": ["b"]}, {"name": "b", "member_of": ["c"]}, {"name": "c", "member_of": ["b"]}]
    found = problems(hosts(postgres_roles=roles))
    assert found == [f"postgres_roles: {name!r} is a member of itself, by its member_of" for name in ("b", "c")]
