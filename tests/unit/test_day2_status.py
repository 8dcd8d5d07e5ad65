"""What status shows, of a well cluster and of one in ruins."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
import views
from clusters import cluster
from rich.console import Console

from day2.commands.look import status
from day2.ui import console
from health.rules import candidates, findings
from health.states import Salvage
from health.view import ClusterView

SHOP = cluster()
RUINS = {
    "well": views.view(),
    "nothing deployed": views.view(**{n: views.blank(n) for n in (*views.DATABASES, "proxy1")}),
    "nobody answers": views.view(**{n: views.unreachable(n) for n in (*views.DATABASES, "proxy1")}),
    "no etcd": views.view(**{n: views.database(n, etcd=None, problems={"etcd": "x"}) for n in views.DATABASES}),
    "no primary": views.with_keys(leader=None, config=None, sync=None, status=None),
    "Patroni down": views.view(db1=views.database("db1", patroni=None, postgres=None, problems={"patroni": "x"})),
    "HAProxy down": views.view(proxy1=views.proxy(proxy=None, problems={"haproxy": "refused"})),
    "markup": views.view(db1=views.database("db1", patroni=None, problems={"patroni": "[red]no[/red] [/]"})),
}


def shown(view: ClusterView) -> str:
    out = Console(file=io.StringIO(), width=120, highlight=False)
    status.show(out, SHOP, view, findings(view, SHOP), candidates(view, SHOP))
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


@pytest.mark.parametrize("case", RUINS)
def test_it_can_always_be_shown(case: str) -> None:
    text = shown(RUINS[case])
    assert text.splitlines()[-1].startswith("healthy" if case == "well" else "not healthy")
    document = status.document(SHOP, RUINS[case], findings(RUINS[case], SHOP), candidates(RUINS[case], SHOP))
    read = json.loads(console.to_json(document))
    assert read["healthy"] is (case == "well")
    assert set(read["hosts"]) == set(RUINS[case].hosts)


def test_one_screen() -> None:
    text = shown(views.view())
    assert "db1     primary (leader)  running" in text
    assert "db2     replica           streaming  3         0 B  quorum                   yes" in text
    assert "proxy1   db1               db2, db3         none" in text
    assert len(text.splitlines()) < 25
    assert "\x1b" not in text


def test_that_no_cluster_was_chosen_is_told_where_none_was() -> None:
    chosen = replace(SHOP, inventory="inventories/shop/inventory.py")
    for of, said in ((SHOP, True), (chosen, False)):
        out = Console(file=io.StringIO(), width=120, highlight=False)
        status.show(out, of, views.view(), (), ())
        assert isinstance(out.file, io.StringIO)
        assert out.file.getvalue().startswith("the lab's cluster (inventory.py), as no other is chosen") is said


def test_a_screen_to_watch_is_what_is_printed_otherwise() -> None:
    out = Console(file=io.StringIO(), width=120, highlight=False)
    for view in (RUINS["well"], RUINS["markup"]):
        assert status.screen(out, SHOP, view).plain.splitlines() == shown(view).splitlines()
    assert isinstance(out.file, io.StringIO) and out.file.getvalue() == ""


def test_each_line_bears_the_id_of_its_rule_in_the_text_and_in_the_json() -> None:
    view = RUINS["HAProxy down"]
    assert "problem  proxy1: HAProxy does not answer: refused (routing.silent)" in shown(view)
    document = status.document(SHOP, view, findings(view, SHOP), candidates(view, SHOP))
    [found] = json.loads(console.to_json(document))["findings"]
    assert found == {
        "level": "problem",
        "rule": "routing.silent",
        "about": "proxy1",
        "text": "HAProxy does not answer: refused",
    }


def test_what_a_rewind_has_thrown_away_is_named_and_makes_nobody_sick() -> None:
    older, newer = (Salvage(f"/kept/{n}", "db2", "2026", 3, "0/1", "0/2", 20 + n, 16) for n in (1, 2))
    text = shown(views.view(db2=views.database("db2", salvage=(older, newer))))
    assert "db2: 43 transactions that a rewind took back are kept in /kept/2 and 1 beside it" in text
    assert text.splitlines()[-1].startswith("healthy")
    assert "rewind" not in shown(views.view())


def test_hosts_that_another_version_has_deployed_are_named_and_are_not_sick() -> None:
    text = shown(views.view(db2=views.database("db2", deployed_by=None), proxy1=views.proxy(deployed_by="7.0.0")))
    assert f"a version before 0.2.0 (db2), 7.0.0 (proxy1), this is {views.VERSION}" in text
    assert text.splitlines()[-1].startswith("healthy")
    for same in (views.view(), views.view(db2=views.blank("db2")), views.view(db2=views.unreachable("db2"))):
        assert "deployed by" not in shown(same)


def test_who_is_at_work_is_shown() -> None:
    line = json.dumps({"who": "anna@desk", "doing": "failover-test", "since": "10:00", "directory": "/home/anna/shop"})
    view = views.view(db1=views.database("db1", operator=line), db2=views.database("db2", operator=line))
    assert shown(view).count("anna@desk is changing this cluster (failover-test, since 10:00") == 1


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 kB"), (2**24, "16.0 MB"), (2**50, "1024.0 TB")]
)
def test_sizes(count: int, text: str) -> None:
    assert console.size(count) == text
