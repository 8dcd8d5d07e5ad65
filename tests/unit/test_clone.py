"""Clones without a host: what one is made of, what is refused, and that nothing is left of one that comes to nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import views
from clusters import cluster
from drills import backrest
from offline import cut_off

import day2.commands.backups.clone as command
from agents import clone, drill_files
from agents.parts import pgbackrest
from agents.recovery import Target
from cluster.errors import ClusterError
from cluster.recovery import Mark, archive_of, parse_target
from cluster.timelines import Base
from day2.commands.backups.sought import Sought
from day2.recovery.clone import Cloning, about_of

SHOP = cluster(backup=True)
KEEPER = SHOP.backup_hosts[0]
TIME = "2026-11-29 07:00:00.000000+00"


def test_a_copy_goes_to_a_moment_a_place_in_the_log_or_its_end() -> None:
    at = Target(timeline="3", kind="time", value=TIME).options()
    assert at == ["--type=time", f"--target={TIME}", "--target-action=promote", "--target-timeline=3"]
    position = Target(timeline="3", kind="lsn", value="0/9").options()
    assert {"--type=lsn", "--target=0/9", "--target-exclusive"} <= {*position} and "--target-exclusive" not in at
    assert Target(timeline="3", kind="latest").options() == ["--type=default", "--target-timeline=3"]


class Server:
    """In place of PostgreSQL: it answers, and ends by itself or because somebody asks for that."""

    def __init__(self, ends: BaseException | None) -> None:
        self.calls: list[str] = []
        self._ends = ends

    def __call__(self, binaries: str, place: Any) -> Server:
        return self

    def await_end(self) -> None:
        if self._ends:
            raise self._ends

    def ask(self, statement: str) -> str:
        return "2026-11-29T06:59:59Z"

    def last_words(self) -> str:
        return "PANIC: it is gone"

    def __getattr__(self, name: str) -> Any:
        return lambda *words: self.calls.append(name)


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> drill_files.Plan:
    """With a clone asked for, on a host whose pgbackrest restores."""
    (tmp_path / "clone").mkdir()
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    backrest(tmp_path, monkeypatch, f'echo "$@" >>{tmp_path}/asked')
    about = about_of("2026-11-29 07:00:00Z", "time", TIME, "L1", "s3", 3)
    clone.note(tmp_path / "clone/about.json", about)
    return drill_files.Plan("shop", "keep1", "/bin", str(tmp_path), "/c", "/c.d", "/run/drills", {"local": 1, "s3": 2})


def said(plan: drill_files.Plan) -> dict[str, Any]:
    return dict(json.loads((Path(plan.directory) / "clone/about.json").read_text()))


def test_it_is_there_until_somebody_ends_it(plan: drill_files.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(KeyboardInterrupt())
    monkeypatch.setattr(clone, "PrivateServer", server)
    assert clone.main(plan) == 0
    assert server.calls == ["start", "await_recovered", "stop"]
    about = said(plan)
    assert about["format"] == "pgquorum clone 1" and about["ready"] and about["newest"] == "2026-11-29T06:59:59Z"
    asked = (Path(plan.directory) / "asked").read_text()
    wanted = ("--repo=2", "--set=L1", "--type=time", f"--target={TIME}", "--target-timeline=3", "--archive-mode=off")
    assert all(word in asked for word in wanted)
    assert f"--pg1-path={plan.directory}/clone/data" in asked and f"--lock-path={plan.directory}/run" in asked


def test_one_that_comes_to_nothing_says_why(plan: drill_files.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(None)
    monkeypatch.setattr(clone, "PrivateServer", server)
    assert clone.main(plan) == 1
    assert said(plan)["problem"] == "its PostgreSQL has ended: PANIC: it is gone" and server.calls[-1] == "stop"
    left = {file.name for file in (Path(plan.directory) / "clone").iterdir()}
    assert left == {"about.json"}, "its data takes room that archiving may need"


def test_what_is_there_of_one_that_was_stopped_is_neither_written_over_nor_removed(
    plan: drill_files.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a reboot."""
    data = Path(plan.directory) / "clone/data"
    data.mkdir()
    (data / "PG_VERSION").touch()
    assert clone.main(plan) == 1 and "File exists" in said(plan)["problem"]
    assert (data / "PG_VERSION").exists()


