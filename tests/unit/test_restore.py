"""A restore without a host: what stands in its way, its steps, how it is taken up again, and what the command says."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
import views
from clusters import KEEPERS, cluster
from offline import RecordingActions, cut_off

import day2.commands.backups.cancel as cancel
import day2.commands.backups.restore as command
import day2.recovery.actions as doing
from cluster.errors import ClusterError
from cluster.recovery import Mark, Target, archive_of, parse_target
from cluster.timelines import Base, position, timelines
from cluster.topology import Cluster
from day2.commands.backups.outcome import GOES_ON
from day2.recovery import steps as recovery_steps
from day2.recovery.actions import RestoreActions
from day2.recovery.arrival import Arrival, missed_target
from day2.recovery.executor import call_off, carry_out
from day2.recovery.logs import Log, ends
from day2.recovery.obstacles import Surveyed, objections, reachable, surveyed
from day2.recovery.plan import (
    Restore,
    awaited,
    back,
    fetching,
    final,
    furthest_of,
    left,
    marks,
    may_lead,
    overtaken,
    place,
    planned,
    read,
    replanned,
    spent,
    steps,
)
from day2.recovery.way_back import WayBack, ways_back
from day2.recovery.words import arrived, settings
from health.backup_states import Backup, BackupRun, Repository
from health.rules import findings
from health.view import ClusterView

SHOP = cluster(backup=True)
MIB = 1024**2
BASE = Base("20261129-010000F", "full", 500.0, 1, 0x2000000, 1000 * MIB, False)
KNOWN = timelines({2: ("1\t0/3000000\tno recovery target specified\n", 1_000.0)})
TIME = parse_target("2026-11-29 07:00:00Z")


def made(**differs: Any) -> Restore:
    restore = planned(
        SHOP, TIME, BASE, KNOWN[2], KNOWN, 0, "db1",
        id="20261129T080000Z", began="2026-11-29T08:00:00+00:00", before=2, live=True, keep=True,
    )  # fmt: skip
    return replace(restore, **differs)


def data(**differs: Any) -> Surveyed:
    return replace(Surveyed(there=True, size=1000 * MIB, free=5000 * MIB, tablespaces=(), mounted=False, against=()), **differs)


def against(view: ClusterView | None = None, *, keep: bool = True, **hosts: Surveyed) -> list[str]:
    surveys = {"db1": data(), "db2": data(), "db3": data()} | hosts
    return list(objections(view or views.backed_up(), SHOP, surveys, BASE, "db1", keep=keep))


def test_of_a_cluster_in_good_health_nothing_stands_in_the_way() -> None:
    assert against() == [] and list(reachable(views.backed_up(), SHOP)) == []


@pytest.mark.parametrize("host", ["db3", *KEEPERS])
def test_all_hosts_with_data_have_to_answer(host: str) -> None:
    (why,) = reachable(views.backed_up(**{host: views.unreachable(host)}), SHOP)
    assert why.startswith(f"{host} does not answer (unreachable: it does not answer)")


def test_a_proxy_need_not_answer_and_etcd_has_to() -> None:
    assert list(reachable(views.backed_up(proxy1=views.unreachable("proxy1")), SHOP)) == []
    deaf = {name: views.database(name, etcd=views.etcd(name, quorum=False)) for name in views.DATABASES}
    assert list(reachable(views.backed_up(**deaf), SHOP)) == ["etcd has no majority (`invoke status`)"]


def test_a_paused_cluster_and_a_backup_that_is_being_made_are_refused() -> None:
    paused = json.dumps(json.loads(views.KEYS["config"]) | {"pause": True})
    keys = views.KEYS | {"config": paused}
    hosts = {name: views.database(name, etcd=views.etcd(name, keys=keys)) for name in views.DATABASES}
    assert against(views.backed_up(**hosts)) == ["the cluster is paused: `invoke resume` first"]
    making = views.backups(runs=(BackupRun("incr", True, False, None),))
    (why,) = against(views.backed_up(keep1=views.keeper(backups=making)))
    assert why == "a backup is being made on keep1: wait for its end (`invoke backup.list`)"


def test_where_there_is_no_room_for_the_old_data_it_has_to_be_given_up_by_name() -> None:
    (why,) = against(db2=data(free=1300 * MIB))
    assert why == (
        "db2 has no room for the old data beside the new: 1,356 MiB are needed and 1,300 MiB free;"
        " --discard-old-data deletes the old data"
    )
    assert against(keep=False, db2=data(free=1300 * MIB)) == []
    (why,) = against(keep=False, db2=data(size=100 * MIB, free=1200 * MIB))
    assert why == "db2 has no room: 1,356 MiB are needed, and 1,300 MiB free without the old data"


def test_tablespaces_and_mount_points_are_named() -> None:
    (why,) = against(db1=data(tablespaces=("/srv/fast",)))
    assert why.startswith("db1 has tablespaces (/srv/fast)")
    assert against(db1=data(against=("/srv is not postgres's to write",))) == ["db1: /srv is not postgres's to write"]
    (why,) = against(db1=data(mounted=True))
    assert "is a mount point" in why and "--discard-old-data" in why
    assert against(keep=False, db1=data(mounted=True)) == []


def test_it_is_restored_where_the_cluster_was_led() -> None:
    assert place(views.backed_up(), SHOP) == "db1"
    nobody = {name: views.database(name, postgres=None, etcd=views.etcd(name, keys={})) for name in views.DATABASES}
    assert place(views.backed_up(**nobody), SHOP) == "db1"


def test_the_steps_of_a_restore() -> None:
    assert [str(step) for step in steps(made())] == [
        "write a marker on db1 and wait until it is archived",
        "keep Patroni from being started on db1, db2, db3 until the end",
        "stop Patroni and PostgreSQL on db2",
        "stop Patroni and PostgreSQL on db3",
        "stop Patroni and PostgreSQL on db1",
        "archive what write-ahead log any host has and the archive lacks",
        "move the data on db1 aside (*.before-20261129T080000Z)",
        "move the data on db2 aside (*.before-20261129T080000Z)",
        "move the data on db3 aside (*.before-20261129T080000Z)",
        "restore backup 20261129-010000F of repository local on db1",
        "replay timeline 2 on db1 up to time 2026-11-29 07:00:00.000000+00, and begin timeline 3 there",
        "take out of etcd who led, who could vote, and how far they were",
        "start Patroni on db1 and wait until it takes writes",
        "start Patroni on db2, db3: each makes its data anew, from a backup or from db1",
        "wait until all replicas stream and the cluster is healthy",
        "begin a full backup",
    ]
    assert not isinstance(steps(made(live=False))[0], recovery_steps.EndArchive)


def discarding(**differs: Any) -> Restore:
    """One that keeps no old data: where db1 has led, the backup goes to db2."""
    assert fetching(SHOP, "db1", keep=False) == "db2" and fetching(SHOP, "db1", keep=True) == "db1"
    return made(**{"keep": False, "host": "db2", "led": "db1"} | differs)


def test_old_data_that_is_not_kept_is_there_until_the_backup_has_come_to_where_it_should_be() -> None:
    """A damaged file in the repository would else leave nobody with any data: the leader's goes last."""
    said = [str(step) for step in steps(discarding())]
    assert said[0] == "write a marker on db1 and wait until it is archived"
    assert said[2:5] == [f"stop Patroni and PostgreSQL on {name}" for name in ("db2", "db3", "db1")]
    assert said[6:12] == [
        "delete the data on db2",
        "restore backup 20261129-010000F of repository local on db2",
        "replay timeline 2 on db2 up to time 2026-11-29 07:00:00.000000+00, and begin timeline 3 there",
        "delete the data on db3",
        "delete the data on db1",
        "take out of etcd who led, who could vote, and how far they were",
    ]
    assert "start Patroni on db1, db3: each makes its data anew, from a backup or from db2" in said and len(said) == 16
    alone = discarding(host="db1", led="", hosts=("db1",))
    assert [str(step) for step in steps(alone)][4:6] == [
        "delete the data on db1",
        "restore backup 20261129-010000F of repository local on db1",
    ]


