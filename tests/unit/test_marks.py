"""Marks: names for moments, which can be taken back and given again."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
import views
from clusters import cluster
from offline import cut_off

import day2.commands.backups.mark as command
from cluster.errors import ClusterError
from cluster.recovery import Archive, Mark, parse_target
from cluster.timelines import Base, Timeline
from day2.commands.backups.sought import Sought

SHOP = cluster(backup=True)
NOTHING = Archive((), {}, "", {}, {})
BASE = Base("L1", "full", 500.0, 1, 0x2000000, 10, False)


class Etcd:
    """Keeps what etcdctl is told, as notes."""

    def __init__(self) -> None:
        self.notes: dict[str, str] = {}

    def __call__(self, fleet: Any, cluster: Any, said: str) -> str:
        verb, place, *value = shlex.split(said)
        name = place.removeprefix("/pgquorum/shop/")
        if verb == "put":
            self.notes[name] = value[0]
        else:
            assert verb == "del"
            self.notes.pop(name)
        return ""


@pytest.fixture
def etcd(monkeypatch: pytest.MonkeyPatch) -> Etcd:
    etcd, points = Etcd(), list[str]()

    def psql(fleet: Any, cluster: Any, host: str, query: str) -> str:
        point = query.split("'")[1]
        assert point not in points and len(point) <= 63
        points.append(point)
        return f"0/{len(points):X}000060\n0/1"

    cut_off(monkeypatch, command, views.backed_up(), etcd=etcd, notes=lambda *_: etcd.notes, psql=psql)
    return etcd


def told(mark: Mark) -> str:
    """What PostgreSQL is told of it."""
    found = Sought(NOTHING, Timeline(1), BASE, mark)
    return found.told(parse_target(mark.name)).value


def test_a_name_that_was_taken_back_can_be_given_again_and_is_another_point_in_the_log(etcd: Etcd) -> None:
    """A recovery stops at the first point of a name, which would be that of the mark that was removed."""
    values = []
    for _ in range(2):
        assert command.mark(SHOP, name="release") == 0
        made = Mark(**json.loads(etcd.notes["marks/release"]))
        values.append(told(made))
        assert values[-1] == made.point and made.point.startswith("release.")
        with pytest.raises(ClusterError, match=r"there is a mark of that name: .* `invoke backup.mark release --remove`"):
            command.mark(SHOP, name="release")
        assert command.mark(SHOP, name="release", remove=True) == 0
        assert etcd.notes == {}
    assert len(set(values)) == 2
    assert command.mark(SHOP, name="m" * 63) == 0


def test_a_mark_from_before_is_called_in_the_log_as_it_is() -> None:
    assert told(Mark("release", 1, 5, "")) == "release"
    assert Sought(NOTHING, Timeline(1), BASE, None).told(parse_target("latest")) == parse_target("latest")


def test_what_is_no_mark_can_not_be_removed_and_none_is_needed_of_a_primary_for_that(
    etcd: Etcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    etcd.notes = {"restore": "{}", "marks/release": json.dumps({"name": "release", "timeline": 1, "lsn": 5, "at": ""})}
    with pytest.raises(ClusterError, match=r"backup.mark relase --remove: no mark .*did you mean 'release'.*there are release"):
        command.mark(SHOP, name="relase", remove=True)
    nobody = views.backed_up(**{name: views.database(name, postgres=None) for name in views.DATABASES})
    cut_off(monkeypatch, command, nobody)
    with pytest.raises(ClusterError, match="nobody takes writes"):
        command.mark(SHOP, name="later")
    assert command.mark(SHOP, name="release", remove=True) == 0
    assert list(etcd.notes) == ["restore"]
