"""Upgrades of packages: what is to be done, what is refused, in which order, and what the command says."""

from __future__ import annotations

import json
from typing import Any

import pytest
import views
from clusters import cluster
from offered import GIB, host, replaced, row
from offline import RecordingActions, cut_off

import day2.commands.change.measuring as measuring
import day2.commands.change.upgrade as command
from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.procedures.hold import hold_for
from day2.procedures.steps import Step
from day2.procedures.upgrade import Work, steps
from health.backup_states import BackupRun
from health.states import Package
from health.upgrades import Change, HostPackages, back, busy, forward, no_way_back, question, read, refused, run_of
from health.view import ClusterView

SHOP = cluster()
WHOLE = views.BACKED_UP
PG = (row("postgresql-18", "18.7-1"), row("postgresql-client-18", "18.7-1"), row("libpq5", "18.7-1", old="18.6-3"))
DATABASES = ("db1", "db2", "db3")


def offered(*rows: dict[str, Any], hosts: tuple[str, ...] = DATABASES, **differs: Any) -> dict[str, HostPackages]:
    return {name: host(name, *rows, **differs) for name in hosts}


def against(found: dict[str, HostPackages], of: Cluster = SHOP, *, insist: bool = False) -> list[str]:
    return list(refused(found, of, insist=insist))


def plan(
    found: dict[str, HostPackages], of: Cluster = SHOP, view: ClusterView | None = None, *, hold: bool = False, **work: Any
) -> list[str]:
    due = {name: one.due for name, one in found.items()}
    made = Work(**{"changes": forward(found), "due": due, "run": "noon"} | work)
    return [str(step) for step in steps(view or views.view(), of, made, hold_for(of) if hold else None)]


def test_a_host_is_asked_for_what_it_carries_and_what_of_that_runs() -> None:
    asked = question(WHOLE, WHOLE.host("proxy1"), ("haproxy", "pgbouncer", "etcd"), refresh=True)["programs"]
    served = {"units": ["haproxy.service"], "socket": "/run/haproxy/admin.sock"}
    assert asked["haproxy"] == {"packages": ["haproxy", "socat"], "running": ["haproxy"], **served}
    assert asked["pgbouncer"]["units"] == ["pgquorum-pool@write-1.service", "pgquorum-pool@read-1.service"]
    assert asked.keys() == {"haproxy", "pgbouncer"}
    kept = question(WHOLE, WHOLE.host("keep1"), ("pgbackrest", "postgres"), refresh=True)["programs"]
    assert kept["postgres"]["packages"] == ["postgresql-18", "postgresql-client-18"] and kept["postgres"]["units"] == []
    assert "pid_file" not in kept["postgres"]
    member = question(WHOLE, WHOLE.host("db1"), ("postgres",), refresh=False)["programs"]["postgres"]
    assert member["pid_file"].endswith("/postmaster.pid") and member["running"] == ["postgresql-18"]


@pytest.mark.parametrize("text", ["", "[]", "{}", "nonsense", '{"installed": 1}'])
def test_what_is_no_answer(text: str) -> None:
    with pytest.raises(ValueError):
        read("db1", text)


def test_a_newer_minor_version_is_taken() -> None:
    found = offered(*PG)
    assert against(found) == []
    assert forward(found)[0] == Change("db1", "postgres", "postgresql-18", "18.6-3", "18.7-1")
    assert len(forward(found)) == 9


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (row("postgresql-18", "19.0-1"), "postgresql-18 would become 19.0-1, another major version than 18.6-3"),
        (row("postgresql-client", "19+300"), "postgresql-client would become 19+300, another major version than 18+293"),
        (row("patroni", "4.2.0-1"), "patroni would become 4.2.0-1, a release that was not tested with this tool (4.1 were)"),
        (row("etcd-server", "3.6.1-1"), "etcd-server would become 3.6.1-1, which is too old: should be at least 3.5.28 or 3.6.9"),
        (
            row("etcd-server", "3.6.10-1"),
            "a release that was not tested with this tool (3.5 were): `--component postgres,patroni,",
        ),
    ],
)
def test_a_version_that_is_not_taken_is_refused_by_name(one: dict[str, Any], told: str) -> None:
    (text,) = against({"db1": host("db1", one)})
    assert text.startswith("db1: ") and told in text