def test_a_timeline_that_nobody_has_begun_is_taken_also_where_the_archive_does_not_know_of_all() -> None:
    """The archive has 1, 2 and 5; somebody was let begin 7."""
    gaps = timelines({2: ("1\t0/3000000\tx\n", 1.0), 5: ("2\t0/4000000\tx\n", 2.0)})
    options: dict[str, Any] = {"id": "x", "began": "y", "before": 5, "live": True, "keep": True}
    restore = planned(SHOP, TIME, BASE, gaps[2], gaps, 7, "db1", **options)
    assert (restore.begins, restore.taken) == (8, (3, 4, 6, 7))
    assert planned(SHOP, TIME, BASE, gaps[5], gaps, 0, "db1", **options).begins == 6


def test_what_is_noted_can_be_read_again() -> None:
    noted = made(done=5, taken=(3, 4))
    assert read(noted.text) == noted
    said = {"there": True, "size": 1, "free": 2, "tablespaces": ["a"], "mounted": False, "against": []}
    assert surveyed(said).tablespaces == ("a",)
    assert marks({"restore": "x", "marks/m": json.dumps({"name": "m", "timeline": 2, "lsn": 5, "at": ""})}) == {
        "m": Mark("m", 2, 5, "")
    }


class Acting(RecordingActions):
    """Notes how far it is; fails at the action called `fails`."""

    def __init__(self, fails: str = "") -> None:
        super().__init__()
        self.noted: list[int] = []
        self._fails = fails
        self.ends: tuple[int, ...] = (2, 0x5000028)
        self.last: Restore | None = None

    def note(self, restore: Restore) -> None:
        self.noted.append(restore.done)
        self.last = restore

    def noted_done(self, restore: Restore) -> None:
        self.calls.append(f"done {restore.done}")

    def archive_left(self, hosts: tuple[str, ...], away: tuple[str, ...]) -> tuple[int, ...]:
        self.calls.append("archive_left")
        return self.ends

    def recover(self, host: str, restore: Restore, target: Target) -> Arrival:
        self.calls.append(f"recover {host}")
        return Arrival(3, 1, "before", None)

    def __getattr__(self, name: str) -> Any:
        if name == self._fails:
            raise ClusterError("it fails")
        return lambda *words, **how: self.calls.append(name)


def test_each_step_is_noted_when_it_is_done_and_not_before() -> None:
    actions = Acting()
    said: list[str] = []
    arrival = carry_out(made(), TIME, actions, lambda step: said.append(str(step)), lambda step: None)  # type: ignore[arg-type]
    assert arrival and arrival.timeline == 3
    assert actions.noted == [*range(17)] and len(said) == 16
    assert actions.calls[-2:] == ["begin_backup", "done 16"]


def test_a_step_that_failed_is_done_again_by_the_next_call() -> None:
    failing = Acting("fetch")
    with pytest.raises(ClusterError):
        carry_out(made(), TIME, failing, lambda step: None, lambda step: None)  # type: ignore[arg-type]
    assert failing.noted[-1] == 9 and not any(call.startswith("done") for call in failing.calls)
    again = Acting()
    carry_out(made(done=9), TIME, again, lambda step: None, lambda step: None)  # type: ignore[arg-type]
    assert again.calls[0] == "fetch" and "set_aside" not in again.calls


