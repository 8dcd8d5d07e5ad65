"""Reads what the collector answers on a host (questions.py has what it is asked) into the host's part of a ClusterView. Pure."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from cluster import last_deploy, own_roles
from cluster.archive import SEGMENT_BYTES, archived, segment_of
from cluster.certificates import days_left
from cluster.layout import read_note
from cluster.quorum import parse, promotion
from cluster.timelines import position

from .backup_states import Backup, BackupRun, BackupState, Clone, Drill, Repository
from .dcs import Configurations
from .states import (
    Archiver,
    Connections,
    Disk,
    EntryState,
    EtcdState,
    Holder,
    Horizon,
    LockHolder,
    LockTable,
    OldestIds,
    Override,
    Package,
    PatroniState,
    PoolerState,
    PoolProcess,
    PostgresState,
    ProxyState,
    RefusedSetting,
    Salvage,
    Sender,
    Server,
    Slot,
    Subscription,
    Watchdog,
)
from .view import HostView

# pgBackRest's code for a repository that could not be seen.
UNSEEN = 99


def no_answer(name: str, why: str) -> HostView:
    """A host of which nothing is known, and why."""
    return HostView(name, {"host": why})


def host_view(name: str, output: str, at: float) -> HostView:
    """What the collector has printed on the host called `name`; `at` is the operator's time.time() when that was complete."""
    try:
        document = json.loads(output)
    except ValueError:
        return no_answer(name, f"unexpected output, where only JSON should be: {output[:80]!r}")
    problems: dict[str, str] = {}

    def part(of: str, parse: Callable[[Any], Any]) -> Any:
        said = document.get(of)
        if said is None:
            return None
        if "problem" in said:
            problems[of] = " ".join(said["problem"].split())
            return None
        try:
            return parse(said["is"]) if said["is"] is not None else None
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            problems[of] = f"an answer that is not understood ({type(error).__name__}: {error})"
            return None

    return HostView(
        name=name,
        problems=problems,
        clock=document["time"] - at,
        cluster_name=part("marker", lambda marker: marker["cluster"]),
        deployed_by=part("marker", lambda marker: marker.get("version")),
        layout=part("layout", read_note),
        last_deploy=part("last_deploy", last_deploy.parse),
        edited=tuple(part("edited", list) or ()),
        operator=part("operator", str),
        units=part("units", dict) or {},
        packages=part("packages", lambda found: {name: Package(**one) for name, one in found.items()}) or {},
        libraries=part("libraries", dict) or {},
        certificates=part("certificates", certificate_days) or {},
        etcd=part("etcd", etcd_state),
        patroni=part("patroni", lambda said: patroni_state(said, document["time"])),
        postgres=part("postgres", postgres_state),
        proxy=part("haproxy", proxy_state),
        pooler=part("pgbouncer", pooler_state),
        entry=part("keepalived", lambda said: EntryState(tuple(said["interfaces"]))),
        backups=part("pgbackrest", lambda said: backup_state(said, document["time"])),
        drills=part("drilled", lambda found: tuple(drill(one, document["time"]) for one in found)) or (),
        salvage=part("salvage", lambda found: tuple(salvage(one) for one in found)) or (),
        disks=part("disks", lambda found: tuple(Disk(**one) for one in found)) or (),
        locks=part("locks", lambda said: lock_table(said, document["time"])),
        watchdog=part("watchdog", lambda found: Watchdog(**found)),
        filtered=part("firewall", bool),
        restoring=part("restoring", dict) or {},
        old_data=tuple(part("old_data", list) or ()),
        hold=part("hold", str),
        failed_starts=tuple(part("failed_starts", list) or ()),
    )


def refusals(output: str) -> list[str]:
    """Why PostgreSQL would not start on a host, as sentences, from what the judge has printed there."""
    try:
        return [f"PostgreSQL would not start with these parameters: {why}" for why in json.loads(output)["refused"]]
    except (ValueError, KeyError, TypeError):
        return [f"whether PostgreSQL would start with these parameters could not be seen: {output.strip()[-200:]!r}"]


def etcd_state(said: dict[str, Any]) -> EtcdState:
    """From etcd's JSON, where 64-bit numbers are strings and zeros are left out."""
    status = said["status"]
    return EtcdState(
        version=status["version"],
        member_id=status["header"]["member_id"],
        leader_id=status.get("leader", "0"),
        revision=int(status["header"].get("revision", 0)),
        database_size=int(status.get("dbSize", 0)),
        in_use=int(status.get("dbSizeInUse", 0)),
        alarms=tuple(error for error in status.get("errors", []) if "alarm" in error.lower()),
        members={member["ID"]: member.get("name") or ", ".join(member.get("peerURLs", [])) for member in said["members"]},
        quorum=said["quorum"],
        compaction=said["compaction"],
        outdated=said["outdated"],
        keys=said["keys"],
        configurations=configurations(said["configurations"]),
        restore=json.loads(said["configurations"]["notes"].get("restore", ["{}"])[0]),
        archived_to=json.loads(said["configurations"]["notes"].get("archived", ["{}"])[0]).get("to"),
    )


