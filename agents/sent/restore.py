"""What a restore does on one database host, each a small deed that may be done again. Runs on the host, as root.

The argument names the deed (`do`); the input is one JSON object with what it has to know (day2/recovery/actions.py).
The answer is JSON. Exit code 1 with the reason. What is done to the data itself is done as its owner (agents/data_directory.py).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from agents import data_directory, log_on_disk
from agents.data_directory import remove, write
from agents.rights import acting_as

Spec = dict[str, Any]
# PostgreSQL by itself, for nobody but us: its settings and its socket.
PRIVATE = Path("/run/pgquorum-restore")
UNIT = "pgquorum-restore.service"
STOP_SECONDS = 3600
FREE_SECONDS = 300  # a connection whose other end is silent holds the lock for as long (protocol-timeout, three times)
# What a timeline's number is taken up with that was begun elsewhere; no recovery is told to go there.
TAKEN = "{parent}\t0/1\tbegun elsewhere\n"
# For the log since the last checkpoint to be read; and what `timeout` exits with.
READ_SECONDS, TIMED_OUT = 90, 124
LOOK = """SELECT json_build_object('recovering', pg_is_in_recovery(), 'timeline', left(pg_walfile_name(pg_current_wal_lsn()), 8),
    'lsn', pg_current_wal_lsn(), 'last', extract(epoch FROM pg_last_xact_replay_timestamp())::float)"""


def survey(spec: Spec) -> dict[str, Any]:
    """What data there is, and the room beside it."""
    return data_directory.survey(Path(spec["data"]))


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


def keep_note(spec: Spec) -> None:
    """Writes what the restore has come to (`text`) beside what holds Patroni here, for a day on which etcd knows nothing of it.
    Where Patroni is not held, nothing."""
    note = Path(spec["note"])
    if note.exists():
        new = note.with_name(f"{note.name}.new")
        new.write_text(spec["text"] + "\n")
        new.chmod(0o644)
        new.replace(note)


def read_note(spec: Spec) -> str | None:
    """What is noted here of a restore that holds Patroni; None for none."""
    note = Path(spec["note"])
    return note.read_text() if note.exists() else None


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


def log(spec: Spec) -> dict[str, Any]:
    """What write-ahead log the data has (agents/log_on_disk.py), of which cluster; empty without data. Or `problem`: why that
    can't be seen. Of a server that writes it is not read `to_the_end`: its last checkpoint may be long ago."""
    try:
        state = control(spec)
        with acting_as():
            there = log_on_disk.look(Path(spec["data"]) / "pg_wal")
    except OSError as error:
        with acting_as():
            return {"problem": str(error)} if (Path(spec["data"]) / "PG_VERSION").exists() else {}
    begin = log_on_disk.begin(state, there)
    system = state["Database system identifier"]
    if not spec["to_the_end"]:
        return {"system": system, "last": None, **log_on_disk.told(there, begin)}
    dump = log_on_disk.reading(spec["binaries"], Path(spec["data"]) / "pg_wal", there, begin)
    # It ends with an error wherever the log ends.
    command = ["runuser", "-u", "postgres", "--", "env", "TZ=UTC", "timeout", str(READ_SECONDS), *dump]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/") as process:
        assert process.stdout and process.stderr
        last = log_on_disk.last_ended(process.stdout)
        said = process.stderr.read()
        end = log_on_disk.end(said, there, begin)
    if process.returncode == TIMED_OUT:
        return {"problem": f"its write-ahead log could not be read to its end within {READ_SECONDS} s"}
    return {"system": system, "last": last, "record": log_on_disk.last_record(said), **log_on_disk.told(there, end)}


def last_ended(spec: Spec) -> float | None:
    """When the last transaction ended that is in the archive's files with these `names`, the newest first; None for none of it.
    `options`: by which pgBackRest reads them."""
    place = as_postgres("mktemp", "--directory", "--tmpdir", "pgquorum-look.XXXXXXXX").strip()
    try:
        for name in spec["names"]:
            file = f"{place}/{name}"
            as_postgres("pgbackrest", f"--stanza={spec['stanza']}", *spec["options"], "archive-get", name, file)
            # It ends with an error where the last record goes on in another file.
            dump = ["env", "TZ=UTC", f"{spec['binaries']}/pg_waldump", "-r", "Transaction", file]
            said = subprocess.run(
                ["runuser", "-u", "postgres", "--", *dump], capture_output=True, text=True, check=False, cwd="/"
            )
            if (last := log_on_disk.last_ended(said.stdout.splitlines())) is not None:
                return last
            as_postgres("rm", file)
    finally:
        as_postgres("rm", "-r", place)
    return None


