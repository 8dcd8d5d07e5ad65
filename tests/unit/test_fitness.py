"""Whether the hosts are fit for a deploy, judged from what they say of themselves."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from typing import Any

import pytest
from clusters import cluster

from cluster.fitness import CLOCK_SKEW_SECONDS, notes, refusals
from cluster.layout import Note, layout_of
from cluster.survey import DISK_FREE_BYTES, HostSurvey, log_directories, parse_survey, survey_command
from cluster.topology import Cluster
from cluster.version import Version
from operations.managed import render

SHOP = cluster()
ID = "11111111-2222"
BLANK = HostSurvey(system="debian", system_version="14", codename="forky")
NAMES = [h.name for h in SHOP.hosts]


def marker(cluster_name: str = "shop", identity: str = ID, **more: object) -> str:
    return json.dumps({"cluster": cluster_name, "id": identity, "deployed_from": "ann@desk:/home/ann/pg", **more})


LIVE = replace(BLANK, marker=marker(), postgres_data="cluster", patroni_scope="shop")


def judged(
    of: dict[str, HostSurvey] | None = None, others: HostSurvey = BLANK, secrets_existed: bool = True, shop: Cluster = SHOP
) -> list[str]:
    surveys = {name: (of or {}).get(name, others) for name in NAMES}
    return refusals(shop, surveys, ID, secrets_existed, Version(0, 2, 0))


def test_a_deploy_does_not_get_in_the_way_of_a_restore() -> None:
    held = parse_survey(["uid 0", "system debian", "codename forky", "restoring yes", "clock 0"], 0.0)
    assert held.restoring
    (problem,) = judged({"db2": replace(LIVE, restoring=True)}, LIVE)
    assert problem.startswith("host db2: a restore of the cluster is under way or was interrupted")


def test_what_a_living_cluster_can_not_take_is_refused_whichever_host_has_noted_it() -> None:
    noted = replace(LIVE, layout=Note(2, layout_of(cluster(postgres_port=5433))).text)
    older = replace(LIVE, layout=Note(1, layout_of(cluster(patroni_port=9008))).text)
    (said,) = judged({"db2": noted, "db3": older}, LIVE)
    assert said.startswith("postgres_port = 5432: the cluster lives with 5433, and can't be changed")
    assert judged({"db2": replace(noted, marker=marker("other")), "db3": LIVE}, LIVE)[0].startswith("host db2: belongs to")
    assert judged({"db2": replace(LIVE, layout="damaged")}, LIVE) == []


def test_the_last_logical_slot_is_not_left_on_servers_that_would_not_start_with_it() -> None:
    with_slot = replace(LIVE, logical_slots=("orders",))
    (said,) = judged({"db2": with_slot}, LIVE)
    assert said.startswith("postgres_slots is empty, but there are logical slots on db2")
    assert "pg_drop_replication_slot('orders')" in said
    databases = {"postgres_roles": [{"name": "app"}], "postgres_databases": [{"name": "shop", "owner": "app"}]}
    declared = cluster(postgres_slots=[{"name": "orders", "database": "shop"}], **databases)  # type: ignore[arg-type]
    assert judged({"db2": with_slot}, LIVE, shop=declared) == []
    assert judged({"db2": with_slot}, LIVE, shop=cluster(postgres_parameters={"wal_level": "logical"})) == []


@pytest.mark.parametrize(("size", "refused"), [(64 * 1024**2, False), (64 * 1024**2 + 1, True)])
def test_a_quota_below_what_etcd_has_is_refused_with_one_that_is_right(size: int, refused: bool) -> None:
    shop = cluster(etcd_quota="64MB")
    found = judged({"db2": replace(LIVE, etcd_data=True, etcd_bytes=size)}, LIVE, shop=shop)
    assert found == (
        [f"etcd_quota = 67108864: etcd's database on db2 has {size} bytes: should be more, such as '129MB'"] if refused else []
    )
    assert parse_survey(["etcd_bytes 12"], 0.0).etcd_bytes == 12


def deployed_by(version: object) -> HostSurvey:
    return replace(LIVE, marker=marker(version=version))


def test_blank_hosts_are_fit_with_and_without_secrets() -> None:
    assert judged() == []
    assert judged(secrets_existed=False) == []


def test_hosts_of_this_cluster_are_fit() -> None:
    assert judged(others=LIVE) == []
    assert judged({"db3": BLANK}, LIVE) == []


@pytest.mark.parametrize(
    ("is_", "sentence"),
    [
        ({"system": "fedora", "system_version": "43"}, "host db2: runs fedora 43: should be Debian or Ubuntu"),
        ({"system": "", "system_version": ""}, "host db2: runs an unknown system : should be Debian or Ubuntu"),
        (
            {"uid": 1000, "user": "ann", "sudo": "sudo: a password is required"},
            "host db2: ann has no sudo without a password: put `ann ALL=(ALL) NOPASSWD: ALL` into",
        ),
        ({"init": "sysvinit"}, "host db2: is run by 'sysvinit': should be systemd"),
        ({"free_bytes": 5 * 1024**2}, f"host db2: has 5 MiB free for data: should be at least {DISK_FREE_BYTES >> 20} MiB"),
        (
            {"marker": marker("other")},
            "host db2: belongs to cluster 'other', not to 'shop': take it out of the inventory, or set cluster_name",
        ),
        ({"postgres_data": "foreign"}, "host db2: /var/lib/postgresql/18/pgquorum holds something that this tool did not put"),
        ({"postgres_data": "cluster"}, "host db2: /var/lib/postgresql/18/pgquorum holds something that this tool did not put"),
        ({"etcd_foreign": True}, "host db2: /var/lib/etcd/pgquorum holds something that is not etcd's"),
        ({"etcd_data": True}, "host db2: /var/lib/etcd/pgquorum holds the data of an etcd member that is none of this cluster's"),
        ({"patroni_scope": "other"}, "host db2: runs Patroni for another cluster, 'other'"),
        ({"postgres_service": True}, "host db2: already runs a PostgreSQL of its own"),
    ],
)
def test_an_unfit_host_is_named_with_the_reason(is_: dict[str, Any], sentence: str) -> None:
    (found,) = judged({"db2": replace(BLANK, **is_)})
    assert found.startswith(sentence)


def test_room_is_asked_for_where_data_is_still_to_be_made_and_nowhere_else() -> None:
    """A living host whose disk is full can be deployed to: what mends that may be a setting."""
    full = {"free_bytes": 5 * 1024**2}
    assert judged({"db2": replace(LIVE, **full)}, LIVE) == []
    assert judged({"proxy1": replace(BLANK, **full)}) == []
    known = replace(LIVE, postgres_data="absent", etcd_data=True, **full)  # one that belongs to the cluster, and lost its data
    for empty in (known, replace(known, postgres_data="empty")):
        (found,) = judged({"db2": empty}, LIVE)
        assert found.startswith("host db2: has 5 MiB free for data")


def test_a_write_ahead_log_without_its_data_would_keep_a_copy_from_being_made() -> None:
    apart = cluster(postgres_wal_directory="/wal/shop")
    [found] = judged({"db2": replace(BLANK, postgres_wal=True)}, shop=apart)
    assert found == "host db2: /wal/shop/pg_wal holds write-ahead log that is none of this cluster's: move it away"
    assert judged({"db2": replace(LIVE, postgres_wal=True)}, LIVE, shop=apart) == []  # a copy that was cut off: Patroni's to mend


def test_a_proxy_may_run_a_postgresql_of_its_own() -> None:
    assert judged({"proxy1": replace(BLANK, postgres_service=True)}) == []


def test_every_host_is_judged() -> None:
    found = judged({"db1": replace(BLANK, uid=1), "proxy1": replace(BLANK, init="sh", system="arch")})
    assert [sentence.partition(":")[0] for sentence in found] == ["host db1", "host proxy1", "host proxy1"]


def test_a_host_that_told_nothing_is_unfit() -> None:
    assert judged({"db2": parse_survey([], 0.0)}) != []


@pytest.mark.parametrize("existed", [True, False])
def test_without_its_secrets_a_living_cluster_is_left_alone(existed: bool) -> None:
    stranger = replace(LIVE, marker=marker(identity="another"))
    (found,) = judged({"db1": stranger, "db2": stranger}, secrets_existed=existed)
    assert f"the secrets in secrets/shop {'are not those of' if existed else 'are missing here for'}" in found
    assert "lives on db1, db2" in found
    assert "first deployed from ann@desk:/home/ann/pg: copy secrets/shop from there, or from a backup" in found
    assert found.endswith("Nothing new was made")


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "42"])
def test_a_marker_that_cannot_be_read_is_none(text: str) -> None:
    assert replace(BLANK, marker=text).belongs_to == {}
    [found] = judged({"db1": replace(LIVE, marker=text)})
    assert ("should be a JSON object" in found) == bool(text)


@pytest.mark.parametrize(("apart", "refused"), [(0.0, False), (CLOCK_SKEW_SECONDS, False), (CLOCK_SKEW_SECONDS + 1, True)])
def test_clocks_that_are_apart(apart: float, refused: bool) -> None:
    found = judged({"db1": replace(BLANK, clock_offset=-apart / 2), "db3": replace(BLANK, clock_offset=apart / 2)})
    assert bool(found) == refused
    if refused:
        assert found[0].startswith(f"the clocks of db1 and db3 are {apart:.1f} s apart")


def test_a_clock_that_all_hosts_share_may_differ_a_little_from_the_operators() -> None:
    assert judged(others=replace(BLANK, clock_offset=1200.0)) == []


@pytest.mark.parametrize(("ahead", "told"), [(7200.0, "120 minutes behind"), (-7200.0, "120 minutes ahead of")])
def test_an_operator_whose_clock_is_wrong_is_told_before_certificates_are_made_by_it(ahead: float, told: str) -> None:
    [found] = judged(others=replace(BLANK, clock_offset=ahead))
    assert found.startswith(f"the clock of this machine is {told} the hosts': certificates are made by it")


def test_the_survey_of_a_host() -> None:
    said = ["system debian", "system_version 14", "uid 0", "init systemd", f"marker {marker()}", "postgres_data cluster",
            "postgres_wal yes", "etcd_data yes", "etcd_foreign yes", "patroni_scope shop", "postgres_service yes",
            "place etcd_data_directory /srv/etcd/shop", "ipv6 yes", "free_bytes 123456789", "clock 1000.5"]  # fmt: skip
    survey = parse_survey(said, now=1000.0)
    assert survey == HostSurvey(
        system="debian", system_version="14", uid=0, init="systemd", marker=marker(), postgres_data="cluster", postgres_wal=True,
        etcd_data=True, etcd_foreign=True,
        places=(("etcd_data_directory", "/srv/etcd/shop"),),
        patroni_scope="shop", postgres_service=True, free_bytes=123456789, clock_offset=0.5,
    )  # fmt: skip
    assert survey.belongs_to["id"] == ID
    told = [["ssh_port 2222", "ssh_port 22", "ssh_port 2222"], ["ssh_port "], ["uid 0"]]
    assert [parse_survey(lines, 0.0).ssh_ports for lines in told] == [(22, 2222), (), ()]


@pytest.mark.parametrize(
    ("connection", "ports"), [("192.0.2.1 40000 10.0.0.1 2222", (2222,)), ("fd00::1 40000 fd00::2 22", (22,)), ("", ())]
)
def test_the_port_at_which_a_run_is_connected_is_the_hosts_own(connection: str, ports: tuple[int, ...]) -> None:
    asked = survey_command(SHOP).partition(";")[0]
    said = subprocess.run(["sh", "-c", asked], env={"SSH_CONNECTION": connection}, capture_output=True, text=True, check=True)
    assert parse_survey(said.stdout.splitlines(), 0.0).ssh_ports == ports


def test_a_proxy_that_can_not_listen_where_clients_come_from_is_refused() -> None:
    without, both = replace(BLANK, ipv6=False), cluster(client_networks=("10.0.0.0/24", "fd00::/64"))
    assert judged(others=without, shop=both) == [
        "host proxy1: its kernel has no IPv6, and client_networks has fd00::/64: take that out, or turn IPv6 on there"
    ]
    assert judged(others=without) == []


def test_a_link_that_leads_where_no_data_can_lie_is_refused_where_the_data_would_be() -> None:
    linked = (("postgres_data_directory", "/home/pg/18/shop"), ("etcd_data_directory", "/srv/etcd/shop"))
    [found] = judged({"db1": replace(BLANK, places=linked), "proxy1": replace(BLANK, places=linked)})
    assert found.startswith(
        "host db1: postgres_data_directory = '/var/lib/postgresql/18/pgquorum' leads to /home/pg/18/shop, which is"
    )
    assert found.endswith("from which systemd keeps the services: should lie elsewhere")


@pytest.mark.parametrize(
    ("setting", "found", "directories"),
    [
        (None, "/data/shop/pg_wal", ()),
        ("/wal/shop", "/data/shop/pg_wal", ("/wal/shop",)),
        ("/wal/shop", "/disk/shop/pg_wal", ("/wal/shop",)),  # a link leads there
        ("/wal/shop", "/old/shop/pg_wal", ("/wal/shop", "/old/shop")),
        (None, "/old/shop/pg_wal", ("/old/shop",)),
        (None, "/old/pg_wal", ()),  # all of a disk, and what PostgreSQL's user may say beside
        (None, "/etc/shop/pg_wal", ()),
        (None, "/old/sh op/pg_wal", ()),
        (None, "", ()),
    ],
)
def test_where_the_write_ahead_log_is_until_the_data_is_made_anew(
    setting: str | None, found: str, directories: tuple[str, ...]
) -> None:
    of = cluster(postgres_wal_directory=setting)
    places = {"postgres_data_directory": "/data/shop", "pg_wal": found} | (
        {"postgres_wal_directory": "/disk/shop"} if setting else {}
    )
    survey = replace(BLANK, places=tuple(places.items()))
    assert log_directories(of, survey) == directories
    unit = render("patroni/pgquorum-confirm-quorum.service.j2", cluster=of, log_directories=directories)
    assert [line.partition("=-")[2] for line in unit.splitlines() if line.startswith("ReadWritePaths")][1:] == [*directories]


def test_a_host_that_is_another_of_the_same_cluster_is_refused() -> None:
    """A typo in a name must not make a member of a living cluster start a second life."""
    marker = json.dumps({"cluster": "shop", "id": ID, "host": "db2"})
    [line] = judged({"db3": replace(BLANK, marker=marker)})
    assert "is 'db2' of this cluster" in line


@pytest.mark.parametrize("version", ["0.2.0", "0.1.9", "0.0.99", None])
def test_hosts_that_this_version_or_an_older_one_has_deployed(version: str | None) -> None:
    assert judged(others=replace(LIVE, marker=marker()) if version is None else deployed_by(version)) == []


@pytest.mark.parametrize("newer", ["0.2.1", "0.10.0", "1.0.0"])
def test_an_older_checkout_is_refused_by_name(newer: str) -> None:
    assert judged({"db2": deployed_by(newer)}, deployed_by("0.2.0")) == [
        f"hosts were deployed by {newer} (db2), and this checkout is older, 0.2.0: use one of at least {newer},"
        f" or insist with --data downgrade_from={newer}"
    ]


def test_who_insists_names_the_newest_version_that_is_to_be_overwritten() -> None:
    hosts = {"db1": deployed_by("0.3.0"), "db3": deployed_by("0.4.0")}
    [told] = judged(hosts, deployed_by("0.3.0"))
    assert "0.3.0 (db1, db2, proxy1), 0.4.0 (db3)" in told and told.endswith("downgrade_from=0.4.0")
    [told] = judged(hosts, BLANK, shop=cluster(downgrade_from="0.3.0"))
    assert "were deployed by 0.4.0 (db3), and" in told and told.endswith("downgrade_from=0.4.0")
    assert judged(hosts, BLANK, shop=cluster(downgrade_from="0.4.0")) == []


@pytest.mark.parametrize("version", ["", "0.2", "new", "0.2.0rc1", "-1.2.3", 2, None])
def test_a_note_that_is_no_version_is_told_with_the_file_that_it_is_in(version: object) -> None:
    [told] = judged({"db1": deployed_by(version)}, LIVE)
    assert told.startswith("host db1: version = ")
    assert "in /etc/pgquorum/cluster.json should be a version such as '0.2.0': write there" in told


def test_the_version_of_another_clusters_host_is_nobodys_business() -> None:
    other = replace(LIVE, marker=marker("other", version="9.0.0"), patroni_scope="")
    assert ["belongs to cluster 'other'" in sentence for sentence in judged({"db1": other})] == [True]


def test_the_notes_of_hosts() -> None:
    surveys = {"db1": deployed_by("0.2.0"), "db2": LIVE, "db3": BLANK, "proxy1": replace(LIVE, marker=marker("other"))}
    assert notes(SHOP, surveys) == {"db1": "0.2.0", "db2": None}


def test_a_port_of_a_living_host_that_somebody_else_has_is_refused_by_name() -> None:
    pooled = cluster(pooling=True, postgres_roles=[{"name": "app"}], postgres_databases=[{"name": "app", "owner": "app"}])
    ours = [(5000, "haproxy.service", "haproxy"), (6432, "pgquorum-pool@write-1.service", "pgbouncer")]

    def said(*listeners: tuple[int, str, str], on: HostSurvey = LIVE) -> list[str]:
        return judged({"proxy1": replace(on, listeners=(*ours, *listeners))}, LIVE, shop=pooled)

    assert said() == []
    assert said((6433, "session-4.scope", "nginx"), (6433, "session-4.scope", "nginx")) == [
        "host proxy1: pooling_read_port = 6433: nginx (session-4.scope) listens there already: end it, or choose another port"
    ]
    assert said((7000, "", "")) == [], "it may be HAProxy: nobody knows"
    assert said((5001, "pgquorum-pool@write-1.service", "pgbouncer")) != []  # it would move only after HAProxy has come
    assert said((5432, "session-4.scope", "postgres")) == []  # no port of that host's
    assert said((6433, "session-4.scope", "nginx"), on=BLANK) == []  # the probe tells
    read = parse_survey(["listener 6433 session-4.scope ng inx", "listener 7000  "], 0.0)
    assert read.listeners == ((6433, "session-4.scope", "ng inx"), (7000, "", ""))


def test_a_time_that_systemd_does_not_take_is_refused_where_backups_are_kept() -> None:
    kept = cluster(backup=True, backup_full_schedule="Sun 25:00", backup_drill_schedule=None)
    asked = survey_command(kept)
    assert "systemd-analyze calendar -- " in asked and "Sun 25:00" in asked and "backup_drill_schedule" not in asked
    assert "systemd-analyze calendar" not in survey_command(SHOP)
    assert parse_survey(["no_time backup_full_schedule"], 0.0).no_times == ("backup_full_schedule",)
    surveys = {host.name: replace(BLANK, no_times=("backup_full_schedule",)) for host in kept.hosts}
    assert refusals(kept, surveys, ID, True, Version(0, 2, 0)) == [
        "host keep1: backup_full_schedule = 'Sun 25:00': its systemd takes no such time: should be one such as 'Sun 01:00'"
        " (man systemd.time)"
    ]