def test_a_newer_one_of_a_release_that_runs_already_is_taken_whether_it_was_tested_or_not() -> None:
    assert against({"proxy1": host("proxy1", row("haproxy", "2.6.13-1", old="2.6.12-1"))}) == []


def test_what_apt_would_not_do_is_refused_with_its_words() -> None:
    found = {"db1": host("db1", problems={"etcd": "it would remove patroni"})}
    assert against(found) == ["db1: apt does not upgrade etcd: it would remove patroni"]


def test_what_does_not_fit_is_refused() -> None:
    big = row("postgresql-18", "18.7-1", size=20 * 1024**2, unpacked=GIB)
    (text,) = against({"db1": host("db1", big, free={"kept": 10 * GIB, "programs": GIB})})
    assert text == "db1: 1024 MiB are free where programs lie (/usr), should be at least 1124"
    (text,) = against({"db1": host("db1", big, free={"kept": 139 * 1024**2, "programs": 10 * GIB})})
    assert text == "db1: 139 MiB are free where packages are kept (/var/lib), should be at least 140"


def test_what_could_not_be_had_again_is_said_before_and_can_be_insisted_on() -> None:
    found = {"db1": host("db1", row("patroni", "4.1.6-1", lost="no archive has it any more, and /usr/bin/patroni is gone"))}
    (text,) = against(found)
    assert "db1: patroni 4.1.5-2 could not be had again (no archive" in text and "--without-way-back goes on" in text
    assert against(found, insist=True) == []


def test_pgbackrest_is_one_version_or_none() -> None:
    new = row("pgbackrest", "2.60.1-1")
    found = {name: host(name, *([] if name == "db2" else [new])) for name in (*DATABASES, "keep1")}
    assert against(found, WHOLE) == [
        "pgbackrest would be 2.60.0 on db2; 2.60.1 on db1, db3, keep1: all hosts need one version, so all need a source that has"
        " it"
    ]
    assert against({name: host(name, new) for name in found}, WHOLE) == []


def test_a_backup_that_is_being_made_is_waited_for() -> None:
    view = views.backed_up(keep1=views.keeper(backups=views.backups(runs=(BackupRun("full", True, False, None),))))
    assert list(busy(view)) == ["keep1: a backup is being made (full): wait until it is done"]
    assert list(busy(views.backed_up())) == []


def test_an_upgrade_that_was_interrupted_goes_on_as_the_same_one() -> None:
    note = replaced("postgresql-18", "18.5-1", new="18.7-1")
    found = {"db1": host("db1", *PG), "db2": host("db2", note=note, installed={"postgresql-18": "18.7-1"})}
    assert run_of(found, forward(found), "later") == "noon"
    assert run_of({"db1": host("db1", *PG)}, forward(found), "later") == "later"
    taken_back = {**found, "db2": host("db2", note=note, installed={"postgresql-18": "18.5-1"})}
    assert run_of(taken_back, forward(found), "later") == "later"
    # Of two components the first is done everywhere, and the second was only fetched.
    etcd = host("db2", note=replaced("etcd-server", "3.5.29-1", "etcd", new="3.5.30-2"))
    half = {"db1": host("db1", *PG, fetched={"postgresql-18": {"new": "18.7-1", "run": "noon"}}), "db2": etcd}
    assert run_of(half, forward(half), "later") == "noon"


def test_the_order_of_an_upgrade_of_everything() -> None:
    etcd, patroni = row("etcd-server", "3.5.31-1"), row("patroni", "4.1.6-1")
    backrest, proxied = row("pgbackrest", "2.60.1-1"), (row("haproxy", "3.2.27-1"), row("pgbouncer", "1.26.2-1"))
    found = {
        **offered(etcd, PG[0], patroni, backrest),
        "keep1": host("keep1", backrest, PG[0]),
        "proxy1": host("proxy1", *proxied),
    }
    both = "install postgresql-18 18.7-1, patroni 4.1.6-1 on"
    assert plan(found, WHOLE, views.backed_up()) == [
        "fetch 6 packages to db1, db2, db3, keep1, proxy1, and keep what they replace (upgrade noon)",
        "install pgbackrest 2.60.1-1 on keep1, db1, db2, db3",
        "restart pgbackrest.service on keep1, db1, db2, db3",
        "install postgresql-18 18.7-1 on keep1",
        "install etcd-server 3.5.31-1 on db1",
        "restart etcd.service on db1",
        "install etcd-server 3.5.31-1 on db3",
        "restart etcd.service on db3",
        "move etcd's leadership to db3",
        "install etcd-server 3.5.31-1 on db2",
        "restart etcd.service on db2",
        f"{both} db2",
        "drain and restart Patroni with PostgreSQL on db2",
        f"{both} db3",
        "drain and restart Patroni with PostgreSQL on db3",
        "switch over from db1 to db3",
        f"{both} db1",
        "drain and restart Patroni with PostgreSQL on db1",
        "install haproxy 3.2.27-1 on proxy1",
        "reload haproxy.service on proxy1",
        "install pgbouncer 1.26.2-1 on proxy1",
        "restart pgquorum-pool@write-1.service on proxy1",
        "restart pgquorum-pool@read-1.service on proxy1",
    ]