def test_where_etcd_knows_of_none_any_more_the_hosts_that_are_held_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was told last, and nothing that says too little to go on with."""
    told = [made(done=7).text, made(done=8).text, '{"restore": "20261129T080000Z"}', "", None, "no JSON"]
    assert furthest_of(told) == made(done=8) and furthest_of([None, '{"restore": "x"}']) is None
    _, taken = run(monkeypatch, TIME.text, on_hosts=made(done=10))
    assert taken[0].startswith("replay timeline 2 on db1") and len(taken) == 6


def test_status_tells_of_it_then_too() -> None:
    held = views.backed_up(db2=views.database("db2", restoring={"to": "latest", "host": "db1", "began": "2026", "done": 7}))
    (found,) = [one for one in findings(held, SHOP) if one.rule == "restore.unfinished"]
    assert "a restore to latest on db1, begun at 2026, is under way or was interrupted" in found.text


def test_what_a_restore_has_come_to_is_noted_in_etcd_and_on_the_hosts_that_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, tuple[str, ...], str]] = []
    actions = RestoreActions(None, SHOP, None, print)  # type: ignore[arg-type]
    monkeypatch.setattr(doing, "etcd", lambda fleet, cluster, command: asked.append(("etcd", (), command)))

    def told(deed: str, hosts: tuple[str, ...], *, text: str) -> None:
        asked.append((deed, hosts, text))
        raise ClusterError("db3 does not answer: etcd has it")

    monkeypatch.setattr(actions, "_do", told)
    actions.note(made(done=4))
    assert [one[0] for one in asked] == ["etcd", "keep_note"] and asked[1][1:] == (["db1", "db2", "db3"], made(done=4).text)


def test_who_does_not_answer_keeps_none_of_the_others_from_being_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes may wait for a replica. One that was taken out of the cluster since is passed over."""
    done: list[tuple[str, ...]] = []
    actions = RestoreActions(None, SHOP, None, print)  # type: ignore[arg-type]

    def told(deed: str, hosts: list[str]) -> None:
        if "db2" in hosts:
            raise ClusterError("db2: unreachable")
        done.append((deed, *hosts))

    monkeypatch.setattr(actions, "_do", told)
    monkeypatch.setattr(actions, "_start", lambda host: done.append(("start", host)))
    with pytest.raises(ClusterError, match="db2: unreachable"):
        actions.start(("db2", "db3"))
    assert done == [("release", "db3"), ("start", "db3")]
    actions.start(("db3", "taken out"))
    assert done[2:] == done[:2]


def test_another_target_in_place_of_one_that_was_not_finished_never_touches_the_old_data_again() -> None:
    unfinished = made(done=11, host="db2")
    latest = made(id="another", to="latest", kind="latest", value="", label="other", live=False)
    going = replanned(unfinished, latest)
    assert (going.to, going.label, going.host, going.id) == ("latest", "other", "db2", unfinished.id)
    assert str(left(going)[0]) == "restore backup other of repository local on db2"
    early = replanned(replace(unfinished, done=3), latest)
    assert str(left(early)[0]) == str(left(replace(unfinished, done=3))[0])


def test_one_that_may_lead_is_no_half_way_house_for_another() -> None:
    assert [may_lead(made(done=done)) for done in (10, 11, 12, 13)] == [False, False, True, True]


def test_only_what_it_has_made_itself_is_waited_for() -> None:
    copying = views.backed_up(db3=views.database("db3", postgres=None, problems={"postgres": "it is copied"}))
    assert {one.rule.partition(".")[0] for one in awaited(findings(copying, SHOP))} >= {"replication"}
    old = views.backups(views.backup(age=10**6))
    assert awaited(findings(views.backed_up(keep1=views.keeper(backups=old)), SHOP)) == []


def test_one_can_be_called_off_until_etcd_forgets_or_data_is_deleted() -> None:
    assert [final(made(done=done)) is None for done in (0, 5, 10, 11, 12)] == [True, True, True, False, False]
    assert [final(discarding(done=done)) is None for done in (0, 6, 8, 9, 10, 11)] == [True, True, True, False, False, False]
    alone = discarding(host="db1", led="", hosts=("db1",))
    assert [final(replace(alone, done=done)) is None for done in (3, 4)] == [True, False]
    assert [str(step) for step in back(made(done=10))] == [
        "move the old data on db1 back to its place",
        "move the old data on db2 back to its place",
        "move the old data on db3 back to its place",
        "note that timeline 3 may have been begun",
        "start Patroni on db1, db2, db3",
        "wait until all replicas stream and the cluster is healthy",
    ]
    actions = Acting()
    call_off(made(done=10), actions, lambda step: None, lambda step: None)  # type: ignore[arg-type]
    assert actions.calls == ["put_back"] * 3 + ["pass_over", "start", "await_replicas", "noted_off"]


@pytest.mark.parametrize("keep", [True, False])
def test_calling_off_that_was_cut_off_harms_no_data_that_lives_again(*, keep: bool) -> None:
    """Another call neither deletes what a replica copies anew, nor does the restore go on over a cluster that leads."""
    actions, unfinished = Acting(fails="await_replicas"), made(done=10) if keep else discarding(done=7)
    with pytest.raises(ClusterError):
        call_off(unfinished, actions, lambda step: None, lambda step: None)  # type: ignore[arg-type]
    assert actions.last and overtaken(actions.last, led=True)
    again = [type(step) for step in back(actions.last)]
    assert recovery_steps.Clear not in again and (recovery_steps.PassOver in again) is (spent(unfinished) > 0)
    assert final(actions.last) is None


def test_what_was_to_be_deleted_is_before_calling_off_says_that_all_is_as_before() -> None:
    actions = Acting(fails="clear")
    with pytest.raises(ClusterError):
        call_off(discarding(done=7), actions, lambda step: None, lambda step: None)  # type: ignore[arg-type]
    assert actions.noted == []


def test_a_number_is_passed_over_only_where_the_restored_server_may_have_begun_it() -> None:
    """Before that another leader may have begun it, or a later one, in earnest."""
    passing = lambda restore: [step.timeline for step in back(restore) if isinstance(step, recovery_steps.PassOver)]  # noqa: E731
    assert [passing(made(done=done)) for done in (0, 5, 9, 10)] == [[], [], [], [3]]
    # Another target in its place has not got so far again; what the first one may have begun is begun.
    other = made(id="another", to="latest", kind="latest", value="", begins=4, live=False)
    assert passing(replanned(made(done=10), other)) == [3] and passing(replanned(made(done=9), other)) == []
    assert passing(replace(replanned(made(done=10), other), done=10)) == [4]