def test_a_restore_that_fails_is_told(plan: drill_files.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    backrest(Path(plan.directory), monkeypatch, "echo 'ERROR: [082] no archive' >&2; exit 82")
    assert clone.main(plan) == 1
    assert said(plan)["problem"] == "pgbackrest has failed: ERROR: [082] no archive"
    assert not (Path(plan.directory) / "clone/data").exists() and not (Path(plan.directory) / "clone/tablespaces").exists()


def test_what_there_is_is_told_with_the_state_of_its_server(plan: drill_files.Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pgbackrest, "_properties", lambda unit, names: {"ActiveState": "active"})
    spec = {"clone": f"{plan.directory}/clone", "clone_unit": "u"}
    told = pgbackrest.clone(spec)
    assert told and told["to"] == "2026-11-29 07:00:00Z" and told["state"] == "active" and told["ready"] is None
    assert pgbackrest.clone({**spec, "clone": f"{plan.directory}/none"}) is None


ARCHIVE = {
    "files": {"0000000100000000": [[1, 9, 900.0]]},
    "histories": {},
    "info": [{"db": [{"id": 1, "system-id": int(views.KEYS["initialize"])}], "backup": [{
        "database": {"id": 1}, "archive": {"stop": "000000010000000000000002"}, "error": False, "info": {"size": 10},
        "label": "L1", "lsn": {"stop": "0/2000000"}, "timestamp": {"stop": 500}, "type": "full",
    }]}],
}  # fmt: skip


class Keeper:
    """The host that keeps the backups, as Cloning asks it; a clone there fails with `fails`."""

    def __init__(self, there: dict[str, Any] | None = None, fails: BaseException | None = None) -> None:
        self.calls: list[str] = []
        self._there, self._fails = there, fails
        self.about = {"to": "latest", "newest": None}

    def __call__(self, *parts: Any) -> Keeper:
        return self

    def there(self) -> dict[str, Any] | None:
        return self._there

    def await_ready(self, interrupts: Any) -> None:
        self.calls.append("await_ready")
        if self._fails:
            raise self._fails

    def psql(self, database: str) -> str:
        return f"psql {database}"

    def __getattr__(self, name: str) -> Any:
        return lambda *words: self.calls.append(name)


def run(monkeypatch: pytest.MonkeyPatch, keeper: Keeper, view: Any = None, **options: Any) -> tuple[int, list[str]]:
    """The command's exit code, and what the archive was asked for."""
    ended: list[str] = []
    actions = SimpleNamespace(
        archive=lambda *_: archive_of({"local": ARCHIVE}),
        logs=lambda hosts, to_the_end: {},
        last_ended=lambda host, names, options: 800.0,
        identify=lambda host: {"system": views.KEYS["initialize"]},
        end_archive=lambda host, number: ended.append(f"{host} {number}"),
    )
    cut_off(
        monkeypatch, command, view or views.backed_up(), RestoreActions=lambda *parts: actions, Cloning=keeper,
        notes=lambda fleet, cluster: {},
    )  # fmt: skip
    chosen = {"to": None, "remove": False, "label": None, "timeline": None, "repository": None} | options
    return command.clone(SHOP, **chosen), ended


def test_a_clone_waits_until_the_archive_leads_beyond_its_moment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keeper = Keeper()
    assert run(monkeypatch, keeper, to="2026-11-01 07:00:00Z") == (0, ["db1 1"])
    assert keeper.calls == ["refuse_second", "refuse_without_room", "claim", "begin", "await_ready"]
    out = capsys.readouterr().out
    assert "psql postgres" in out and "stays until `invoke backup.clone --remove`" in out
    with pytest.raises(ClusterError, match="--to 9/0 is after the last of the write-ahead log"):
        run(monkeypatch, Keeper(), to="9/0")


@pytest.mark.parametrize("error", [ClusterError("keep1: there is no clone: x"), KeyboardInterrupt()])
def test_of_one_that_comes_to_nothing_nothing_is_left(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    keeper = Keeper(fails=error)
    with pytest.raises(type(error)):
        run(monkeypatch, keeper, to="latest")
    assert keeper.calls[-2:] == ["await_ready", "remove"]


def test_who_was_slower_removes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = Keeper()
    monkeypatch.setattr(keeper, "claim", raising(ClusterError("keep1: File exists")), raising=False)
    with pytest.raises(ClusterError, match="File exists"):
        run(monkeypatch, keeper, to="latest")
    assert keeper.calls == ["refuse_second", "refuse_without_room"]


def raising(error: Exception) -> Any:
    def fail(*words: Any) -> None:
        raise error

    return fail


def test_one_is_removed_and_nothing_else_is_asked_for_then(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = Keeper(there={"to": "latest"})
    assert run(monkeypatch, keeper, remove=True)[0] == 0 and keeper.calls == ["remove"]
    with pytest.raises(ClusterError, match="there is no clone on keep1"):
        run(monkeypatch, Keeper(), remove=True)
    with pytest.raises(ClusterError, match="--remove and --set L1: should be one of them"):
        run(monkeypatch, Keeper(), remove=True, label="L1")


@pytest.mark.parametrize(
    ("to", "why"),
    [
        (None, "--to is missing"),
        ("2026-11-01 07:00:00", "has no zone"),
        ("2099-11-01 07:00:00Z", "lies in the future"),
        ("1970-01-01 00:00:00Z", "no backup leads to"),
    ],
)
def test_what_can_not_be_is_refused(monkeypatch: pytest.MonkeyPatch, to: str | None, why: str) -> None:
    keeper = Keeper()
    with pytest.raises(ClusterError, match=why):
        run(monkeypatch, keeper, to=to)
    assert "begin" not in keeper.calls


def test_where_nobody_writes_a_time_after_all_that_is_archived_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = views.backed_up(**{name: views.database(name, postgres=None) for name in views.DATABASES})
    why = "the last transaction on timeline 1 ended at 1970-01-01 00:13:20 UTC, so nothing there"
    with pytest.raises(ClusterError, match=why):
        run(monkeypatch, Keeper(), nobody, to="1970-01-01 00:13:20Z")
    for to in ("latest", "1970-01-01 00:13:19Z", "0/A000000"):
        assert run(monkeypatch, Keeper(), nobody, to=to) == (0, [])
    with pytest.raises(ClusterError, match="--to 0/A000001 is after the last of the write-ahead log of timeline 1, 0/A000000"):
        run(monkeypatch, Keeper(), nobody, to="0/A000001")


class Fleet:
    """One host that answers each command by the first pattern in it."""

    def __init__(self, **answers: str) -> None:
        self.answers, self.commands = answers, list[str]()

    def run(self, host: str, command: str, stdin: str = "", seconds: float = 0) -> Any:
        self.commands.append(command)
        said = next((text for word, text in self.answers.items() if word in command), "")
        return SimpleNamespace(ok=True, output=said, problem="", code=0)


def test_a_second_one_and_one_without_room_are_refused() -> None:
    there = Cloning(Fleet(cat=json.dumps({"to": "latest"})), SHOP, KEEPER, print)  # type: ignore[arg-type]
    with pytest.raises(ClusterError, match="a clone of the cluster as it was at latest is on keep1"):
        there.refuse_second()
    for half in ("", "{", "{}", "[1]", "3"):  # its user's own words, or none
        odd = Cloning(Fleet(cat=half or "/var/lib/pgbackrest-drill/clone"), SHOP, KEEPER, print)  # type: ignore[arg-type]
        with pytest.raises(ClusterError, match="a clone of the cluster as it was at an unknown moment is on keep1"):
            odd.refuse_second()
    full = Cloning(Fleet(stat="4096 1000000 1000 1000"), SHOP, KEEPER, print)  # type: ignore[arg-type]
    assert full.there() is None
    with pytest.raises(ClusterError, match=r"keep1: /var/lib/pgbackrest-drill: the clone needs .* bytes for 1,000"):
        full.refuse_without_room(1000)


def test_it_is_begun_as_the_user_whose_the_backups_are_and_nobody_else_reads_it() -> None:
    fleet = Fleet()
    Cloning(fleet, SHOP, KEEPER, print).begin(about_of("latest", "latest", "", "L1", "local", 1))  # type: ignore[arg-type]
    write, start = fleet.commands
    Cloning(fleet, SHOP, KEEPER, print).claim()  # type: ignore[arg-type]
    assert fleet.commands[-1] == "runuser -u pgbackrest -- sh -c 'mkdir -m 700 /var/lib/pgbackrest-drill/clone'"
    assert write.startswith("runuser -u pgbackrest -- sh -c 'umask 077;") and start.endswith("pgquorum-backup-clone.service")


@pytest.mark.parametrize(
    ("to", "mark", "size"),
    [
        ("latest", None, 90),
        ("0/2800000", None, 30),  # as large as it may have been by the next one
        ("0/3800000", None, 90),
        ("1970-01-01 00:08:30Z", None, 30),
        ("m", 0x2800000, 30),
        ("0/5000000", None, 90),
    ],
)
def test_a_clone_needs_room_for_what_the_data_had_become_by_its_moment(to: str, mark: int | None, size: int) -> None:
    sizes = [("L1", 500.0, 0x2000000, 10, "local"), ("L2", 600.0, 0x3000000, 30, "local"), ("L3", 700.0, 0x4000000, 90, "local")]
    others = [("L0", 400.0, 0x1000000, 900, "local"), ("S3", 650.0, 0x3500000, 900, "s3")]
    found = [Base(label, "full", at, 1, where, size, False, name) for label, at, where, size, name in sizes + others]
    archive = replace(archive_of({"local": ARCHIVE}), bases=tuple(found))
    sought = Sought(archive, archive.timelines[1], found[0], None if mark is None else Mark("m", 1, mark, ""))
    assert sought.data(parse_target(to)) == size


def test_what_is_sought_knows_whether_it_is_on_the_newest_timeline() -> None:
    archive = archive_of({"local": {**ARCHIVE, "histories": {"2": ["1\t0/3000000\tx\n", 1_000.0]}}})
    base = Base("L1", "full", 500.0, 1, 0x2000000, 10, False)
    assert [Sought(archive, archive.timelines[n], base, None).newest for n in (1, 2)] == [False, True]