def configurations(said: dict[str, Any]) -> Configurations:
    """What etcd says of the configurations of synchronous replication. Raises ValueError for what can't be understood."""
    notes = said["notes"]
    parsed = [parse(value, revision) for value, revision in said["values"]]
    promoted = notes.get("promoted")
    return Configurations(
        known=tuple(one for one in itertools.takewhile(bool, parsed) if one),
        complete=said["complete"],
        confirmed=int(json.loads(notes["confirmed"][0])["revision"]) if "confirmed" in notes else 0,
        promoted=promotion(*promoted) if promoted else None,
        written=int(notes["written"][0]) if "written" in notes else 0,
    )


def patroni_state(said: dict[str, Any], now: float) -> PatroniState:
    return PatroniState(
        state=said["state"],
        role=said["role"],
        version=said.get("patroni", {}).get("version", ""),
        dcs_age=now - said.get("dcs_last_seen", 0),
        tags=said.get("tags", {}),
        pending_restart=bool(said.get("pending_restart")),
        paused=bool(said.get("pause")),
        waiting=tuple(sorted(said.get("pending_restart_reason") or ())),
        blind=said["state"] in ("running", "streaming") and said.get("timeline", 0) is None,
    )


def postgres_state(said: dict[str, Any]) -> PostgresState:
    return PostgresState(**{
        **said,
        "pending_restart": tuple(said["pending_restart"]),
        "senders": tuple(Sender(**sender) for sender in said["senders"]),
        "slots": tuple(Slot(**slot) for slot in said["slots"]),
        "archiver": Archiver(**said["archiver"]),
        "connections": connections(said["connections"]),
        "refused": tuple(RefusedSetting(**one) for one in said["refused"]),
        "overrides": tuple(Override(**one) for one in said["overrides"]),
        "subscriptions": tuple(Subscription(**one) for one in said["subscriptions"]),
        "unguarded": tuple(said["unguarded"]),
        "own_roles": own_roles.read(said["own_roles"]),
        "missing_roles": tuple(said["missing_roles"]),
        "missing_databases": tuple(said["missing_databases"]),
        "oldest_ids": OldestIds(**said["oldest_ids"]),
        "horizon": Horizon(**said["horizon"]) if said["horizon"] else None,
    })  # fmt: skip


def connections(said: dict[str, Any]) -> Connections:
    return Connections(**said | {"holders": tuple(Holder(**holder) for holder in said["holders"])})


def lock_table(said: dict[str, Any], now: float) -> LockTable:
    """Raises KeyError, TypeError, ValueError or OverflowError for what can't be the agent's: its file is PostgreSQL's user's."""
    return LockTable(
        now - float(said["at"]), int(said["used"]), int(said["capacity"]), tuple(lock_holder(one, now) for one in said["holders"])
    )


def lock_holder(said: dict[str, Any], now: float) -> LockHolder:
    pid, since = said["pid"], said["since"]
    return LockHolder(
        None if pid is None else int(pid), str(said["session"]), int(said["locks"]), None if since is None else now - float(since)
    )


def salvage(said: dict[str, Any]) -> Salvage:
    """Raises KeyError, TypeError, ValueError or OverflowError for what can't be the agent's."""
    words = {name: str(value) for name, value in said.items() if name not in ("timeline", "commits", "size")}
    return Salvage(**words, timeline=int(said["timeline"]), commits=int(said["commits"]), size=int(said["size"]))


def backup_state(said: dict[str, Any], now: float) -> BackupState:
    """From pgBackRest's JSON, and what systemd shows of the units; `now` is the host's clock."""
    read = {name: repository(name, found, now) for name, found in said["repositories"].items()}
    runs = {kind: backup_run(kind, unit) for kind, unit in said["runs"].items()}
    return BackupState(
        version=said["version"].split()[-1],
        backups=tuple(sorted((one for _, backups in read.values() for one in backups), key=lambda one: (one.ended, one.label))),
        runs=tuple(run for kind, run in runs.items() if kind != "drill"),
        timers=said["timers"],
        repositories=tuple(in_archive(state, said["archives"].get(name)) for name, (state, _) in read.items()),
        drills=tuple(drill(one, now) for one in said["drills"]),
        drilling=runs.get("drill"),
        clone=clone(said["clone"], now) if said.get("clone") else None,
    )


