"""Hosts whose pgBackRest differ are told before one of them leads."""

from __future__ import annotations

import views

from health.rules import findings
from health.states import Package


def told(**versions: str) -> list[str]:
    hosts = {
        name: views.database(name, packages={"pgbackrest": Package(version, held=True)}) for name, version in versions.items()
    }
    found = findings(views.backed_up(**hosts), views.BACKED_UP)
    return [one.text for one in found if one.rule == "packages.other-pgbackrest"]


def test_they_are_named_with_their_hosts() -> None:
    (text,) = told(db1="2.60.0-1", db2="2.60.0-1", db3="2.61.0-1")
    assert text.startswith("pgBackRest is 2.60.0 on db1 and db2, 2.61.0 on db3, and these do not talk to each other")


def test_builds_of_one_version_are_alike() -> None:
    assert told(db1="2.60.0-1", db2="2.60.0-1~deb13u1", db3="2.60.0-2") == []
