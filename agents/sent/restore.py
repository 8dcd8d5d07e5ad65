"""What a restore does on one database host, each a small deed that may be done again. Runs on the host, as root.

The argument names the deed (`do`); the input is one JSON object with what it has to know (day2/recovery/actions.py).
The answer is JSON. Exit code 1 with the reason.

The data is called so wherever it lies: the data directory, and the directory of its write-ahead log where that is elsewhere.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Spec = dict[str, Any]
# PostgreSQL by itself, for nobody but us: its settings and its socket.
PRIVATE = Path("/run/pgquorum-restore")
UNIT = "pgquorum-restore.service"
STOP_SECONDS = 3600
FREE_SECONDS = 300  # a connection whose other end is silent holds the lock for as long (protocol-timeout, three times)
# What a timeline's number is taken up with that was begun elsewhere; no recovery is told to go there.
TAKEN = "{parent}\t0/1\tbegun elsewhere\n"
LOOK = """SELECT json_build_object('recovering', pg_is_in_recovery(), 'timeline', left(pg_walfile_name(pg_current_wal_lsn()), 8),
    'lsn', pg_current_wal_lsn(), 'last', extract(epoch FROM pg_last_xact_replay_timestamp())::float)"""


def survey(spec: Spec) -> dict[str, Any]:
    """What there is: the bytes of the data, those that are free beside it, and what would be in the way of moving it."""
    data = Path(spec["data"])
    beside = data if data.exists() else next(one for one in data.parents if one.exists())
    about = os.statvfs(beside)
    spaces = data / "pg_tblspc"
    return {
        "there": (data / "PG_VERSION").exists(),
        "size": sum(space(directory) for directory in directories(data)),
        "free": about.f_bavail * about.f_frsize,
        "tablespaces": sorted(str(one.resolve()) for one in spaces.iterdir()) if spaces.exists() else [],
        "mounted": any(os.path.ismount(directory) for directory in directories(data)),
    }


def directories(data: Path) -> Iterator[Path]:
    """The directories that are the data, the write-ahead log's own first. Raises OSError for one that is somebody else's: who has
    the data may have placed a link to it."""
    if (data / "pg_wal").is_symlink():
        yield owners_own((data / "pg_wal").resolve(), data)
    if data.exists():
        yield data


def owners_own(directory: Path, data: Path) -> Path:
    """The directory, if it is there and the owner of the data's. Raises OSError."""
    if directory.exists() and directory.stat().st_uid != data.stat().st_uid:
        raise OSError(f"{data}/pg_wal leads to {directory}, which is not the data's owner's")
    return directory


def space(directory: Path) -> int:
    total = 0
    for place, _, names in os.walk(directory):
        for name in names:
            try:
                total += Path(place, name).lstat().st_blocks * 512
            except FileNotFoundError:  # what runs removes files
                continue
    return total


def hold(spec: Spec) -> None:
    """Nobody starts Patroni here until `release`: no deploy, no boot."""
    note, drop_in = Path(spec["note"]), Path(spec["drop_in"])
    for file, text in (
        (note, json.dumps({"restore": spec["id"]}) + "\n"),
        (drop_in, f"# While a restore is under way.\n[Unit]\nConditionPathExists=!{note}\n"),
    ):
        file.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o644)
    run("systemctl", "daemon-reload")


def release(spec: Spec) -> None:
    """Patroni may be started again."""
    drop_in = Path(spec["drop_in"])
    for file in (Path(spec["note"]), drop_in):
        file.unlink(missing_ok=True)
    if drop_in.parent.exists() and not any(drop_in.parent.iterdir()):
        drop_in.parent.rmdir()
    run("systemctl", "daemon-reload")


def stop(spec: Spec) -> None:
    """Stops Patroni, and PostgreSQL where that goes on without it."""
    run("systemctl", "stop", "patroni.service", seconds=STOP_SECONDS)
    end_unit()
    if runs(spec):
        pg_ctl = f"{spec['binaries']}/pg_ctl"
        as_postgres(pg_ctl, "stop", "--mode=fast", f"--timeout={STOP_SECONDS}", f"--pgdata={spec['data']}", seconds=STOP_SECONDS)