def test_the_virtual_address_leaves_a_proxy_host_before_what_cuts_its_clients() -> None:
    new = (row("haproxy", "3.2.27-1"), row("pgbouncer", "1.26.2-1"), row("keepalived", "1:2.3.5-1"))
    found = {name: host(name, *new) for name in ("proxy1", "proxy2")}
    assert plan(found, views.SHARED, views.shared())[1:] == [
        f"{step} on {name}" if not step.startswith("move") else step
        for name in ("proxy2", "proxy1")
        for step in (
            "install haproxy 3.2.27-1",
            "reload haproxy.service",
            "install pgbouncer 1.26.2-1",
            *(["move 10.0.0.77 away from proxy1"] if name == "proxy1" else []),
            "restart pgquorum-pool@write-1.service",
            "restart pgquorum-pool@read-1.service",
            "install keepalived 1:2.3.5-1",
            "restart keepalived.service",
        )
    ]


def test_postgres_alone_is_restarted_by_patroni_and_clients_wait_for_the_switchover() -> None:
    steps = plan(offered(*PG), hold=True)
    new = "install postgresql-18 18.7-1, postgresql-client-18 18.7-1, libpq5 18.7-1 on"
    assert steps[1:3] == [f"{new} db2", "drain and restart PostgreSQL on db2"]
    assert steps[5].startswith("switch over from db1 to db3, with new connections to port 5000 held")
    assert steps[6:] == [f"{new} db1", "drain and restart PostgreSQL on db1"]


def test_what_nothing_runs_of_restarts_nothing() -> None:
    assert plan(offered(row("etcd-client", "3.5.31-1"), row("postgresql-client-18", "18.7-1"), hosts=("db1",))) == [
        "fetch 2 packages to db1, and keep what they replace (upgrade noon)",
        "install etcd-client 3.5.31-1 on db1",
        "install postgresql-client-18 18.7-1 on db1",
    ]


def test_what_was_installed_and_not_restarted_is_restarted() -> None:
    assert plan({"db2": host("db2", due=("patroni",)), "db3": host("db3", due=("etcd",))}) == [
        "restart etcd.service on db3",
        "drain and restart Patroni with PostgreSQL on db2",
    ]


def test_an_installation_that_came_to_no_end_is_ended_and_what_it_is_of_restarted() -> None:
    """It has the new version already, so there is nothing to fetch, and nothing to go back from."""
    found = {"db2": host("db2", unfinished={"postgres": {"postgresql-18": "18.7-1"}})}
    ended = tuple(one for there in found.values() for one in there.unfinished)
    assert plan(found, unfinished=ended) == ["install postgresql-18 18.7-1 on db2", "drain and restart PostgreSQL on db2"]
    changed = {"db2": host("db2", row("postgresql-18", "18.7-2", old="18.7-1"))}
    assert plan(changed, unfinished=ended)[1] == "install postgresql-18 18.7-2 on db2"


def test_nothing_is_to_be_done_twice() -> None:
    assert plan(offered()) == []


LAST = replaced("postgresql-18", "18.5-1") | replaced("postgresql-client-18", "18.5-1")


