"""The order of the deploy: phase by phase on all hosts, and one host at a time where it must be."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from conftest import (
    BLANK_HOST,
    DATABASES,
    HOSTS,
    INVENTORY,
    NO_DATABASES,
    PROXIES,
    SETTINGS,
    SURVEY,
    Rehearsal,
    Stage,
    living,
    on_disk,
)

from cluster import paths
from cluster.certificates import make_authority

WRITE = "t=$(mktemp "
START = "systemctl enable --now --quiet"
HEALTH = "endpoint health"
MEMBERS = "member list"
# A unit whose files were written after it was started.
OUTDATED = [
    "ActiveState=active", "UnitFileState=enabled", "NeedDaemonReload=no",
    "StateChangeTimestamp=Tue 2026-11-24 13:10:24.123456 UTC", "ExecMainStartTimestamp=Tue 2026-11-24 13:10:24.123456 UTC",
    "FilesWritten=4000000000.0",
]  # fmt: skip


def member_list(*hosts: str, unstarted: tuple[str, ...] = ()) -> str:
    urls = {name: f"https://{HOSTS[name]}:2380" for name in (*hosts, *unstarted)}
    return json.dumps(
        {"members": [{"ID": n, "name": name if name in hosts else "", "peerURLs": [url], "clientURLs": ["x"] * (name in hosts)}
                     for n, (name, url) in enumerate(urls.items(), 1)]}
    )  # fmt: skip


def test_phases_follow_each_other_on_all_hosts(first_deploy: Rehearsal) -> None:
    phases = [
        "apt-get -q",
        f"{START} etcd.service",
        f"{START} patroni.service",
        f"{WRITE}/etc/haproxy/haproxy.cfg",
        f"{START} haproxy.service",
        "sh -s",
    ]
    wanted = [set(HOSTS), set(DATABASES), set(DATABASES), set(PROXIES), set(PROXIES), set(DATABASES)]
    for phase, hosts in zip(phases, wanted, strict=True):
        assert {first_deploy.commands[n].host for n in first_deploy.executed(phase)} == hosts, phase
    for one, after in itertools.pairwise(phases):
        assert first_deploy.last(one) < first_deploy.first(after), (one, after)


def test_the_last_phase_asks_every_host_of_the_run(first_deploy: Rehearsal) -> None:
    asked = first_deploy.executed('"units"')
    assert {first_deploy.commands[n].host for n in asked} == set(HOSTS)
    assert min(asked) > first_deploy.last(f"{START} haproxy.service")
    assert "verified: @fake/db1 leads, writes and reads pass through HAProxy" in first_deploy.output


def test_the_last_lines_say_what_was_changed_on_which_host(first_deploy: Rehearsal) -> None:
    heading, *lines = first_deploy.output.splitlines()[-1 - len(HOSTS) :]
    assert heading == "changed:"
    changed = {host: operations.split(", ") for host, _, operations in (line.strip().split(": ", 2) for line in lines)}
    assert set(changed) == set(HOSTS)
    assert "Configure etcd" in changed[DATABASES[0]] and "Configure HAProxy" in changed[PROXIES[0]]
    assert not {"Verify", "The cluster is locked"} & set(changed[DATABASES[0]])


def test_no_service_starts_while_packages_are_being_installed(first_deploy: Rehearsal) -> None:
    for host in HOSTS:
        (place,) = first_deploy.executed("apt-get -q", host)
        assert "systemctl mask --runtime" in first_deploy.commands[place].command
    assert first_deploy.last("createcluster.conf") < first_deploy.first("apt-get -q")
    assert first_deploy.last("systemctl mask --now --quiet postgresql.service") < first_deploy.first(START)


def test_the_marker_is_there_before_anything_that_could_be_taken_for_somebody_elses(first_deploy: Rehearsal) -> None:
    assert first_deploy.last("cluster.json.XXXX") < first_deploy.first("apt-get -q")


def test_the_marker_is_the_first_file_that_a_host_gets(first_deploy: Rehearsal) -> None:
    """It notes the version: from then on an older checkout is refused."""
    for host in HOSTS:
        assert first_deploy.first("cluster.json.XXXX", host) == first_deploy.first("mktemp", host)


UNLISTED = (paths.MANIFEST, paths.MARKER, paths.LAYOUT, paths.LAST_DEPLOY, paths.ETCD_BOOTSTRAP)


def test_the_list_of_files_has_all_that_was_written(first_deploy: Rehearsal) -> None:
    """But for itself, the marker, what `invoke host.remove` writes, too, which deploy it was, and what etcd reads once in its
    life."""
    for host in {command.host for command in first_deploy.commands}:
        commands = [command for command in first_deploy.commands if command.host == host]
        written = {found[1]: c.stdin for c in commands if (found := re.search(r"t=\$\(mktemp (\S+)\.XXXXXX", c.command))}
        listed = [line.split("  ")[1] for line in written[paths.MANIFEST].splitlines()]
        assert sorted(listed) == sorted(written.keys() - set(UNLISTED)), host


@pytest.mark.parametrize("inventory", [INVENTORY, INVENTORY + "\netcd.reverse(); postgres.reverse()\n"])
def test_an_empty_cluster_begins_on_the_first_host_by_name(stage: Stage, inventory: str) -> None:
    stage.write("inventory.py", inventory)
    run = stage.rehearse("-y")
    places = run.executed(f"{START} patroni.service")
    begins = places[0]
    assert run.commands[begins].host == DATABASES[0]
    assert "/readiness" in run.commands[begins].command  # it waits for it before the others are started
    assert all(n > begins for n in places if run.commands[n].host != DATABASES[0])


def test_on_blank_hosts_etcd_begins_anew_and_on_all_at_once(first_deploy: Rehearsal) -> None:
    states = [first_deploy.commands[n].stdin for n in first_deploy.executed("bootstrap.env")]
    assert len(states) == len(DATABASES)
    assert all("ETCD_INITIAL_CLUSTER_STATE=new\n" in state for state in states)
    assert first_deploy.executed("member add") == []


def test_etcd_members_that_lost_their_data_join_one_after_the_other(stage: Stage) -> None:
    one, *lost = DATABASES
    answers = [
        (".", SURVEY, living(stage.deployed_before())),
        (one, MEMBERS, ["data", member_list(*DATABASES)]),
        (".", MEMBERS, [member_list(*DATABASES)]),
    ]
    run = stage.rehearse("-y", answers=answers)
    assert run.exit_code == 0, run.output
    spans = []
    for host in lost:
        steps = [run.first(step, host) for step in ("member remove", "member add", "bootstrap.env", f"{START} etcd.service")]
        assert steps == sorted(steps)
        assert "ETCD_INITIAL_CLUSTER_STATE=existing\n" in run.commands[steps[2]].stdin
        spans.append((steps[0], steps[-1]))
    assert spans[0][1] < spans[1][0]
    assert run.executed("member remove", one) == []


def test_a_member_that_was_added_but_never_started_is_only_started(stage: Stage) -> None:
    *there, added = DATABASES
    listed = member_list(*there, unstarted=(added,))
    answers = [
        (".", SURVEY, living(stage.deployed_before())),
        (added, MEMBERS, [listed]),
        (".", MEMBERS, ["data", listed]),
    ]
    run = stage.rehearse("-y", answers=answers)
    assert run.executed("member add") == run.executed("member remove") == []
    assert run.executed(f"{START} etcd.service", added)


def test_outdated_etcd_members_restart_one_by_one_with_a_healthy_cluster_before_and_after(stage: Stage) -> None:
    answers = [
        (".", SURVEY, living(stage.deployed_before())),
        (".", MEMBERS, ["data", member_list(*DATABASES)]),
        (".", "systemctl show .*etcd.service", OUTDATED),
    ]
    run = stage.rehearse("-y", answers=answers)
    assert run.exit_code == 0, run.output
    steps = [(run.commands[n].host, "restart" if "restart etcd" in run.commands[n].command else "health")
             for n in sorted({*run.executed("systemctl restart etcd.service"), *run.executed(HEALTH)})]  # fmt: skip
    assert steps == [(host, step) for host in DATABASES for step in ("health", "restart", "health")]


def test_a_renewed_certificate_for_etcd_is_read_by_the_service_that_confirms_configurations(stage: Stage) -> None:
    unit = "pgquorum-confirm-quorum.service"
    answers = [
        (".", SURVEY, living(stage.deployed_before())),
        (".", MEMBERS, ["data", member_list(*DATABASES)]),
        (DATABASES[1], f"systemctl show .*{unit}.* /etc/patroni/tls/etcd-client.crt ", OUTDATED),
    ]
    run = stage.rehearse("-y", answers=answers)
    assert run.exit_code == 0, run.output
    assert [run.commands[n].host for n in run.executed(f"systemctl restart {unit}")] == [DATABASES[1]]


def test_a_second_authority_is_read_by_all_that_run(stage: Stage) -> None:
    vault = stage.deployed_before()
    for name in ("etcd", "postgres"):
        path = vault.directory / f"{name}-ca.crt"
        path.write_bytes(path.read_bytes() + make_authority("new").certificate)
    written = [
        ("etcd", "/etc/etcd/tls/ca.crt"),
        ("pgquorum-confirm-quorum", "/etc/patroni/tls/etcd-ca.crt"),
        ("patroni", "/etc/patroni/tls/ca.crt"),
    ]
    answers = [
        (".", SURVEY, living(vault)),
        (".", MEMBERS, ["data", member_list(*DATABASES)]),
        *((".", f"systemctl show .*{unit}.service.* {file} ", OUTDATED) for unit, file in written),
    ]
    run = stage.rehearse("-y", answers=answers)
    assert run.exit_code == 0, run.output
    for does in ("restart etcd", "restart pgquorum-confirm-quorum", "reload patroni"):
        assert sorted(run.commands[n].host for n in run.executed(f"systemctl {does}.service")) == DATABASES, does
    # Patroni reads anew what has another name.
    for file in ("several-ca.crt", "ca.crt"):
        trusted = run.commands[run.first(f"{WRITE}/etc/patroni/tls/{file}")].stdin
        assert trusted.count("BEGIN CERTIFICATE") == 2
    assert "cafile: /etc/patroni/tls/several-ca.crt" in run.commands[run.first(f"{WRITE}/etc/patroni/conf.d/patroni.yml")].stdin


def test_whoever_runs_lets_a_new_host_in_before_that_one_asks_for_a_copy(stage: Stage) -> None:
    """Also where it is the first by name; and a copy that takes long is waited for, and told of."""
    new, *there = DATABASES
    lived = living(stage.deployed_before())
    answers = [
        (new, SURVEY, BLANK_HOST),
        (".", SURVEY, lived),
        (new, MEMBERS, [member_list(*there)]),
        (".", MEMBERS, ["data", member_list(*there)]),
        *((host, "systemctl show .*patroni.service.*patroni.yml", OUTDATED) for host in there),
        (new, "^curl .*creating replica", ['"state": "creating replica"'], True),
    ]
    run = stage.rehearse("-y", answers=answers)
    assert run.exit_code == 0, run.output
    reloads, starts = run.executed("systemctl reload patroni.service"), run.executed(f"{START} patroni.service")
    assert sorted(run.commands[n].host for n in reloads) == there
    assert {run.commands[n].host for n in starts} == {new} and max(reloads) < min(starts)
    assert [n for n in run.executed("/readiness", new) if n not in starts]
    assert f"{new}: its data is being copied, and the deploy waits for that" in run.output


@pytest.mark.parametrize(("says", "made"), [(["owner "], True), (["owner pgquorum_probe"], False), ([], False)])
def test_the_table_of_the_clients_test_is_made_where_it_is_gone(stage: Stage, says: list[str], made: bool) -> None:
    there = json.dumps(json.loads(NO_DATABASES) | {"databases": {"pgquorum": "pgquorum_probe"}})
    answers = [
        (".", SURVEY, living(stage.deployed_before())),
        (".", MEMBERS, ["data", member_list(*DATABASES)]),
        (DATABASES[0], "dathasloginevt", [there]),
        (DATABASES[0], "psql.*connect .*pgquorum.*public.probe", says),
    ]
    run = stage.rehearse("-y", answers=answers)
    assert run.exit_code == 0, run.output
    (sql,) = (run.commands[n].stdin for n in run.executed("psql") if "create role" in run.commands[n].stdin)
    assert ("create table if not exists probe" in sql) == made


@pytest.mark.parametrize("trusts", [False, True])
def test_no_etcd_member_restarts_while_another_is_ill(stage: Stage, trusts: bool) -> None:
    """The deploy goes on all the same, even for one that takes back what made the restart due: unless another authority waits."""
    answers = [
        (".", SURVEY, living(stage.deployed_before())),
        (".", MEMBERS, ["data", member_list(*DATABASES)]),
        (".", "systemctl show .*etcd.service.* /etc/etcd/" + ("tls/ca.crt " if trusts else "etcd.env "), OUTDATED),
        (".", HEALTH, None),
        (".", "^false$", None),
    ]
    run = stage.rehearse("-y", answers=answers)
    assert (run.exit_code != 0) == trusts, run.output
    assert run.executed("systemctl restart") == []
    assert [run.output.count(f"{host}: etcd waits for a restart") for host in DATABASES] == [int(not trusts)] * 3
    assert ("which has to read whom it trusts: bring that one back" in run.output) == trusts
    assert bool(run.executed(f"{WRITE}/etc/haproxy/haproxy.cfg")) != trusts


def test_where_a_member_is_left_out_nobody_waits_long_for_it_to_be_healthy(stage: Stage) -> None:
    answers = [
        (".", SURVEY, living(stage.deployed_before())),
        (".", MEMBERS, ["data", member_list(*DATABASES)]),
        (".", "systemctl show .*etcd.service.* /etc/etcd/etcd.env ", OUTDATED),
        (".", HEALTH, None),
    ]
    run = stage.rehearse("-y", "--exclude", DATABASES[2], answers=answers)
    assert run.exit_code == 0, run.output
    asked = [run.commands[n].command for n in run.executed(HEALTH)]
    assert len(asked) == 2 and all("[ $i -lt 3 ]" in command for command in asked)


@pytest.mark.parametrize(
    ("broken", "step", "never"),
    [
        (DATABASES[2], "apt-get -q", START),
        (DATABASES[1], f"{START} etcd.service", f"{START} patroni.service"),
        (DATABASES[0], f"{START} patroni.service", "/etc/haproxy"),
        (DATABASES[2], f"{START} patroni.service", "/etc/haproxy"),
        (PROXIES[0], f"{WRITE}/etc/haproxy/haproxy.cfg", "sh -s"),
    ],
)
def test_a_failure_on_one_host_ends_the_run_on_all(stage: Stage, broken: str, step: str, never: str) -> None:
    run = stage.rehearse("-y", answers=[(broken, re.escape(step), None)])
    assert run.exit_code != 0
    failed = run.first(step, broken)
    assert [n for n in run.executed(never) if n > failed] == []
    assert broken in run.output
    assert "Traceback" not in run.output


def test_a_host_gets_what_its_roles_need_and_nothing_else(first_deploy: Rehearsal) -> None:
    for host in PROXIES:
        (install,) = [first_deploy.commands[n].command for n in first_deploy.executed("apt-get -q", host)]
        assert "haproxy" in install
        for package in ("postgresql-18", "patroni ", "etcd-server"):
            assert package not in install.partition(" install ")[2]
        assert not [
            c
            for c in first_deploy.commands
            if c.executing and c.host == host and ("mktemp /etc/patroni" in c.command or "mktemp /etc/etcd" in c.command)
        ]
    for host in DATABASES:
        assert first_deploy.executed("mktemp /etc/haproxy", host) == []


def test_the_first_by_name_in_this_run_speaks_for_the_cluster(stage: Stage) -> None:
    """The dynamic configuration is sent and the cluster verified once, by a host that takes part."""
    answers = [(".", SURVEY, living(stage.deployed_before())), (".", "/config --fail", [json.dumps({"ttl": 99})])]
    run = stage.rehearse("-y", "--exclude", DATABASES[0], answers=answers)
    assert f"verified: {DATABASES[0]} leads" in run.output  # who is not asked is no problem
    assert {c.host for c in run.commands} == set(HOSTS) - {DATABASES[0]}
    assert [run.commands[n].host for n in run.executed("--request PATCH")] == [DATABASES[1]]


def test_a_limit_reaches_no_other_host(stage: Stage) -> None:
    answers = [(".", SURVEY, living(stage.deployed_before()))]
    run = stage.rehearse("-y", "--limit", DATABASES[1], answers=answers)
    assert {c.host for c in run.commands} == {DATABASES[1]}


def test_the_kernel_reads_its_settings_only_where_it_runs_otherwise(stage: Stage) -> None:
    answers = [("db2", "/proc/sys/", ["/proc/sys/net/ipv4/neigh/eth0/retrans_time_ms"])]
    run = stage.rehearse("-y", answers=answers)
    assert {run.commands[n].host for n in run.executed("systemd-sysctl")} == {"@fake/db2"}
    assert run.last("sysctl.d/60-pgquorum.conf.XXXX") < run.first("systemd-sysctl") < run.first(f"{START} etcd.service")


def test_a_reload_that_failed_is_done_again_though_no_file_is_newer(stage: Stage) -> None:
    unit = [
        "ActiveState=active", "UnitFileState=enabled", "NeedDaemonReload=no",
        "CommandLine=haproxy -f /etc/haproxy/statistics-users.cfg",
        "StateChangeTimestamp=Tue 2026-11-24 13:10:24.123456 UTC", "FilesWritten=1.0",
    ]  # fmt: skip
    for result, reloads in (("exit-code", 1), ("success", 0)):
        answers = [
            (".", SURVEY, living(stage.deployed_before())),
            (".", MEMBERS, ["data", member_list(*DATABASES)]),
            (".", "systemctl show .*haproxy.service", [*unit, f"ReloadResult={result}"]),
        ]
        run = stage.rehearse("-y", answers=answers)
        assert run.exit_code == 0, run.output
        assert len(run.executed("systemctl reload haproxy.service")) == reloads * len(PROXIES)


def test_a_program_that_lies_elsewhere_now_is_removed_where_it_lay(stage: Stage) -> None:
    former, unit = "/usr/local/lib/pgquorum/wake-patroni.py", "pgquorum-wake-patroni.service"
    running = [
        "ActiveState=active", "UnitFileState=enabled", "NeedDaemonReload=yes",
        "StateChangeTimestamp=Tue 2026-11-24 13:10:24.123456 UTC", "FilesWritten=1.0",
    ]  # fmt: skip
    answers = [
        (".", SURVEY, living(stage.deployed_before())),
        (".", MEMBERS, ["data", member_list(*DATABASES)]),
        ("db2", f"^sh -c .*managed .*{former}", on_disk(former, "abc", "root:root 644")),
        (".", f"systemctl show .*{unit}", running),
    ]
    run = stage.rehearse("-y", answers=answers)
    assert run.exit_code == 0, run.output
    assert {run.commands[n].host for n in run.executed(f"rm -f {former}")} == {"@fake/db2"}
    assert run.first("/agents/wake_patroni.py", "db2") < run.first(f"rm -f {former}") < run.first(f"restart {unit}")


@pytest.mark.parametrize(
    ("choice", "there", "edits"),
    [
        ("wait", ["there"], 1),
        ("wait", ["there", "synchronous_standby_names = '*'"], 0),
        ("continue", ["there", "synchronous_standby_names = '*'"], 1),
        ("continue", ["there"], 0),
        ("wait", [], 0),  # no PostgreSQL yet
    ],
)
def test_postgresql_waits_for_any_replica_or_for_none_where_patroni_has_set_nothing(
    stage: Stage, choice: str, there: list[str], edits: int
) -> None:
    stage.write("group_data/all.py", f'{SETTINGS}without_replica = "{choice}"\n')
    stage.settings = {"without_replica": choice}
    answers = [
        (".", SURVEY, living(stage.deployed_before())),
        (".", MEMBERS, ["data", member_list(*DATABASES)]),
        (".", r"head -c .*postgresql\.base\.conf", there),
    ]
    run = stage.rehearse("-y", answers=answers)
    assert run.exit_code == 0, run.output
    found = run.executed("sed -i")
    assert len(found) == edits * len(DATABASES)
    for command in (run.commands[n].command for n in found):
        assert ("echo" in command) == (choice == "wait")
        assert "pg_ctl reload" in command