@pytest.mark.parametrize(("noted", "put"), [(None, True), (2, True), (3, False), (5, False)])
def test_what_the_gate_has_noted_of_a_later_timeline_is_not_written_over(
    monkeypatch: pytest.MonkeyPatch, noted: int | None, put: bool
) -> None:
    there = {} if noted is None else {"promoted": json.dumps({"name": "db2", "timeline": noted})}
    asked: list[str] = []
    monkeypatch.setattr(doing, "notes", lambda fleet, cluster: there)
    monkeypatch.setattr(doing, "etcd", lambda fleet, cluster, command: asked.append(command))
    RestoreActions(None, SHOP, None, print).pass_over(3)  # type: ignore[arg-type]
    assert [command.partition(" ")[0] for command in asked] == (["put"] if put else [])


def test_where_the_old_data_is_not_kept_calling_off_has_only_the_host_copied_anew_to_which_the_backup_went() -> None:
    off = [str(step) for step in back(discarding(done=7))]
    assert off[0] == "delete what was restored on db2: it makes its data anew"
    assert "start Patroni on db1, db2, db3" in off and not any("db1 back" in one for one in off)
    assert not any(isinstance(step, recovery_steps.Clear) for step in back(discarding(done=5)))
    actions = Acting()
    call_off(discarding(done=7), actions, lambda step: None, lambda step: None)  # type: ignore[arg-type]
    assert actions.calls[0] == "clear" and "put_back" not in actions.calls


def test_another_target_does_not_make_one_free_again_that_could_not_be_called_off_any_more() -> None:
    latest = made(id="another", to="latest", kind="latest", value="", label="other", live=False)
    for unfinished in (made(done=11), discarding(done=10)):
        assert final(unfinished) and final(replanned(unfinished, latest)) == final(unfinished)
    assert final(replanned(made(done=10), latest)) is None


def test_what_can_not_be_called_off_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def cancelled(noted: dict[str, str], held: Restore | None = None, **options: Any) -> int:
        actions = SimpleNamespace(noted_on_hosts=lambda: held)
        cut_off(monkeypatch, cancel, views.backed_up(), notes=lambda fleet, cluster: noted, RestoreActions=lambda *parts: actions)
        return cancel.call_off(SHOP, **{"to": None, "dry": True, "yes": True} | options)

    with pytest.raises(ClusterError, match="no restore is under way"):
        cancelled({})
    with pytest.raises(ClusterError, match="can't be called off, nothing was touched:\n  - what etcd had"):
        cancelled({"restore": made(done=11).text})
    with pytest.raises(ClusterError, match="should be one of them"):
        cancelled({"restore": made(done=3).text}, to="latest")
    assert cancelled({"restore": made(done=3).text}) == 0
    assert "1. move the old data on db1 back" in capsys.readouterr().out
    assert cancelled({}, made(done=7)) == 0  # etcd was lost, the hosts know
    assert "1. move the old data on db1 back" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("target", "arrival", "why"),
    [
        (TIME, Arrival(3, 5, "before 2026", 0.0), None),
        (TIME, Arrival(3, 5, "before 2026", None), None),
        (TIME, Arrival(4, 5, "before 2026", 0.0), None),  # a try before that has begun 3
        (TIME, Arrival(2, 5, "before 2026", 0.0), "it is on timeline 2, and 3 was to begin"),
        (TIME, Arrival(3, 5, "", 0.0), "its history does not say that it stopped there"),
        (parse_target("0/5006000"), Arrival(3, 0x5005FF8, "before LSN", 0.0), "it has ended before that position"),
        (parse_target("0/5006100"), Arrival(3, 0x5006000, "before LSN", 0.0), "it has ended before that position"),
        (parse_target("0/5006018"), Arrival(3, 0x5006000, "before LSN", 0.0), None),  # the first record on its page
        (parse_target("latest"), Arrival(3, 4, "", 0.0), None),
    ],
)
def test_the_server_has_to_be_where_it_was_sent(target: Target, arrival: Arrival, why: str | None) -> None:
    assert missed_target(made(), target, arrival) == why


@pytest.mark.parametrize(("kind", "inclusive"), [("time", "on"), ("name", "on"), ("lsn", "off")])
def test_of_a_position_what_begins_there_is_not_restored(kind: Any, inclusive: str) -> None:
    """Such as the commit of a transaction that was open then."""
    told = settings(SHOP, {}, made(kind=kind, value="0/5006000"))
    assert (told["recovery_target_inclusive"], told[f"recovery_target_{kind}"]) == (inclusive, "0/5006000")


LATEST = parse_target("latest")


@pytest.mark.parametrize(
    ("differs", "fork", "timeline"),
    [
        ({}, 0x5000029, 2),  # the last whole record was read
        ({"ends": ()}, 4, 2),  # nobody could say
        ({"ends": (1, 0x9000000)}, 4, 2),  # the hosts are behind what the archive has
        ({"whole": False}, 4, 2),  # the timeline was named
        ({"away": ("s3",)}, 4, 2),
    ],
)
def test_all_there_is_was_read_or_more_was_not_asked_for(differs: dict[str, Any], fork: int, timeline: int) -> None:
    going = made(**{"whole": True, "ends": (2, 0x5000028), "timeline": timeline} | differs)
    assert missed_target(going, LATEST, Arrival(3, fork, "", 0.0)) is None


@pytest.mark.parametrize("ends", [(2, 0x5000028), (3, 1)])
def test_a_recovery_that_ended_before_the_hosts_log_is_not_the_latest(ends: tuple[int, ...]) -> None:
    """PostgreSQL ends without a word at the first file that is missing."""
    why = missed_target(made(whole=True, ends=ends), LATEST, Arrival(3, 0x5000028, "", 0.0))
    assert why and why.startswith("it has ended at 0/5000028, and hosts had more, beyond 0/")
    assert "`invoke restore --to latest --timeline 2` takes what there is" in why