def clone(said: dict[str, Any], now: float) -> Clone:
    """Raises KeyError, TypeError or ValueError for what can't be the agent's."""
    to, path, state, problem = (str(said[name]) for name in ("to", "path", "state", "problem"))
    return Clone(to, path, now - float(said["began"]), state, said["ready"] is not None, problem)


def in_archive(state: Repository, said: dict[str, Any] | None) -> Repository:
    """A repository with what was seen in its archive. Raises KeyError, TypeError or ValueError for what can't be the agent's."""
    if said is None:
        return state
    number, text = said["history"]
    start = segment_of(said["start"]) * SEGMENT_BYTES
    return replace(state, archived=archived(said["files"]), history=(int(number), str(text)), start=start)


def repository(name: str, found: dict[str, Any], now: float) -> tuple[Repository, list[Backup]]:
    """A repository and the backups in it, from what pgBackRest said of it, or why it said nothing."""
    if "is" not in found:
        return Repository(name, found["problem"]), []
    (stanza,) = found["is"] or [{}]
    # It tells of one that is away, or refuses the key, in an answer that is like any.
    problems = [one["status"]["message"] for one in stanza.get("repo", []) if one["status"]["code"] == UNSEEN]
    archives = [one for one in stanza.get("archive", []) if one.get("max")]
    first, last = (archives[0]["min"], archives[-1]["max"]) if archives else (None, None)
    return (
        Repository(name, " ".join(problems[0].split()) if problems else "", first, last),
        [backup(one, now, name) for one in stanza.get("backup", [])],
    )


def drill(said: dict[str, Any], now: float) -> Drill:
    """Raises KeyError, TypeError or ValueError for what can't be the agent's."""
    return Drill(
        backup=str(said["backup"]),
        host=str(said["host"]),
        passed=said["passed"] is True,
        ended=float(said["ended"]),
        age=now - float(said["ended"]),
        failures=tuple(map(str, said["failures"])),
        rto=None if said["rto"] is None else float(said["rto"]),
        compared=said["compared"] is True,
        repository=str(said["repository"]),
    )


def backup(said: dict[str, Any], now: float, repository: str) -> Backup:
    started, ended = said["timestamp"]["start"], said["timestamp"]["stop"]
    return Backup(
        label=said["label"],
        kind=said["type"],
        started=started,
        ended=ended,
        age=now - ended,
        size=said["info"]["size"],
        stored=said["info"]["repository"]["delta"],
        wal_first=said["archive"]["start"],
        wal_last=said["archive"]["stop"],
        damaged=bool(said.get("error")),
        repository=repository,
        lsn=position(said["lsn"]["stop"]),
    )


def backup_run(kind: str, unit: dict[str, str]) -> BackupRun:
    began, ended = (unit[f"ExecMain{what}Timestamp"].removeprefix("@") for what in ("Start", "Exit"))
    state = unit["ActiveState"]
    at = [int(one) if one.isdigit() else None for one in (ended, began)]
    running, left = state in ("activating", "active"), unit.get("Begun")
    if left and not running and state != "failed":  # of one that was cut off, or that systemd has forgotten
        return BackupRun(kind, running, failed=True, ended=int(left), began=int(left))
    return BackupRun(kind, running, state == "failed", *at)


def certificate_days(found: dict[str, str]) -> dict[str, int]:
    return {path: days_left(pem.encode()) for path, pem in found.items()}


def pooler_state(said: dict[str, Any]) -> PoolerState:
    return PoolerState(tuple(pool_process(name, of) for name, of in said["processes"].items()), dict(said["users"]))


def pool_process(name: str, said: dict[str, Any]) -> PoolProcess:
    """From the rows of PgBouncer's SHOW POOLS, one for each role and database."""
    if "problem" in said:
        return PoolProcess(name, " ".join(said["problem"].split()) or "no answer")
    pools = said["pools"]
    return PoolProcess(
        name=name,
        version=said["version"],
        clients=said["clients"],
        waiting=sum(int(row["cl_waiting"]) for row in pools),
        longest_wait=max((int(row["maxwait"]) + int(row["maxwait_us"]) / 1e6 for row in pools), default=0.0),
        servers=sum(int(row[state]) for row in pools for state in ("sv_active", "sv_idle", "sv_used")),
        busy=sum(int(row["sv_active"]) for row in pools),
        paused=said["paused"],
    )


def proxy_state(said: dict[str, Any]) -> ProxyState:
    backends: dict[str, list[Server]] = {}
    for row in said["servers"]:
        check = " ".join(filter(None, (row["check_status"], row["last_chk"])))
        server = Server(row["svname"], row["status"], check, int(row["scur"] or 0))
        backends.setdefault(row["pxname"], []).append(server)
    return ProxyState(said["version"], {name: tuple(servers) for name, servers in backends.items()}, tuple(said["held"]))