def test_the_way_back_is_what_the_last_upgrade_has_replaced_and_no_earlier_one() -> None:
    earlier = replaced("etcd-server", "3.5.29-1", "etcd", "morning")
    found = {"db1": host("db1", note=LAST | earlier), "db2": host("db2", note=LAST), "db3": host("db3")}
    everything = ("etcd", "postgres", "patroni")
    assert back(found, everything) == (
        Change("db1", "postgres", "postgresql-18", "18.6-3", "18.5-1"),
        Change("db1", "postgres", "postgresql-client-18", "18.6-3", "18.5-1"),
        Change("db2", "postgres", "postgresql-18", "18.6-3", "18.5-1"),
        Change("db2", "postgres", "postgresql-client-18", "18.6-3", "18.5-1"),
    )
    assert back(found, ("etcd",)) == (Change("db1", "etcd", "etcd-server", "3.5.30-2", "3.5.29-1"),)
    assert back(found, ("haproxy",)) == ()


def test_what_is_back_already_or_came_along_new_stays() -> None:
    gone_back = replaced("postgresql-18", "18.6-3", new="18.7-1")
    assert back({"db1": host("db1", note=gone_back | replaced("postgresql-client-18", None))}, ("postgres",)) == ()


def test_what_is_not_there_any_more_can_not_be_taken_back() -> None:
    found = {"db1": host("db1", note=replaced("postgresql-18", "18.5-1", files={}))}
    (text,) = no_way_back(found, back(found, ("postgres",)))
    assert text == "db1: postgresql-18 18.5-1 is not there as it was kept (/var/lib/pgquorum/replaced)"


def taken_back(found: dict[str, HostPackages], view: ClusterView, *unwell: str) -> list[str]:
    return plan(found, view=view, changes=back(found, ("postgres",)), run=None, unwell=frozenset(unwell))


def test_on_the_way_back_who_is_not_well_comes_first_and_nothing_is_asked_of_it() -> None:
    found = {name: host(name, note=LAST) for name in ("db2", "db3")}
    assert taken_back(found, views.view(), "db3") == [
        "install postgresql-18 18.5-1, postgresql-client-18 18.5-1 on db3",
        "restart patroni.service on db3",
        "install postgresql-18 18.5-1, postgresql-client-18 18.5-1 on db2",
        "drain and restart PostgreSQL on db2",
    ]


def test_where_nobody_leads_all_are_taken_back_at_once() -> None:
    found = {name: host(name, note=LAST) for name in DATABASES}
    assert taken_back(found, views.with_keys(leader=None), *DATABASES) == [
        "install postgresql-18 18.5-1, postgresql-client-18 18.5-1 on db1, db2, db3",
        "restart patroni.service on db1, db2, db3",
    ]


def ran(
    monkeypatch: pytest.MonkeyPatch,
    found: dict[str, HostPackages],
    view: ClusterView | None = None,
    *,
    stuck: int | None = None,
    of: Cluster = SHOP,
    **options: Any,
) -> tuple[int, list[Step]]:
    """Runs `upgrade`; its exit code and the steps that were executed. `stuck`: which of them fails."""
    executed: list[Step] = []

    def record(step: Step, actions: Any) -> None:
        if len(executed) == stuck:
            raise ClusterError("it does not start")
        executed.append(step)

    def carry_out(out: Any, fleet: Any, of: Any, vault: Any, outcome: measuring.Outcome, hop: Any, known: Any = ()) -> bool:
        actions: Any = RecordingActions()
        measuring.take_steps(out, actions, outcome)
        return False

    monkeypatch.setattr(measuring, "execute", record)
    cut_off(monkeypatch, command, view, carry_out=carry_out, look=lambda *asked, **how: found)
    given: dict[str, Any] = {
        "component": "", "back": False, "without_way_back": False, "patience": 5, "dry": False, "yes": True, "hop": None,
        "as_json": False,
    }  # fmt: skip
    return command.upgrade(of, **given | options), executed


def test_the_plan_that_is_printed_is_the_plan_that_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(monkeypatch, offered(*PG), dry=True, as_json=True) == (0, [])
    printed, words = capsys.readouterr()
    _, executed = ran(monkeypatch, offered(*PG), as_json=True)
    result = json.loads(capsys.readouterr().out)
    assert result["planned"] == result["done"] == json.loads(json.dumps([step.document() for step in executed]))
    # When it began is in its name.
    assert [step["kind"] for step in json.loads(printed)["planned"]] == [step["kind"] for step in result["done"]]
    assert json.loads(printed)["planned"][1:] == result["done"][1:]
    assert "db2   postgresql-18         18.6-3  18.7-1" in words
    assert result["changes"][0] == {
        "host": "db1", "component": "postgres", "package": "postgresql-18", "old": "18.6-3", "new": "18.7-1",
    }  # fmt: skip