def test_where_the_hosts_log_ends_is_noted_once_all_are_stopped_and_a_plan_that_was_outrun_ends_there() -> None:
    latest = made(to="latest", kind="latest", value="", whole=True)
    actions = Acting()
    carry_out(latest, LATEST, actions, lambda step: None, lambda step: None)  # type: ignore[arg-type]
    assert actions.last and read(actions.last.text).ends == (2, 0x5000028)
    outrun = Acting()
    outrun.ends = (3, 1)
    with pytest.raises(ClusterError, match="hosts have timeline 3, which was begun after this was planned along 2: "):
        carry_out(latest, LATEST, outrun, lambda step: None, lambda step: None)  # type: ignore[arg-type]
    assert outrun.noted[-1] == 5 and "set_aside" not in outrun.calls
    carry_out(replace(latest, whole=False), LATEST, outrun, lambda step: None, lambda step: None)  # type: ignore[arg-type]


def test_what_a_recovery_has_to_come_to_is_the_last_whole_record_of_the_log_that_goes_furthest() -> None:
    logs = {"db1": replace(on_host(3), record=0x60000C8), "db2": on_host(2), "db3": on_host(9, system="another")}
    assert ends(logs, views.KEYS["initialize"]) == (3, 0x60000C8)
    assert ends({"db1": on_host(3)}, views.KEYS["initialize"]) == (3, 0x6000000)  # it ends at 0/6000100
    assert ends({"db1": replace(on_host(3), end=0x6000000)}, views.KEYS["initialize"]) == (3, 0x5000000)
    assert ends({}, views.KEYS["initialize"]) == ()


