"""Faults of the archive: what refuses them, and that a trial fails where what was written does not get to the archive."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import views
from clusters import cluster
from test_faults import ALL_POWERED, OF_REPOSITORY, Hosts, context, made
from test_trials_trial import done, recorded, run_of

from cluster.archive import Archived
from cluster.errors import ClusterError
from day2.commands.prove.failover_test import refuse_bad_faults
from day2.faults import choose, repository
from day2.faults.repository import COVER, FULL, UNCOVER, Archiving, HostLostForGood, end_file
from day2.trials import trial
from health.states import Archiver
from health.view import ClusterView

__all__ = ["done"]  # a fixture
NAME = "00000003000000000000000B"


@pytest.mark.parametrize("name", sorted(OF_REPOSITORY))
def test_a_cluster_without_backups_is_refused_by_name(name: str) -> None:
    against = choose(name, context()).blockers()
    assert against == ["needs a host that keeps backups, and group 'backup' has none"]


@pytest.mark.parametrize("name", sorted(OF_REPOSITORY))
def test_so_is_an_archive_that_is_not_well_before(name: str) -> None:
    failing = views.backed_up(Archiver("A8", 90.0, "A9", 5.0, 1, 60.0))
    (text,) = made(name, view=failing).blockers()
    assert text.startswith("archiving is not well before: db1: archiving A9 has failed")
    away = made(name, view=views.backed_up(keep1=views.unreachable("keep1"))).blockers()
    assert away == ["keep1 does not answer"]


def test_a_soak_has_all_of_them_where_there_are_backups_and_none_where_there_are_not() -> None:
    disks = Hosts(output="Mounted on Avail\n/ 1\n/ 1\n")
    names, _ = refuse_bad_faults(made("archive-hangs", answer=disks).context, None, every=True)
    assert set(names) >= OF_REPOSITORY
    names, left_out = refuse_bad_faults(context(answer=disks), None, every=True)
    assert not OF_REPOSITORY & set(names) and set(left_out) >= OF_REPOSITORY


def test_what_else_they_need_is_told() -> None:
    unpowered = {"of": cluster(backup=True)}
    assert "keep1: no power_off and no power_on" in made("repository-off", **unpowered).blockers()[0]
    assert "db1: no power_off and no power_on" in made("host-lost-for-good", **unpowered).blockers()[0]
    assert made("archive-hangs", answer=Hosts(1)).blockers()[0].startswith("keep1 has no nft")
    elsewhere = {"s3": {"type": "s3", "bucket": "bbb", "endpoint": "s3.example.com", "region": "r"}}
    (why,) = made("repository-full", of=cluster(backup=True, backup_repositories=elsewhere)).blockers()
    assert why == "covers the archive in a directory, and no repository in backup_repositories is of type directory"
    assert made("repository-full", **unpowered).blockers() == made("archive-hangs", **unpowered).blockers() == []


def test_their_targets() -> None:
    assert [host.name for host in made("archive-hangs").hosts] == ["keep1"]
    assert [host.name for host in made("host-lost-for-good").hosts] == ["db1", "keep1"]
    script = made("archive-hangs").host_script  # type: ignore[attr-defined]
    assert all(f"ip saddr 10.0.0.{n} drop" in script.inject for n in (1, 2, 3))
    assert "10.0.0.9 drop" not in script.inject


def test_the_archive_is_covered_and_uncovered_again(tmp_path: Path) -> None:
    """By the commands that would be run: none is."""
    for name in ("18-1", "18-2"):
        (tmp_path / "archive" / name).mkdir(parents=True)
    called = tmp_path / "called"
    stubs = f'mount() {{ echo "mount $*" >>{called}; }}; umount() {{ echo "umount $*" >>{called}; }}\n'
    mounts = tmp_path / "mounts"
    mounts.write_text("tmpfs /tmp tmpfs rw 0 0\n")

    def run(script: str, **values: Any) -> subprocess.CompletedProcess[str]:
        settings = "".join(f"{name}={value}\n" for name, value in values.items())
        text = f"set -e\n{stubs}{settings}{script}".replace("/proc/mounts", str(mounts))
        return subprocess.run(["sh"], input=text, text=True, capture_output=True, check=False)

    assert run(COVER, archive=tmp_path / "archive").returncode == 0
    assert [line.split()[-2:] for line in called.read_text().splitlines()] == [
        [FULL, f"{tmp_path}/archive/{name}/"] for name in ("18-1", "18-2")
    ]
    (tmp_path / "led/18-1").parent.mkdir()
    (tmp_path / "led/18-1").symlink_to(tmp_path)
    assert "18-1/ is a link" in run(COVER, archive=tmp_path / "led").stderr
    assert run(COVER, archive=tmp_path / "none").returncode == 1
    called.unlink()
    assert run(UNCOVER).returncode == 0 and not called.exists()
    mounts.write_text(f"{FULL} /a/18-1 tmpfs rw 0 0\n")
    left = run(UNCOVER)
    assert left.returncode == 1 and "/a/18-1 can't be unmounted" in left.stderr  # it is still there
    assert called.read_text() == "umount /a/18-1\n"


def seen(monkeypatch: pytest.MonkeyPatch, view: ClusterView) -> None:
    monkeypatch.setattr(repository, "observe", lambda *_: view)


def with_archive(*there: tuple[int, int]) -> ClusterView:
    state = views.backups(archived=views.archived(*there), history=(3, ""))
    return views.backed_up(keep1=views.keeper(backups=state))


def test_what_is_written_is_followed_to_the_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    archiving = Archiving(made("archive-hangs", answer=Hosts(output=f"{NAME}\n0/C000000\n")).context)
    seen(monkeypatch, with_archive((5, 10)))
    assert archiving.missing() == (f"{NAME} is not in the archive: no reason seen",)
    seen(monkeypatch, views.backed_up())
    assert archiving.missing() == (f"{NAME} is not in the archive: local could not be seen",)
    seen(monkeypatch, views.backed_up(keep1=views.unreachable("keep1")))
    assert archiving.missing()[0].startswith(f"{NAME} is not in the archive")
    seen(monkeypatch, with_archive((5, 11)))
    assert archiving.missing() == ()
    seen(monkeypatch, with_archive((5, 7), (9, 11)))
    assert archiving.missing()[0].startswith("000000030000000000000008 is missing in the archive")


def test_what_one_of_several_repositories_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = replace(views.ARCHIVED, archived=views.archived((5, 11)), history=(3, ""))
    behind = replace(whole, name="s3", archived=views.archived((5, 9)))
    two = {"local": {"type": "directory"}, "s3": {"type": "s3", "bucket": "bbb", "endpoint": "s3.example.com", "region": "r"}}
    fault = made("archive-hangs", answer=Hosts(output=f"{NAME}\n0/C000000\n"))
    archiving = Archiving(replace(fault.context, cluster=cluster(backup=True, backup_repositories=two)))
    seen(monkeypatch, views.backed_up(keep1=views.keeper(backups=replace(views.backups(), repositories=(whole, behind)))))
    assert archiving.missing() == (f"{NAME} is not in the archive of s3: no reason seen",)
    seen(monkeypatch, views.backed_up(keep1=views.keeper(backups=replace(views.backups(), repositories=(whole, whole)))))
    assert archiving.missing() == ()


def test_where_nobody_leads_no_file_can_be_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = made("archive-hangs", answer=Hosts(1, problem="psql: no"))
    seen(monkeypatch, views.backed_up())
    with pytest.raises(ClusterError, match="db1: psql: no"):
        end_file(fault.context)
    seen(monkeypatch, views.with_keys(leader=None))
    assert Archiving(fault.context).missing() == ("nobody leads, so no write-ahead log can be archived",)


def test_the_lost_host_is_back_only_when_all_is_archived_and_a_hole_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    fault = made("host-lost-for-good")
    assert isinstance(fault, HostLostForGood)
    answers = iter([("A9 is not in the archive: no reason seen",), ("A7 is missing in the archive",), ()])

    class Found:
        def __init__(self, context: object) -> None:
            pass

        def missing(self) -> tuple[str, ...]:
            taken.append("look")
            return next(answers)

    def step(name: str) -> Any:
        return lambda *_: taken.append(name)

    monkeypatch.setattr(repository, "Archiving", Found)
    monkeypatch.setattr(repository, "time", type("Clock", (), {"monotonic": lambda: float(len(taken)), "sleep": lambda _: None}))
    for name in ("inject", "heal", "await_successor", "cut_power", "give_power"):
        monkeypatch.setattr(repository, name, step(name))
    monkeypatch.setattr(repository, "end_file", lambda context: NAME)
    fault.heal()  # before it has been injected: nothing is waited for
    assert taken == ["heal", "give_power"]
    taken.clear()
    fault.inject()
    assert taken == ["inject", "cut_power"] and NAME in fault.note
    fault.heal()
    assert taken[2:] == ["heal", "await_successor", "look", "look", "look", "give_power"] and fault.aftermath() == ()
    monkeypatch.setattr(repository, "ARCHIVED_SECONDS", 0)
    fault.inject()
    answers = iter([("A7 is missing in the archive",)])
    fault.heal()
    assert fault.aftermath() == ("without db1: A7 is missing in the archive",)
    fault.heal()  # once more: it is not asked again
    assert taken[-2:] == ["heal", "give_power"]


def test_a_trial_waits_for_the_archive_and_fails_where_it_lacks_something(
    done: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "LOOK_SECONDS", 0.01)
    answers = [("B is not there",), ("B is not there",), ()]
    late = run_of(recorded("archive-hangs", done, monkeypatch, aftermath=lambda: answers.pop(0))).trial()
    assert late.aftermath == () and answers == []
    monkeypatch.setattr(trial, "HEALTHY_SECONDS", 0.05)
    never = run_of(recorded("archive-hangs", done, monkeypatch, aftermath=lambda: ("B is not there",))).trial()
    assert never.failures == ("B is not there",) and not never.passed
    assert replace(never, aftermath=()).passed


def test_an_archive_knows_its_files_by_name() -> None:
    there = Archived({3: {11: 0.0}})
    assert there.has(NAME) and not there.has("00000002" + NAME[8:]) and not there.has("00000003000000000000000C")
    assert ALL_POWERED.keys() == {"db1", "db2", "db3", "keep1"}
