"""Which deploy a host has had: noted anew where something is another, and compared among hosts."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import views
from clusters import cluster

from cluster.last_deploy import LastDeploy, digest, missed, note_for, parse
from cluster.survey import HostSurvey, parse_survey
from cluster.topology import Sessions
from health.rules import findings
from health.view import ClusterView

SHOP = cluster()
OLD, NEW = LastDeploy(100, "old"), LastDeploy(200, "new")


def surveyed(note: LastDeploy | str | None, marker: str = '{"cluster": "shop"}') -> HostSurvey:
    text = note.text if isinstance(note, LastDeploy) else note or ""
    return HostSurvey(marker=marker, last_deploy=text.strip())


def told(view: ClusterView) -> list[str]:
    return [f.text for f in findings(view, SHOP) if f.rule == "deploy.missed"]


@pytest.mark.parametrize(
    "settings",
    [
        {"client_networks": ["10.0.1.0/24"]},
        {"pooling": True},
        {"postgres_parameters": {"work_mem": "8MB"}},
        {"etcd_quota": "1GB"},
        {"two": True},
        {"of": {"db2": {"address": "10.0.0.22"}}},
    ],
)
def test_whatever_hosts_get_makes_another_digest(settings: dict[str, Any]) -> None:
    assert digest(cluster(**settings), {}) != digest(SHOP, {})


def test_passwords_count_too() -> None:
    assert len({digest(SHOP, {}), digest(SHOP, {"password rewind": "ab"}), digest(SHOP, {"password rewind": "cd"})}) == 3


def test_what_no_host_gets_makes_none() -> None:
    of = cluster({"db1": {"ssh_port": 2222}}, secrets_directory="/elsewhere", downgrade_from="9.0.0", etcd_quota="2GB")
    assert digest(of, {}) == digest(replace(SHOP, running=Sessions(50, 42)), {}) == digest(SHOP, {})


def test_a_note_is_written_anew_only_for_other_settings_and_is_always_later() -> None:
    assert note_for("new", [], 150.9) == LastDeploy(150, "new")
    assert note_for("new", [surveyed(OLD), surveyed(NEW), surveyed(None), surveyed("damaged")], 300) == NEW
    assert note_for("next", [surveyed(OLD), surveyed(NEW)], 300) == LastDeploy(300, "next")
    assert note_for("next", [surveyed(NEW)], 50) == LastDeploy(201, "next")  # by another operator's clock
    assert note_for("new", [surveyed(NEW, marker="")], 300).at == 300  # of a cluster that the host has left
    assert parse(json.loads(NEW.text)) == NEW
    assert parse_survey([f"last_deploy {NEW.text.strip()}"], 0.0).last_deploy == NEW.text.strip()


def test_who_has_not_had_the_latest_has_missed_it() -> None:
    assert missed({}) is missed({"db1": None, "db2": None}) is missed({"db1": NEW, "db2": replace(NEW, at=100)}) is None
    assert missed({"db1": OLD, "db2": NEW, "db3": None}) == (NEW, ("db1", "db3"))


def test_hosts_that_say_nothing_of_it_are_not_told_to_have_missed_it() -> None:
    names = (*views.DATABASES, "proxy1")
    older = {name: replace(views.view().hosts[name], last_deploy=None) for name in names}
    assert told(views.view(**older)) == []  # before the first deploy of this version
    assert [text.split(":")[1] for text in told(views.view(db3=older["db3"]))] == ["00 (UTC) has left out db3"]
    for differs in ({"problems": {"last_deploy": "x"}}, {"problems": {"edited": "no such file"}}, {"cluster_name": "blog"}):
        assert told(views.view(db3=replace(older["db3"], **differs))) == []  # type: ignore[arg-type]
    assert told(views.view(db3=views.unreachable("db3"))) == told(views.view(db3=views.blank("db3"))) == []