def test_what_a_leader_that_crashed_has_marked_for_nobody_is_archived_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file in which its log ends has no mark; a restore from a cluster that was led left it out."""
    asked: list[tuple[str, Any]] = []
    part = "000000020000000000000006"
    actions = RestoreActions(None, SHOP, None, print)  # type: ignore[arg-type]
    monkeypatch.setattr(actions, "archive", lambda **how: archive_of({"local": ARCHIVE}))
    crashed = Log(views.KEYS["initialize"], 2, 0x6000100, (), part, {}, None, 0x60000C8)
    monkeypatch.setattr(actions, "logs", lambda hosts: {"db1": crashed})
    monkeypatch.setattr(actions, "_do", lambda deed, hosts, **how: asked.append((hosts[0], how["also"])))
    assert actions.archive_left(("db1", "db2")) == (2, 0x60000C8)
    assert asked == [("db1", [part]), ("db2", [])]


def test_a_transaction_from_after_the_time_is_one_too_many() -> None:
    assert TIME.time
    late = Arrival(3, 5, "before", TIME.time.timestamp() + 0.5)
    assert missed_target(made(), TIME, late) == "it has a transaction that was committed 0.500000 s after that time"


def test_where_a_server_has_arrived_is_read_from_its_history() -> None:
    history = "1\t0/3000000\tno recovery target specified\n\n2\t0/5000000\tbefore 2026-11-29 07:00:01+00\n"
    said = {"timeline": "00000003", "history": history, "last": 12.5}
    assert arrived(said) == Arrival(3, position("0/5000000"), "before 2026-11-29 07:00:01+00", 12.5)


ARCHIVE = {
    "files": {
        "0000000100000000": [[1, 3, 900.0]],
        "0000000200000000": [[3, 5, datetime(2026, 11, 1, tzinfo=UTC).timestamp()]],
    },
    "histories": {"2": ["1\t0/3000000\tno recovery target specified\n", 1_000.0]},
    "info": [{"db": [{"id": 1, "system-id": int(views.KEYS["initialize"])}], "backup": [{
        "database": {"id": 1},
        "archive": {"stop": "000000010000000000000005"}, "error": False, "info": {"size": 10}, "label": "20261129-010000F",
        "lsn": {"stop": "0/2000000"}, "timestamp": {"stop": 500}, "type": "full",
    }]}],
}  # fmt: skip


def run(
    monkeypatch: pytest.MonkeyPatch, to: str, view: ClusterView | None = None, of: Cluster = SHOP,
    archived: dict[str, Any] | None = None, fails: BaseException | None = None, logs: dict[str, Log] | None = None,
    last: float | None = None, on_hosts: Restore | None = None, **options: Any,
) -> tuple[int, list[str]]:  # fmt: skip
    """The command, without a host: its exit code, and the steps that it took. With what is `archived`, and
    `logs` on hosts, and the `last` transaction in the archive; after the first step it `fails`."""
    there = {"db1": on_host(3)} if logs is None else logs
    taken: list[str] = []
    actions = SimpleNamespace(
        archive=lambda *_: archive_of(archived or {"local": ARCHIVE}),
        identify=lambda host: {"system": views.KEYS["initialize"]},
        logs=lambda hosts, to_the_end=True: {host: there[host] for host in hosts if host in there},
        last_ended=lambda host, names, options: last,
        noted_on_hosts=lambda: on_hosts,
        survey=lambda: {name: vars(data()) for name in views.DATABASES},
    )

    def carried(restore: Restore, target: Target, actions: Any, say: Any, did: Any) -> Arrival:
        taken.extend(str(step) for step in left(restore))
        did(left(restore)[0])
        if fails:
            raise fails
        return Arrival(restore.begins, position("0/5000000"), "before 2026", 0.0)

    cut_off(
        monkeypatch, command, view or views.backed_up(), RestoreActions=lambda *parts: actions, carry_out=carried,
        notes=lambda fleet, cluster: options.pop("noted", {}), verified=lambda out, outcome: setattr(outcome, "findings", ()),
        lost=lambda *asked: {"transactions": 3, "whole": True, "lsn": "0/4C0000"},
    )  # fmt: skip
    chosen = {"label": None, "timeline": None, "discard": False, "dry": False, "yes": True} | options
    chosen.pop("noted", None)
    return command.restore(of, to=to, **chosen), taken


def test_the_command_says_what_is_lost_and_what_becomes_of_the_old_data(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, taken = run(monkeypatch, "2026-11-01 07:00:00Z")
    said = capsys.readouterr().out
    assert code == 0 and len(taken) == 16
    assert "hours, 3 transactions, 18.8 kB of write-ahead log" in said
    assert "The old data is kept on each host, in /var/lib/postgresql/18/pgquorum.before-" in said
    assert "`invoke restore --to latest --timeline 3`" in said


def test_that_a_backup_was_never_proven_is_told_before_the_question(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "latest", dry=True)
    told = f"backup {BASE.label} was never proven: `invoke backup.drill --set {BASE.label}` does it"
    assert told in capsys.readouterr().out
    for passed, word in ((True, ""), (False, "was not proven by the last drill of it")):
        drilled = views.backups(drills=(replace(views.drill(), backup=BASE.label, passed=passed),))
        run(monkeypatch, "latest", views.backed_up(keep1=views.keeper(backups=drilled)), dry=True)
        said = capsys.readouterr().out
        assert told not in said and (word in said if word else "proven" not in said)


def test_where_nothing_is_kept_the_backup_goes_to_another_host_than_the_leader_s(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, taken = run(monkeypatch, "latest", discard=True)
    assert taken[6:8] == ["delete the data on db2", "restore backup 20261129-010000F of repository local on db2"]
    assert "on db1 and db3 once the backup has come to where it should be" in capsys.readouterr().out
    nobody = views.backed_up(**NOBODY)
    _, taken = run(monkeypatch, "latest", nobody, logs={"db1": on_host(2), "db2": on_host(3)}, discard=True)
    assert taken[5] == "delete the data on db1" and taken[9] == "delete the data on db2"


def way(number: int, kind: str = "full") -> Backup:
    return replace(views.backup(kind, age=1000.0 - number), label=f"{number}F" if kind == "full" else f"{number}F_1I")


@pytest.mark.parametrize(
    ("keep", "there", "ways", "found"),
    [
        # The restore's own is the second: the next backup of any kind has the first expire.
        (1, [way(1)], ("1F",), [WayBack("local", "1F", 0)]),
        (2, [way(1)], ("1F",), [WayBack("local", "1F", 1)]),
        (3, [way(1)], ("1F",), [WayBack("local", "1F", 2)]),
        (2, [way(1), way(2), way(3)], ("1F", "2F"), [WayBack("local", "2F", 0)]),
        (4, [way(1), way(1, "incr"), way(2)], ("1F_1I",), [WayBack("local", "1F", 2)]),
        (4, [way(1)], ("gone",), []),
        (4, [], ("1F",), []),
    ],
)
def test_how_long_a_restore_can_be_undone(keep: int, there: list[Backup], ways: tuple[str, ...], found: list[WayBack]) -> None:
    of = cluster(backup=True, backup_keep_full=keep)
    state = replace(views.backups(), backups=tuple(there))
    assert [*ways_back(of, made(ways=ways), state, 1_000_000.0)] == found
    assert [*ways_back(of, made(ways=ways), None, 1_000_000.0)] == []


def test_where_days_are_kept_the_backup_after_it_has_to_be_as_old() -> None:
    of, state = cluster(backup=True, backup_keep_days=2), replace(views.backups(), backups=(way(1), way(2)))
    (first,) = ways_back(of, made(ways=("1F",)), state, 1_000_000.0)
    (last,) = ways_back(of, made(ways=("2F",)), state, 1_000_000.0)
    assert first.until == way(2).ended + 2 * 86_400 and last.until == 1_000_000 + 2 * 86_400


def test_until_when_all_can_be_had_back_is_told_in_the_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    view = views.backed_up(keep1=views.keeper(backups=views.backups(replace(views.backup(), label=BASE.label))))
    run(monkeypatch, "2026-11-01 07:00:00Z", view, of=cluster(backup=True, backup_keep_full=1))
    said = capsys.readouterr().out
    assert f"For that backup {BASE.label} is needed, which expires with the next scheduled backup, of any kind" in said
    run(monkeypatch, "2026-11-01 07:00:00Z", view, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["ways_back"] == [{"repository": "local", "backup": BASE.label, "fulls": 3, "until": None}]
    run(monkeypatch, "2026-11-01 07:00:00Z")  # its label is none of those that lead there
    assert "no backup is known that leads back to where it was" in capsys.readouterr().out


def test_dry_prints_the_same_steps_and_takes_none(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, taken = run(monkeypatch, "latest", dry=True)
    assert (code, taken) == (0, []) and "16. begin a full backup" in capsys.readouterr().out


def test_what_can_not_be_is_refused_before_a_step_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for to, why in (
        ("2099-01-01 00:00:00Z", "lies in the future"),
        ("1970-01-01 00:00:00Z", "no backup leads to"),
        ("1/0", "is after the last of the write-ahead log, 0/4C4B40"),
        ("release", "no mark is called so"),
        ("2026-11-29 07:00:00", "has no zone"),
    ):
        with pytest.raises(ClusterError, match=why):
            run(monkeypatch, to)
    with pytest.raises(ClusterError, match="nothing was touched:\n  - db2 does not answer"):
        run(monkeypatch, "latest", views.backed_up(db2=views.unreachable("db2")))
    with pytest.raises(ClusterError, match=r"group 'backup' of .* has no host"):
        command.restore(cluster(), to="latest", label=None, timeline=None, discard=False, dry=False, yes=True)


NOBODY = {name: views.database(name, postgres=None) for name in views.DATABASES}


def on_host(timeline: int, last: float | None = None, system: str = views.KEYS["initialize"]) -> Log:
    """A write-ahead log that ends at 0/6000100 on that timeline, the third of which no archive has."""
    third = {3: ("1\t0/3000000\tx\n\n2\t0/5000000\tno recovery target specified\n", 2_000.0)} if timeline == 3 else {}
    return Log(system, timeline, position("0/6000100"), (), "", third, last)


def test_the_latest_of_a_leader_whose_timeline_is_not_archived_yet_is_on_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else all that was written since the failover would be thrown away without a word."""
    _, taken = run(monkeypatch, "latest", logs={"db1": on_host(3)})
    assert "replay timeline 3 on db1 up to its end, and begin timeline 4 there" in taken
    assert "archive what write-ahead log any host has and the archive lacks" in taken
    with pytest.raises(ClusterError, match="db1 writes timeline 3, and the newest that the archive and that host tell of is 2: "):
        run(monkeypatch, "latest", logs={})
    _, taken = run(monkeypatch, "latest", logs={}, timeline="2")
    assert "replay timeline 2 on db1 up to its end, and begin timeline 3 there" in taken


