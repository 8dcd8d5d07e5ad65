"""A drill of a backup, as an operator has it: what a replica has at one moment, and a copy that is recovered to that one."""

from __future__ import annotations

import json
import re
import shlex
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from threading import Event
from typing import Any

from pydantic import TypeAdapter, ValidationError

from agents.drill_files import FORMAT, Result
from cluster import paths
from cluster.components import DRILL_UNIT
from cluster.drill import contents_of
from cluster.errors import ClusterError
from cluster.topology import Cluster, Host
from day2.hosts import operator_lock
from day2.hosts.ssh import LOST, Fleet, UnreachableError

from .drill_choice import Choice

HOLDER = "pgquorum-hold-replay"  # the unit in which a replica's replay stands still
GRACE_SECONDS = 30  # after the limit of the pause itself
LSN = r"[0-9A-F]{1,8}/[0-9A-F]{1,8}"
# A restore of much data takes days.
PATIENCE = 4 * 24 * 3600.0
LOOK_SECONDS = 2.0
# Beside archive_timeout, after which PostgreSQL ends a file of its log by itself.
ARCHIVED_SECONDS = 60.0
CHECK_SECONDS = 120  # `pgbackrest check` itself gives up after a minute


@dataclass(frozen=True)
class Moment:
    """A moment of the cluster: rows of the probe's just before it and just after, and what a replica had then."""

    marker: str
    lsn: str
    timeline: str
    replica: str
    contents: dict[str, Any]
    paused_seconds: float


def _like(pattern: str, said: str) -> str:
    """What a host has said, which goes to another host: nothing but what it should be. Raises ValueError."""
    if not re.fullmatch(pattern, said):
        raise ValueError(repr(said[:80]))
    return said


def _document(host: Host, said: str) -> dict[str, Any]:
    """The JSON object that a host has printed. Raises ClusterError for anything else."""
    try:
        return dict(json.loads(said))
    except (ValueError, TypeError) as error:
        raise ClusterError(f"{host.name}: an answer that is not understood: {error}") from None