def archive_rest(spec: Spec) -> list[str]:
    """Archives what PostgreSQL has not, before it was stopped, and the files that are named (`also`). Returns the names. Of
    another cluster's data than the archive is of (`system`) nothing belongs there. `pushes`: pgBackRest's options, for each time
    that a file is handed to it; `keep_marks`: it is to be archived elsewhere, too, later."""
    wal = Path(spec["data"]) / "pg_wal"
    try:
        if identify(spec)["system"] != spec["system"]:
            return []
    except OSError:  # no data, or none that anybody could use
        return []
    with acting_as():
        waiting = {mark.stem: mark for mark in (wal / "archive_status").glob("*.ready")}
    names = sorted({*waiting, *spec["also"]}, key=lambda name: (".history" not in name, name))
    for name in names:
        for options in spec["pushes"]:
            push = ["pgbackrest", f"--stanza={spec['stanza']}", *options, "archive-push", str(wal / name)]
            try:
                once_free(push)
            except OSError as error:
                raise OSError(f"{name} can't be archived, and would be lost: {error}") from None
        if name in waiting and not spec["keep_marks"]:
            with acting_as():
                waiting[name].rename(waiting[name].with_suffix(".done"))
    return names


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
        if suffix:  # so that what is restored here instead goes again where that is called off
            data_directory.make(data_directory.aside(data, suffix))
        return
    refuse_running(spec)
    if suffix:
        data_directory.move_aside(data, suffix)
    else:
        data_directory.clear(data)


def put_back(spec: Spec) -> None:
    """The data that was set aside is in its place again. What was restored there is deleted."""
    end_unit()
    remove_private()
    data, suffix = Path(spec["data"]), spec["suffix"]
    if not suffix:
        return
    if data_directory.aside(data, suffix).exists():
        refuse_running(spec)
        data_directory.put_back(data, suffix)
    else:
        # Its log is moved first: a power cut between the two has left that under the other name, as if it were old data.
        data_directory.put_back_wal(data, suffix)


def refuse_running(spec: Spec) -> None:
    """Raises OSError where a server has the data."""
    if runs(spec):
        raise OSError(f"PostgreSQL runs in {spec['data']}")


def fetch(spec: Spec) -> None:
    """Begins to restore a backup into the data directory, whatever an earlier try has left there."""
    end_unit()
    refuse_running(spec)
    data = Path(spec["data"])
    data_directory.clear(data)
    data_directory.make(data)
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
    data_directory.make(PRIVATE)
    settings = "".join(f"{name} = {quoted(value)}\n" for name, value in spec["settings"].items())
    write(PRIVATE / "postgresql.conf", settings)
    write(PRIVATE / "pg_hba.conf", "local all postgres peer\n")
    remove(data / "standby.signal")
    write(data / "recovery.signal", "")
    histories = [data / "pg_wal" / f"{number:08X}.history" for number in spec["taken"]]
    with acting_as():
        missing = [file for file in histories if not file.exists()]
    for file in missing:
        write(file, TAKEN.format(parent=spec["timeline"]))
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
    wal = Path(spec["data"]) / "pg_wal"
    history = wal / f"{said['timeline']}.history"
    with acting_as():
        waiting = [one.stem for one in (wal / "archive_status").glob("*.ready")]
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
        remove(Path(spec["data"]) / name)
    remove_private()


def remove_private() -> None:
    """Nothing is left of where that PostgreSQL had its settings and its socket; that there was none is no error."""
    if PRIVATE.exists():
        with acting_as():
            data_directory.empty(PRIVATE)
        PRIVATE.rmdir()


def identify(spec: Spec) -> dict[str, Any]:
    """The data's system identifier, and its timeline."""
    said = control(spec)
    return {"system": said["Database system identifier"], "timeline": int(said["Latest checkpoint's TimeLineID"])}


def control(spec: Spec) -> dict[str, str]:
    lines = as_postgres(f"{spec['binaries']}/pg_controldata", spec["data"]).splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


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
    survey, hold, keep_note, read_note, release, stop, log, last_ended, archive_rest, set_aside, put_back, fetch, recover, look,
    finish, identify,
)}  # fmt: skip

if __name__ == "__main__":
    try:
        print(json.dumps(DEEDS[json.loads(sys.argv[1])["do"]](json.loads(sys.stdin.read()))))
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        sys.exit(str(error))