def test_where_nobody_leads_all_that_hosts_have_is_handed_in_and_that_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nobody = views.backed_up(**NOBODY)
    _, taken = run(monkeypatch, "latest", nobody, logs={"db1": on_host(2), "db2": on_host(3)})
    said = capsys.readouterr().out
    assert "archived first, up to 0/6000100 on timeline 3, which db2 has; what came after it is lost" in said
    assert "archive what write-ahead log any host has and the archive lacks" in taken
    assert "replay timeline 3 on db1 up to its end, and begin timeline 4 there" in taken
    for logs in ({}, {"db2": on_host(3, system="another")}):
        _, taken = run(monkeypatch, "latest", nobody, logs=logs)
        assert "no host has this cluster's write-ahead log: what was not archived is lost" in capsys.readouterr().out
        assert "replay timeline 2 on db1 up to its end, and begin timeline 3 there" in taken


def test_a_time_up_to_the_last_transaction_of_a_host_can_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    last = datetime(2026, 11, 1, 0, 5, tzinfo=UTC).timestamp()
    nobody = views.backed_up(**NOBODY)
    assert run(monkeypatch, "2026-11-01 00:04:59Z", nobody, logs={"db2": on_host(2, last)})[0] == 0
    with pytest.raises(ClusterError, match=r"timeline 2 ended at 2026-11-01 00:05:00 UTC \(db2\), so nothing there is later: "):
        run(monkeypatch, "2026-11-01 00:05:00Z", nobody, logs={"db2": on_host(2, last)})
    with pytest.raises(ClusterError, match="so nothing there is later"):  # of another timeline
        run(monkeypatch, "2026-11-01 00:04:00Z", nobody, logs={"db2": on_host(1, last)})


def test_what_the_last_transaction_of_the_archive_was_decides_where_it_can_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recovery to a moment stops before the first that ended later: without one it fails in the end."""
    last = datetime(2026, 10, 31, 23, 0, tzinfo=UTC).timestamp()
    nobody = views.backed_up(**NOBODY)
    assert run(monkeypatch, "2026-10-31 22:59:59Z", nobody, logs={}, last=last)[0] == 0
    with pytest.raises(
        ClusterError, match=r"the last transaction on timeline 2 ended at 2026-10-31 23:00:00 UTC, .*`--to latest` is"
    ):
        run(monkeypatch, "2026-10-31 23:00:00Z", nobody, logs={}, last=last)


def test_on_a_timeline_that_was_left_no_marker_is_written_so_a_moment_behind_its_end_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Between the last transaction of a course that a restore has left and the beginning of that restore; by a cluster that
    lives, too."""
    left_at = {**ARCHIVE, "histories": {**ARCHIVE["histories"], "3": ["1\t0/3000000\tx\n\n2\t0/4000000\tbefore 2026\n", 1e12]}}
    leading = {name: replace(host, postgres=replace(host.postgres, timeline=3)) for name in views.DATABASES
               if (host := views.backed_up().hosts[name]).postgres}  # fmt: skip
    view, last = views.backed_up(**leading), datetime(2026, 11, 1, tzinfo=UTC).timestamp()
    why = r"the last transaction on timeline 2 ended at 2026-11-01 00:00:00 UTC, .*: `--to latest --timeline 2` is all there is"
    with pytest.raises(ClusterError, match=why):
        run(monkeypatch, "2026-11-01 00:00:10Z", view, archived={"local": left_at}, last=last)
    assert run(monkeypatch, "2026-10-31 23:59:59Z", view, archived={"local": left_at}, last=last)[0] == 0
    with pytest.raises(ClusterError, match="--to 0/6000001 is after the last of the write-ahead log of timeline 2, 0/6000000"):
        run(monkeypatch, "0/6000001", views.backed_up(**NOBODY), logs={})