def test_where_it_stops_the_way_back_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, executed = ran(monkeypatch, offered(*PG), stuck=2)
    told = capsys.readouterr().out
    assert code == 1 and len(executed) == 2
    assert "it does not start" in told and "left     drain and restart PostgreSQL on db2" in told
    assert told.splitlines()[-1] == (
        "the same command goes on; `invoke upgrade --back --component postgres` takes back what it has installed"
    )


def test_where_nothing_was_installed_no_way_back_is_offered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would take back what an earlier upgrade has installed."""
    assert ran(monkeypatch, offered(*PG), stuck=0) == (1, [])
    told = capsys.readouterr().out
    assert told.splitlines()[-1] == "the same command goes on" and "--back" not in told


def test_a_cluster_that_is_not_well_is_not_upgraded_but_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = views.view(db3=views.database("db3", postgres=None, problems={"postgres": "no answer"}))
    with pytest.raises(ClusterError, match=r"no upgrade now(.|\n)*db3: (.|\n)*`invoke upgrade --back`"):
        ran(monkeypatch, offered(*PG), broken)
    _, executed = ran(monkeypatch, {"db3": host("db3", note=LAST)}, broken, back=True)
    assert [str(step) for step in executed][1] == "restart patroni.service on db3"


@pytest.mark.parametrize(
    ("new", "moves"),
    [
        (row("pgbouncer", "1.26.2-1"), "move 10.0.0.77 away from proxy1"),
        (row("keepalived", "1:2.3.5-1"), "restart keepalived.service on proxy1"),
        (row("haproxy", "3.2.27-1"), ""),
    ],
)
def test_whose_sessions_are_cut_is_said_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], new: dict[str, Any], moves: str
) -> None:
    found = {name: host(name, new) for name in ("proxy1", "proxy2")}
    assert ran(monkeypatch, found, views.shared(), of=views.SHARED, dry=True)[0] == 0
    warned = [line for line in capsys.readouterr().out.splitlines() if "come by 10.0.0.77 are cut" in line]
    assert len(warned) == bool(moves) and all(line.endswith(moves) and "proxy2" not in line for line in warned)


def test_nothing_is_restarted_with_a_file_that_is_not_the_deploys(monkeypatch: pytest.MonkeyPatch) -> None:
    edited = views.view(db2=views.database("db2", edited=("/etc/patroni/conf.d/patroni.yml",)))
    with pytest.raises(ClusterError, match=r"db2: /etc/patroni/conf.d/patroni.yml is not as the deploy wrote it: deploy"):
        ran(monkeypatch, offered(*PG), edited)
    _, executed = ran(monkeypatch, {"db3": host("db3", note=LAST)}, edited, back=True)
    assert executed


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("postgers", "--component postgers (did you mean 'postgres'?): should be one of etcd, postgres, patroni, haproxy"),
        (
            "pgbouncer",
            "--component pgbouncer: no host of this cluster has it: should be some of etcd, postgres, patroni, haproxy",
        ),
    ],
)
def test_a_component_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, words: str, told: str) -> None:
    with pytest.raises(ClusterError) as error:
        ran(monkeypatch, {}, component=words)
    assert str(error.value).startswith(told)


def test_all_that_stands_in_the_way_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"db1": host("db1", problems={"etcd": "held broken packages"}), "db2": host("db2", row("patroni", "4.2.0-1"))}
    with pytest.raises(ClusterError) as error:
        ran(monkeypatch, found)
    assert len(str(error.value).splitlines()) == 3


def test_nothing_is_to_be_upgraded(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran(monkeypatch, offered()) == (0, [])
    assert capsys.readouterr().out == "nothing is to be upgraded\n"


def test_what_still_runs_as_it_was_is_a_failure() -> None:
    view = views.view(db1=views.database("db1", packages={"etcd-server": Package("3.5.31-1", held=True)}))
    assert command.still_old(view, SHOP, ("etcd",)).startswith("db1: etcd 3.5.31-1 is installed, and 3.5.30 runs")
    assert command.still_old(view, SHOP, ("postgres",)) == ""