def runs(spec: Spec) -> bool:
    """Whether a PostgreSQL runs with the data."""
    command = ["runuser", "-u", "postgres", "--", f"{spec['binaries']}/pg_ctl", "status", f"--pgdata={spec['data']}"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def archive_rest(spec: Spec) -> list[str]:
    """Archives what PostgreSQL has not, before it was stopped. Returns the names. Of another cluster's data than the archive is
    of (`system`) nothing belongs there. `pushes`: pgBackRest's options, for each time that a file is handed to it; `keep_marks`:
    it is to be archived elsewhere, too, later."""
    wal = Path(spec["data"]) / "pg_wal"
    try:
        if identify(spec)["system"] != spec["system"]:
            return []
    except OSError:  # no data, or none that anybody could use
        return []
    waiting = sorted((wal / "archive_status").glob("*.ready"), key=lambda one: (".history" not in one.name, one.name))
    for mark in waiting:
        for options in spec["pushes"]:
            push = ["pgbackrest", f"--stanza={spec['stanza']}", *options, "archive-push", str(wal / mark.stem)]
            try:
                once_free(push)
            except OSError as error:
                raise OSError(f"{mark.stem} can't be archived, and would be lost: {error}") from None
        if not spec["keep_marks"]:
            mark.rename(mark.with_suffix(".done"))
    return [mark.stem for mark in waiting]


def once_free(push: list[str]) -> None:
    """Runs pgBackRest, as soon as the repository takes somebody: what a server has begun to send may still be on its way."""
    until = time.monotonic() + FREE_SECONDS
    while True:
        try:
            as_postgres(*push, seconds=STOP_SECONDS)
        except OSError as error:
            if "LockAcquireError" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(1)
        else:
            return


def set_aside(spec: Spec) -> None:
    """Gives the data's directories the suffix; without one, deletes what is in them."""
    data, suffix = Path(spec["data"]), spec["suffix"]
    if not data.exists():
        return
    if runs(spec):
        raise OSError(f"PostgreSQL runs in {data}")
    if not suffix:
        clear(data)
        return
    aside = data.with_name(data.name + suffix)
    if aside.exists():
        raise OSError(f"{aside} is there already")
    move_wal(data / "pg_wal", lambda name: name.removesuffix(suffix) + suffix)
    data.rename(aside)


def put_back(spec: Spec) -> None:
    """The data that was set aside is in its place again. What was restored there is deleted."""
    end_unit()
    data, suffix = Path(spec["data"]), spec["suffix"]
    aside = data.with_name(data.name + suffix)
    if not suffix or not aside.exists():
        return
    if runs(spec):
        raise OSError(f"PostgreSQL runs in {data}")
    for directory in [*directories(data)]:
        shutil.rmtree(directory)
    move_wal(aside / "pg_wal", lambda name: name.removesuffix(suffix))
    aside.rename(data)


def move_wal(link: Path, renamed: Callable[[str], str]) -> None:
    """Where the write-ahead log is elsewhere, gives its directory another name and leads there. Once more ends what was begun."""
    if not link.is_symlink():
        return
    now = owners_own(link.readlink(), link.parent)
    to = now.with_name(renamed(now.name))
    if now.exists() and not to.exists():
        now.rename(to)
    new = link.with_name("pg_wal.new")
    new.unlink(missing_ok=True)
    new.symlink_to(to)
    new.replace(link)


def clear(data: Path) -> None:
    """Deletes all that is in the data's directories. What they are themselves stays: it may be a mount point."""
    for directory in directories(data):
        for one in directory.iterdir():
            if one.is_dir() and not one.is_symlink():
                shutil.rmtree(one)
            else:
                one.unlink()


def fetch(spec: Spec) -> None:
    """Begins to restore a backup into the data directory, whatever an earlier try has left there."""
    end_unit()
    data = Path(spec["data"])
    clear(data)
    data.mkdir(mode=0o700, exist_ok=True)
    shutil.chown(data, "postgres", "postgres")
    data.chmod(0o700)
    link = [f"--link-map=pg_wal={spec['wal']}"] if spec["wal"] else []
    # By the timeline it judges whether the backup leads there: without, by the newest that there is.
    along = ["--type=default", f"--target-timeline={spec['timeline']}"]
    words = [
        f"--stanza={spec['stanza']}",
        *spec["options"],
        f"--set={spec['label']}",
        *along,
        *link,
        "--log-level-console=info",
        "restore",
    ]
    begin_unit(f"fetch {spec['label']}", ["RemainAfterExit=yes"], ["pgbackrest", *words])


def recover(spec: Spec) -> None:
    """Starts PostgreSQL for nobody but us, which reads the archive until the target is reached, and is promoted then."""
    end_unit()
    data = Path(spec["data"])
    PRIVATE.mkdir(mode=0o700, exist_ok=True)
    shutil.chown(PRIVATE, "postgres", "postgres")
    settings = "".join(f"{name} = {quoted(value)}\n" for name, value in spec["settings"].items())
    owned(PRIVATE / "postgresql.conf", settings)
    owned(PRIVATE / "pg_hba.conf", "local all postgres peer\n")
    (data / "standby.signal").unlink(missing_ok=True)
    owned(data / "recovery.signal", "")
    for number in spec["taken"]:
        file = data / "pg_wal" / f"{number:08X}.history"
        if not file.exists():
            owned(file, TAKEN.format(parent=spec["timeline"]))
    # What pgBackRest has written into postgresql.auto.conf reads the one repository that the backup came from, and goes before
    # the file; but not before this.
    reads = f"restore_command={spec['settings']['restore_command']}"
    server = [f"{spec['binaries']}/postgres", "-D", str(data), "-c", f"config_file={PRIVATE}/postgresql.conf", "-c", reads]
    begin_unit("recover", ["KillMode=mixed", "KillSignal=SIGINT", "TimeoutStopSec=infinity"], server)


def look(spec: Spec) -> dict[str, Any]:
    """How far that is: the unit's state, what it does, and what it said last; what PostgreSQL says once it is promoted."""
    shown = run("systemctl", "show", "--property=ActiveState,SubState,InvocationID,Description", UNIT)
    unit = dict(line.split("=", 1) for line in shown.splitlines())
    lines = []
    if unit.get("InvocationID"):
        journal = ["journalctl", f"_SYSTEMD_INVOCATION_ID={unit['InvocationID']}", "--output=cat", "--no-pager", "--lines=30"]
        lines = run(*journal).splitlines()
    return {
        "active": unit["ActiveState"],
        "sub": unit["SubState"],
        "doing": unit["Description"],
        "said": lines,
        "server": server_says(spec),
    }


def server_says(spec: Spec) -> Any:
    """None while it takes no connections."""
    if not (PRIVATE / f".s.PGSQL.{spec['port']}").exists():
        return None
    try:
        said = json.loads(psql(spec, LOOK))
    except OSError:
        return None
    history = Path(spec["data"]) / "pg_wal" / f"{said['timeline']}.history"
    status = Path(spec["data"]) / "pg_wal" / "archive_status"
    waiting = [one.stem for one in status.glob("*.ready")]
    return {**said, "history": history.read_text() if history.exists() else "", "waiting": waiting}


def psql(spec: Spec, query: str) -> str:
    return as_postgres(
        f"{spec['binaries']}/psql", "-XAtq", "-h", str(PRIVATE), "-p", str(spec["port"]), "-d", "postgres", "-c", query
    )


def finish(spec: Spec) -> None:
    """Stops that PostgreSQL in order, and takes away what others would read of the recovery, and of an earlier time."""
    for name in ("restore_command", "recovery_target_timeline"):  # pgBackRest has written them
        psql(spec, f"ALTER SYSTEM RESET {name}")
    end_unit()
    state = control(spec)["Database cluster state"]
    if state != "shut down":
        raise OSError(f"PostgreSQL was not stopped in order, its data is {state!r}")
    for name in ("patroni.dynamic.json", "recovery.signal"):
        (Path(spec["data"]) / name).unlink(missing_ok=True)
    shutil.rmtree(PRIVATE, ignore_errors=True)


def identify(spec: Spec) -> dict[str, Any]:
    """The data's system identifier, and its timeline."""
    said = control(spec)
    return {"system": said["Database system identifier"], "timeline": int(said["Latest checkpoint's TimeLineID"])}


def control(spec: Spec) -> dict[str, str]:
    lines = run(f"{spec['binaries']}/pg_controldata", spec["data"]).splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def owned(file: Path, text: str) -> None:
    """A file of postgres's own with that text, in a directory of that user's: what is placed there meanwhile is not followed."""
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8") as made:
        made.write(text)
        user = pwd.getpwnam("postgres")
        os.fchown(made.fileno(), user.pw_uid, user.pw_gid)
    new.replace(file)


def quoted(value: Any) -> str:
    text = {True: "on", False: "off"}.get(value, str(value)) if isinstance(value, bool) else str(value)
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def begin_unit(doing: str, properties: list[str], command: list[str]) -> None:
    """Under systemd, so that it goes on when the operator's connection ends."""
    options = [f"--property={one}" for one in ("User=postgres", *properties)]
    run("systemd-run", f"--unit={UNIT}", f"--description={doing}", "--quiet", *options, "--", *command)


def end_unit() -> None:
    """What is left of an earlier one is ended; that there is none is no error."""
    subprocess.run(["systemctl", "stop", UNIT], capture_output=True, timeout=STOP_SECONDS, check=False)
    subprocess.run(["systemctl", "reset-failed", UNIT], capture_output=True, check=False)


def as_postgres(*command: str, seconds: float = 60) -> str:
    return run("runuser", "-u", "postgres", "--", *command, seconds=seconds)


def run(*command: str, seconds: float = 60) -> str:
    """What it prints. Raises OSError with what it says instead."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False, cwd="/")
    if done.returncode:
        said = re.sub(r"\s+", " ", done.stderr or done.stdout).strip()[-500:]
        raise OSError(said or f"{command[0]} exited with {done.returncode}")
    return done.stdout


DEEDS = {f.__name__: f for f in (
    survey, hold, release, stop, archive_rest, set_aside, put_back, fetch, recover, look, finish, identify,
)}  # fmt: skip

if __name__ == "__main__":
    try:
        print(json.dumps(DEEDS[json.loads(sys.argv[1])["do"]](json.loads(sys.stdin.read()))))
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        sys.exit(str(error))