def test_the_latest_is_not_what_an_unfinished_restore_has_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was promoted already, and that is in the archive: the newest timeline there, and one that goes back."""
    begun = {**ARCHIVE, "histories": {**ARCHIVE["histories"], "3": ["1\t0/3000000\tx\n\n2\t0/4000000\tbefore 2026\n", 1e12]}}
    noted = {"restore": made(done=10, before=2).text}
    _, taken = run(monkeypatch, "latest", archived={"local": begun}, noted=noted, logs={})
    assert "replay timeline 2 on db1 up to its end, and begin timeline 4 there" in taken
    _, taken = run(monkeypatch, "latest", archived={"local": begun}, noted=noted, logs={}, timeline="3")
    assert "replay timeline 3 on db1 up to its end, and begin timeline 4 there" in taken


def test_whoever_names_the_timeline_of_one_that_was_not_finished_takes_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Restore] = []
    monkeypatch.setattr(command, "show_plan", lambda out, steps: None)
    monkeypatch.setattr(command, "say_away", lambda out, going, away: seen.append(going))
    noted = {"restore": made(to="latest", kind="latest", value="", whole=True, ends=(2, 5), done=10).text}
    for timeline, whole in ((None, True), ("2", False)):
        run(monkeypatch, "latest", noted=noted, timeline=timeline, dry=True)
        assert seen[-1].whole is whole and seen[-1].done == 10


def test_what_an_unfinished_restore_has_left_on_a_host_is_no_log_of_the_cluster_s(monkeypatch: pytest.MonkeyPatch) -> None:
    _, taken = run(monkeypatch, "latest", logs={"db1": on_host(3)}, noted={"restore": made(done=11).text})
    assert "replay timeline 2 on db1 up to its end, and begin timeline 3 there" in taken


def test_a_time_after_all_that_is_archived_is_refused_where_nobody_can_write_a_marker(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ClusterError, match=r"got to the archive at 2026-11-01 00:00:00 UTC, so nothing there is later"):
        run(monkeypatch, "2026-11-01 00:00:02Z", views.backed_up(**NOBODY), logs={})
    assert run(monkeypatch, "2026-11-01 00:00:01Z", views.backed_up(**NOBODY), logs={})[0] == 0
    assert run(monkeypatch, "2026-11-01 00:00:02Z")[0] == 0


S3 = {"type": "s3", "bucket": "b" * 3, "endpoint": "s3.example.com", "region": "r"}
TWO = cluster(backup=True, backup_repositories={"local": {"type": "directory"}, "s3": S3})
ONE_AWAY = replace(views.backups(), repositories=(views.ARCHIVED, Repository("s3", "no answer")))


def test_a_repository_that_is_away_is_told_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is read or archived there; what needs no other goes on."""
    view = views.backed_up(keep1=views.keeper(backups=ONE_AWAY))
    told = {"local": ARCHIVE, "s3": {"problem": "no answer"}}
    code, taken = run(monkeypatch, "2026-11-01 07:00:00Z", view, of=TWO, archived=told)
    said = capsys.readouterr().out
    assert code == 0 and "repository s3 can't be read (no answer): this goes on with local" in said
    assert taken[0] == "write a marker on db1 and wait until it is archived in local"
    assert "archive what write-ahead log any host has and the archive lacks, but not in s3" in taken
    with pytest.raises(ClusterError, match=r"no backup leads to .*; repository s3 can't be read, and may have one: no answer"):
        run(monkeypatch, "1970-01-01 00:00:00Z", view, of=TWO, archived=told)


def test_one_that_is_taken_up_again_leaves_out_what_is_away_by_then(monkeypatch: pytest.MonkeyPatch) -> None:
    view = views.backed_up(keep1=views.keeper(backups=ONE_AWAY))
    begun = made(repository="local", away=())
    begun = replace(begun, done=5)
    _, taken = run(monkeypatch, TIME.text, view, of=TWO, noted={"restore": begun.text})
    assert "archive what write-ahead log any host has and the archive lacks, but not in s3" in taken
    _, taken = run(monkeypatch, TIME.text, of=TWO, noted={"restore": replace(begun, away=("s3",)).text})
    assert "archive what write-ahead log any host has and the archive lacks" in taken


@pytest.mark.parametrize("done", [0, 1, 2, 4])
def test_one_that_has_not_stopped_the_cluster_is_planned_anew_as_that_is_now(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], done: int
) -> None:
    """Hours later another one may lead, on a later timeline: what was planned then would lose more than it said."""
    to = "2026-11-01 07:00:00Z"
    old = made(to=to, host="db3", timeline=1, begins=2, done=done)
    code, taken = run(monkeypatch, to, noted={"restore": old.text}, as_json=True)
    out, err = capsys.readouterr()
    assert code == 0 and taken[0] == "write a marker on db1 and wait until it is archived" and len(taken) == 16
    assert f"(*.before-{old.id})" in taken[6] and json.loads(out)["begins"] == 4 and json.loads(out)["lost"]
    assert "had not stopped everything: it is planned anew" in " ".join(err.split()) and not json.loads(out)["resumed"]


def test_where_nobody_leads_any_more_one_that_was_to_write_a_marker_is_planned_anew_and_another_one_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    to, nobody = "2026-11-01 00:00:00Z", views.backed_up(**NOBODY)
    for done, first, begins in ((0, "keep Patroni", 4), (1, "keep Patroni", 3), (3, "stop Patroni and PostgreSQL on db3", 3)):
        noted, last = {"restore": made(to=to, done=done).text}, datetime(2026, 11, 2, tzinfo=UTC).timestamp()
        _, taken = run(monkeypatch, to, nobody, logs={"db1": on_host(3, last)}, noted=noted)
        assert taken[0].startswith(first)
        assert any(one.endswith(f"and begin timeline {begins} there") for one in taken)


def test_a_program_is_told_the_plan_and_what_came_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, taken = run(monkeypatch, "2026-11-01 07:00:00Z", as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert code == 0 and document["passed"] and document["stopped_by"] == ""
    assert [step["description"] for step in document["planned"]] == taken
    assert document["lost"].pop("seconds") > 0
    assert document["lost"] == {"transactions": 3, "bytes": 19264, "whole": True}
    arrival = {"timeline": 4, "fork": "0/5000000", "reason": "before 2026", "last": "1970-01-01T00:00:00+00:00"}
    assert document["arrival"] == arrival
    assert run(monkeypatch, "latest", as_json=True, dry=True)[0] == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["done"], document["findings"], document["passed"]) == ([], None, False) and len(document["planned"]) == 16


@pytest.mark.parametrize(
    ("error", "code", "why"), [(ClusterError("db1: it fails"), 1, "db1: it fails"), (KeyboardInterrupt(), 130, GOES_ON)]
)
def test_where_it_stops_half_way_the_document_says_where_and_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, why: str
) -> None:
    assert run(monkeypatch, "latest", as_json=True, fails=error)[0] == code
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["stopped_by"] == why and not document["passed"] and document["findings"] is None
    assert [step["kind"] for step in document["done"]] == ["end-archive"]
    assert "the same command goes on" in err or code == 130


def test_an_interrupted_one_goes_on_by_the_same_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, taken = run(monkeypatch, TIME.text, noted={"restore": made(done=10).text})
    assert taken[0].startswith("replay timeline 2 on db1") and len(taken) == 6
    assert "was begun at 2026-11-29T08:00:00+00:00 and not finished" in capsys.readouterr().out
    _, taken = run(monkeypatch, "latest", noted={"restore": made(done=11).text})
    assert taken[0] == "restore backup 20261129-010000F of repository local on db1"
    assert "This goes to latest in its place." in capsys.readouterr().out