class Drilling:
    """What is asked of hosts. `say` tells a person what goes on."""

    def __init__(self, fleet: Fleet, cluster: Cluster, choice: Choice, say: Callable[[str], object]) -> None:
        self.fleet, self.cluster, self.choice, self.say = fleet, cluster, choice, say
        self.directory = cluster.drill_directory(choice.where)

    def room(self) -> str:
        """What there is under the drill's directory, as drill_choice.disk_of reads it."""
        return self._run(self.choice.where, f"stat -f -c '%S %b %f %a' {self.directory}")

    def refuse_second(self) -> None:
        """Raises ClusterError while a drill goes on there."""
        state = self._run(self.choice.where, f"systemctl show --property=ActiveState --value {DRILL_UNIT}").strip()
        if state not in ("inactive", "failed"):
            raise ClusterError(f"{self.choice.where.name}: a drill goes on there already ({DRILL_UNIT} is {state})")

    def moment(self, primary: str, replica: Host, marker: str) -> tuple[Moment, str]:
        """A moment, and the file of the log in which its second marker is. The cluster is locked while the replica's replay is
        paused: no other task is to meet it so."""
        before, _ = self._mark(primary, marker, 1)
        with operator_lock.held(self.fleet, self.cluster, "backup.drill"):
            said = self._hold(replica, before)
        _, segment = self._mark(primary, marker, 2)
        try:
            lsn, timeline = _like(LSN, str(said["lsn"])), _like(r"\d{1,10}", str(said["timeline"]))
            contents_of(said["contents"])
            found = Moment(marker, lsn, timeline, replica.name, said["contents"], float(said["paused_seconds"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ClusterError(f"{replica.name}: an answer that is not understood ({type(error).__name__}: {error})") from None
        return found, segment

    def first_of_a_file(self, primary: str, marker: str) -> tuple[str, float]:
        """Has the primary end the file of its log that it writes, and writes a row that is the first of the next one, so no other
        is in no archive for longer: the name of that file, and when (monotonic) the row was acknowledged."""
        _, segment = self._mark(primary, marker, 3, first="do $$ begin perform pg_switch_wal(); end $$")
        return segment, time.monotonic()

    def _mark(self, primary: str, marker: str, number: int, first: str = "") -> tuple[str, str]:
        """Writes a row as an application would, after the statement `first`, if any, and returns when it is
        acknowledged: up to where the log is written now, and the name of the file that is in."""
        insert = f"insert into probe (writer, seq, run) values (0, {number}, '{marker}')"  # noqa: S608 - both are ours
        where = "select lsn, pg_walfile_name(lsn) from pg_current_wal_flush_lsn() lsn"
        statements = " ".join(f"-c {shlex.quote(one)}" for one in (first, insert, where) if one)
        command = f"{self._psql(paths.PROBE_DATABASE)} -F ' ' {statements}"
        said = self._run(self.cluster.host(primary), command).strip()
        try:
            lsn, segment = said.split()
            return _like(LSN, lsn), _like("[0-9A-F]{24}", segment)
        except ValueError as error:
            raise ClusterError(f"{primary}: an answer that is not understood: {error}") from None

    def _psql(self, database: str) -> str:
        psql = f"{paths.postgres_binaries(self.cluster.postgres.version)}/psql -XAtqw -v ON_ERROR_STOP=1"
        return f"runuser -u postgres -- {psql} -h {paths.POSTGRES_SOCKETS} -p {self.cluster.postgres.port} -d {database}"

    def _hold(self, replica: Host, after: str) -> dict[str, Any]:
        """What agents/held_replay.py says there. It ends with this connection; and however it ends, its unit lets the replay go
        on before it is gone."""
        limit = self.cluster.backup.drill_pause
        program = paths.agent("hold-replay")
        unit = (
            f"systemd-run --quiet --collect --pipe --wait --unit={HOLDER} --uid=postgres"
            f" -p RuntimeMaxSec={limit + GRACE_SECONDS} -p ExecStopPost={shlex.quote(program)}"
        )
        script = f"{unit} {program} {after} {limit}"
        channel = None
        try:
            channel = self.fleet.start(replica.name, script)
            channel.settimeout(limit + 2 * GRACE_SECONDS)
            said = channel.makefile("rb").read().decode(errors="replace")
            problem = channel.makefile_stderr("rb").read().decode(errors="replace").strip()
            code = channel.recv_exit_status()
        except (UnreachableError, *LOST) as error:
            raise ClusterError(f"{replica.name}: {error or 'no answer'}") from None
        finally:
            if channel is not None:
                channel.close()
        if code:
            raise ClusterError(f"{replica.name}: its contents could not be read: {problem or code}")
        return _document(replica, said)

    def await_archived(self, segment: str, archive_timeout: float) -> None:
        """Returns when a file of the log is in the archive. Raises ClusterError when it does not get there."""
        if not self._gets_there(segment, time.monotonic() + archive_timeout + ARCHIVED_SECONDS, Event()):
            self._ask_for_file()

    def exposed(self, segment: str, acknowledged: float, archive_timeout: float, stop: Event) -> float | None:
        """For how many seconds a row that was acknowledged then was in no archive; None where its file did not get there within
        ARCHIVED_SECONDS more than PostgreSQL takes to end it, or `stop` was set."""
        there = self._gets_there(segment, acknowledged + archive_timeout + ARCHIVED_SECONDS, stop)
        return round(time.monotonic() - acknowledged, 1) if there else None

    def _gets_there(self, segment: str, deadline: float, stop: Event) -> bool:
        """Whether a file of the log gets to the archive until then (monotonic), and before `stop` is set."""
        while self._archived()[8:] < segment[8:]:  # after a failover, on the timeline that goes on from there
            if time.monotonic() > deadline or stop.wait(LOOK_SECONDS):
                return False
        return True

    def _archived(self) -> str:
        """The last file of the write-ahead log that is in the archive."""
        keeper = self.choice.keeper
        number = next((one.number for one in self.cluster.repositories if one.name == self.choice.backup.repository), 1)
        command = paths.pgbackrest(self.cluster.name, paths.BACKUP_USER, f"--repo={number} --output=json info")
        stanzas = _document(keeper, f'{{"info": {self._run(keeper, command)}}}')["info"]
        archives = [one["max"] for stanza in stanzas for one in stanza.get("archive", []) if one.get("max")]
        return str(archives[-1]) if archives else ""

    def _ask_for_file(self) -> None:
        check = f"{paths.pgbackrest(self.cluster.name, paths.BACKUP_USER, 'check')} 2>&1"
        self._run(self.choice.keeper, check, seconds=CHECK_SECONDS)

    def forget(self, primary: str, marker: str) -> None:
        """Takes the markers out of the probe's table again."""
        delete = f"delete from probe where run = '{marker}'"  # noqa: S608 - it is ours
        self.fleet.run(primary, f"{self._psql(paths.PROBE_DATABASE)} -c {shlex.quote(delete)}")

    def run(self, moment: Moment | None) -> dict[str, Any]:
        """The drill on its host, to its end; what has come of it. It goes on when this connection breaks, and ends with Ctrl-C.
        Raises ClusterError where nothing came of it."""
        where, backup = self.choice.where, self.choice.backup
        order = {"id": str(uuid.uuid4()), "backup": backup.label, "repository": backup.repository}
        if moment:
            order |= {"lsn": moment.lsn, "timeline": moment.timeline, "marker": moment.marker, "replica": moment.replica}
        document = {**order, **({"contents": moment.contents} if moment else {})}
        self._put(where, "order.json", json.dumps(document))
        try:
            answer = self.fleet.run(where.name, f"systemctl start {DRILL_UNIT}", seconds=PATIENCE)
        except KeyboardInterrupt:
            self.say(f"interrupted: ending the drill on {where.name}")
            self.fleet.run(where.name, f"systemctl stop {DRILL_UNIT}", seconds=PATIENCE)
            raise
        if answer.code is None:
            raise ClusterError(
                f"{where.name}: {answer.problem}; the drill goes on there, and `invoke backup.list` will have its result"
            )
        newest = f'cat "$(ls -t {self.directory}/results/*.json 2>/dev/null | head -n 1)"'
        said = self._run(where, f"runuser -u {self.cluster.backup_user(where)} -- sh -c {shlex.quote(newest)}")
        result = _document(where, said)
        if result.pop("format", None) != FORMAT or result.get("id") != order["id"]:
            raise ClusterError(f"{where.name}: the drill came to no end ({DRILL_UNIT}): `invoke logs --component pgbackrest`")
        try:
            whole = TypeAdapter(Result).validate_python(result)
        except ValidationError as error:
            raise ClusterError(f"{where.name}: a result that is not understood: {error.errors()[0]['msg']}") from None
        return {"format": FORMAT, **asdict(whole)}

    def note(self, result: dict[str, Any]) -> None:
        """Keeps a result on the host that keeps the backups."""
        directory = f"{self.cluster.drill_directory(self.choice.keeper)}/results"
        self._put(
            self.choice.keeper, f"results/{int(result['began'])}-{result['backup']}.json", json.dumps(result, indent=2), directory
        )

    def _put(self, host: Host, name: str, text: str, directory: str = "") -> None:
        """Writes a file of a drill's in one step, as the user whose they are."""
        path = shlex.quote(f"{self.cluster.drill_directory(host)}/{name}")
        make = f"mkdir -p {directory} && " if directory else ""
        # What was cut off with the connection is no order.
        write = (
            f'umask 077; {make}cat >{path}.new && [ "$(wc -c <{path}.new)" -eq {len(text.encode())} ] && mv -f {path}.new {path}'
        )
        self._run(host, f"runuser -u {self.cluster.backup_user(host)} -- sh -c {shlex.quote(write)}", text)

    def _run(self, host: Host, command: str, stdin: str = "", seconds: float = 30) -> str:
        answer = self.fleet.run(host.name, command, stdin, seconds)
        if not answer.ok:
            said = answer.problem or answer.output.strip() or f"{command.split()[0]} exits with {answer.code}"
            raise ClusterError(f"{host.name}: {said}")
        return answer.output
