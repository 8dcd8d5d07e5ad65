"""Everything one host can say about the cluster, as one JSON document on stdout. Runs on the host, as root.

The argument is a JSON object (made by health/questions.py). All parts are asked for at the same time, each within SECONDS;
one that fails is `{"problem": "why"}`, and never keeps the others from being told.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from subprocess import PIPE
from typing import Any

from agents import archived, https

SECONDS = 1.2
MOST_SECONDS = 5.0  # for all parts together, some of which ask several times
MOST_OF_A_NOTE = 65_536  # bytes
MOST_SALVAGES = 100
MOST_DRILLS = 100
MOST_CONFIGURATIONS = 20

# PostgreSQL shows many words in its own way (`iso, dmy` as `ISO, DMY`, `on` as `pglz`), and this session has its own search_path.
# So of a word that it took from a file, once it has read that, the running value is what the file says.
#
# Of what PostgreSQL refuses in its files, an error without a file is of a parameter that was only taken out: it would
# start, with the default. So it is after Patroni has begun recovery with `recovery_target = ''` and promoted the server.
SQL = """
WITH here AS (SELECT pg_is_in_recovery() AS recovering),
     now AS (SELECT CASE WHEN recovering THEN NULL ELSE pg_current_wal_lsn() END AS lsn FROM here),
     clients AS (SELECT usename AS role, coalesce(host(client_addr), 'local') AS address FROM pg_stat_activity
                 WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),
     control AS (SELECT min_recovery_end_timeline AS reached, timeline_id AS written
                 FROM pg_control_recovery(), pg_control_checkpoint()),
     files AS (SELECT DISTINCT ON (lower(name)) name, setting, sourcefile, sourceline FROM pg_file_settings
               WHERE applied AND (pg_stat_file(sourcefile, true)).modification <= pg_conf_load_time()
               ORDER BY lower(name), seqno DESC)
SELECT json_build_object(
  'in_recovery', recovering,
  'version', current_setting('server_version'),
  'timeline', CASE WHEN NOT recovering THEN ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
              ELSE coalesce((SELECT received_tli FROM pg_stat_wal_receiver), greatest(reached, written)) END,
  'lsn', now.lsn - '0/0',
  'received', pg_last_wal_receive_lsn() - '0/0',
  'replayed', pg_last_wal_replay_lsn() - '0/0',
  'replay_age', extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float,
  'replay_paused', CASE WHEN recovering THEN pg_is_wal_replay_paused() ELSE false END,
  'receiver', (SELECT status FROM pg_stat_wal_receiver),
  'pending_restart', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM pg_settings WHERE pending_restart),
  'synchronous_standby_names', current_setting('synchronous_standby_names'),
  'synchronous_commit', current_setting('synchronous_commit'),
  'senders', (SELECT coalesce(json_agg(json_build_object(
      'name', application_name, 'state', state, 'sync_state', sync_state,
      'received_lag', coalesce(now.lsn - flush_lsn, 0), 'replayed_lag', coalesce(now.lsn - replay_lsn, 0),
      'received_seconds', coalesce(extract(epoch FROM flush_lag), 0)::float,
      'replayed_seconds', coalesce(extract(epoch FROM replay_lag), 0)::float)), '[]') FROM pg_stat_replication),
  'parameters', (SELECT coalesce(json_object_agg(s.name, coalesce(f.setting, s.reset_val)), '{}') FROM pg_settings s
      LEFT JOIN files f ON lower(f.name) = lower(s.name) AND s.vartype IN ('string', 'enum')
          AND (s.source IN ('client', 'session', 'user', 'database', 'database user')
               OR s.sourcefile = f.sourcefile AND s.sourceline = f.sourceline)
      WHERE s.name = ANY (string_to_array(:'names', ','))),
  'connections', json_build_object('used', (SELECT count(*) FROM clients),
      'limit', current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
          - current_setting('reserved_connections')::int,
      'holders', (SELECT coalesce(json_agg(h), '[]') FROM (SELECT role, address, count(*) AS connections FROM clients
          GROUP BY role, address ORDER BY connections DESC, role, address LIMIT 3) h)),
  'altered', (SELECT coalesce(json_object_agg(name, setting), '{}') FROM pg_settings
      WHERE sourcefile LIKE '%/postgresql.auto.conf' AND name <> 'synchronized_standby_slots'),
  'refused', (SELECT coalesce(json_agg(json_build_object('name', f.name, 'value', f.setting, 'file', f.sourcefile,
      'error', f.error) ORDER BY f.seqno), '[]') FROM pg_file_settings f LEFT JOIN pg_settings s ON s.name = f.name
      WHERE f.error IS NOT NULL AND f.sourcefile IS NOT NULL AND coalesce(s.context, '') <> 'postmaster'),
  'overrides', (SELECT coalesce(json_agg(json_build_object('role', r.rolname, 'database', d.datname, 'setting', setting)), '[]')
      FROM pg_db_role_setting o CROSS JOIN unnest(o.setconfig) AS setting
      LEFT JOIN pg_roles r ON r.oid = o.setrole LEFT JOIN pg_database d ON d.oid = o.setdatabase
      WHERE setting LIKE 'synchronous_commit=%'),
  'subscriptions', (SELECT coalesce(json_agg(json_build_object('name', subname, 'database', datname,
      'synchronous_commit', subsynccommit) ORDER BY subname), '[]')
      FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE subenabled),
  'unguarded', (SELECT coalesce(json_agg(datname ORDER BY datname), '[]') FROM pg_database
      WHERE datallowconn AND datconnlimit <> -2 AND NOT dathasloginevt),
  'oldest_transaction', (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(xact_start)), 0)::float
      FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),
  'base_backups', (SELECT count(*) FROM pg_stat_progress_basebackup),
  'backup_bytes', (SELECT coalesce(sum(backup_streamed), 0)::bigint FROM pg_stat_progress_basebackup),
  'verifiers', (SELECT coalesce(json_object_agg(rolname, CASE WHEN rolcanlogin AND NOT rolsuper AND NOT rolreplication
          AND coalesce(rolvaliduntil > clock_timestamp(), true)
          THEN left(encode(sha256(convert_to(coalesce(rolpassword, ''), 'UTF8')), 'hex'), 16) ELSE '' END), '{}')
      FROM pg_authid WHERE rolname = ANY (string_to_array(:'pooled', ','))),
  'archiver', (SELECT json_build_object('archived_wal', last_archived_wal, 'failed_wal', last_failed_wal,
      'archived', extract(epoch FROM clock_timestamp() - last_archived_time)::float,
      'failed', extract(epoch FROM clock_timestamp() - last_failed_time)::float, 'waiting', waiting, 'oldest', oldest)
      FROM pg_stat_archiver, (SELECT count(*) AS waiting,
          extract(epoch FROM clock_timestamp() - min(modification))::float AS oldest
          FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready') ready),
  'slots', (SELECT coalesce(json_agg(json_build_object('name', slot_name, 'type', slot_type, 'active', active,
      'wal_status', wal_status, 'room', safe_wal_size,
      'retained', greatest(coalesce(coalesce(now.lsn, pg_last_wal_replay_lsn()) - restart_lsn, 0), 0),
      'database', database, 'failover', failover, 'synced', synced, 'temporary', temporary)), '[]') FROM pg_replication_slots)
) FROM here, now, control
"""


class Server:
    """One server of this cluster, asked with this host's certificate."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._server, self._tls = spec["url"], https.tls_context(**spec["tls"])

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Its answer, which is JSON. Raises OSError when it is none, or no good one."""
        try:
            return https.ask(self._server, path, body, self._tls, SECONDS)
        except https.StatusError as error:
            raise OSError(f"{path} says {error.status}: {error.text[:200]}") from None


def etcd(spec: dict[str, Any]) -> dict[str, Any]:
    """This member's own word: none of these needs a quorum, but for the last, which tells whether there is one."""
    member = Server(spec)
    status = member.ask("/v3/maintenance/status", {})
    members = member.ask("/v3/cluster/member/list", {"linearizable": False})
    prefix = spec["prefix"].encode()
    found = member.ask("/v3/kv/range", {**everything_under(prefix), "serializable": True})
    known = configurations(member, spec)
    try:
        member.ask("/v3/kv/range", {"key": encoded(prefix)})
        quorum = True
    except OSError:
        quorum = False
    return {
        "configurations": known,
        "status": status,
        "compaction": compaction(),
        "members": members["members"],
        "quorum": quorum,
        "keys": {decoded(kv["key"])[len(prefix) :]: decoded(kv.get("value", "")) for kv in found.get("kvs", [])},
    }


def configurations(member: Server, spec: dict[str, Any]) -> dict[str, Any]:
    """Of synchronous replication: what is noted about them, and the values of Patroni's /sync, the latest first, back to the one
    that was confirmed (agents/keys.py; here from this member alone). `complete`: none of them is forgotten."""
    ours, sync = spec["ours"].encode(), f"{spec['prefix']}sync"
    noted = member.ask("/v3/kv/range", {**everything_under(ours), "serializable": True})
    notes = {decoded(kv["key"])[len(ours) :]: (decoded(kv["value"]), int(kv["mod_revision"])) for kv in noted.get("kvs", [])}
    confirmed = json.loads(notes["confirmed"][0])["revision"] if "confirmed" in notes else 0
    values: list[Any] = []
    revision = 0
    while not values or (values[-1][1] > confirmed and len(values) < MOST_CONFIGURATIONS):
        asked = {"key": encoded(sync.encode()), "serializable": True, "revision": str(revision)}
        try:
            found = member.ask("/v3/kv/range", asked).get("kvs", [])
        except OSError:  # compacted
            return {"notes": notes, "values": values, "complete": False}
        if not found:
            break
        values.append([decoded(found[0]["value"]), int(found[0]["mod_revision"])])
        revision = values[-1][1] - 1
    return {"notes": notes, "values": values, "complete": len(values) < MOST_CONFIGURATIONS}


def everything_under(prefix: bytes) -> dict[str, str]:
    return {"key": encoded(prefix), "range_end": encoded(prefix[:-1] + bytes([prefix[-1] + 1]))}


def compaction() -> str:
    """How much history etcd keeps, as it was started with: its API does not tell. Empty when it keeps all of it."""
    pid = run("systemctl", "show", "--property=MainPID", "--value", "etcd.service").strip()
    variables = Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
    return dict(v.partition("=")[::2] for v in variables).get("ETCD_AUTO_COMPACTION_RETENTION", "")


def encoded(text: bytes) -> str:
    return base64.b64encode(text).decode()


def decoded(text: str) -> str:
    return base64.b64decode(text).decode(errors="replace")


def patroni(spec: dict[str, Any]) -> Any:
    return Server(spec).ask("/patroni")


def postgres(spec: dict[str, Any]) -> Any:
    options = f"PGOPTIONS=-c statement_timeout={int(SECONDS * 1000)} -c search_path=pg_catalog"
    names = f"names={','.join(spec['parameters'])}"
    pooled = f"pooled={','.join(spec['pooled'])}"
    psql = (spec["psql"], "-XAtq", "-v", names, "-v", pooled, "-h", spec["sockets"], "-p", str(spec["port"]), "postgres")
    said = json.loads(run("runuser", "-u", "postgres", "--", "env", options, "PGAPPNAME=pgquorum", *psql, given=SQL))
    about = os.statvfs(spec["wal"])
    said["archiver"]["room"] = about.f_bavail * about.f_frsize
    return said


def haproxy(spec: dict[str, Any]) -> Any:
    """Its version, the lines of `show stat` for servers, as HAProxy names its columns, and the frontends that take nobody in."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(SECONDS)
        connection.connect(spec["socket"])
        connection.sendall(b"show info; show stat\n")
        with connection.makefile() as answer:
            info, _, table = answer.read().partition("\n# ")
    version = next((line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("Version:")), "")
    wanted = ("pxname", "svname", "status", "check_status", "last_chk", "scur")
    told = list(csv.DictReader(table.splitlines()))
    rows = [row for row in told if row["svname"] not in ("FRONTEND", "BACKEND")]
    held = [row["pxname"] for row in told if row["svname"] == "FRONTEND" and row["slim"] == "0"]
    return {"version": version, "servers": [{key: row[key] for key in wanted} for row in rows], "held": held}


def pgbouncer(spec: dict[str, Any]) -> dict[str, Any]:
    """Of each process by name what its console says; and by role a digest of the verifier that clients are let in by."""
    told = {name: console(spec["user"], of) for name, of in spec["processes"].items()}
    lines = (line.split('"') for line in Path(spec["users"]).read_text().splitlines())
    users = {line[1]: hashlib.sha256(line[3].encode()).hexdigest()[:16] for line in lines if len(line) > 3}
    return {"processes": told, "users": users}


def console(user: str, spec: dict[str, Any]) -> dict[str, Any]:
    """What one process of PgBouncer says, which lets its own user into its console by the socket; or why it does not."""
    psql = ("psql", "-Xqw", "--csv", "-h", spec["socket"], "-p", str(spec["port"]), "-U", "pgbouncer", "pgbouncer")
    shown = ("version", "lists", "pools", "state", "databases")
    asked = [word for one in shown for word in ("-c", f"show {one}", "-c", "\\echo")]
    try:
        version, lists, pools, state, databases, *_ = run("runuser", "-u", user, "--", *psql, *asked).split("\n\n")
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return {"problem": f"no answer within {SECONDS + 1:g} s" if isinstance(error, subprocess.TimeoutExpired) else str(error)}
    wanted = ("database", "user", "cl_active", "cl_waiting", "sv_active", "sv_idle", "sv_used", "maxwait", "maxwait_us")
    rows = [row for row in csv.DictReader(pools.splitlines()) if row["database"] != "pgbouncer"]
    counted = {row["list"]: int(row["items"]) for row in csv.DictReader(lists.splitlines())}
    paused = {row["key"]: row["value"] for row in csv.DictReader(state.splitlines())}["paused"] == "yes"
    paused = paused or any(row["paused"] == "1" for row in csv.DictReader(databases.splitlines()))
    said = {"version": version.splitlines()[-1].split()[-1], "clients": counted["used_clients"], "paused": paused}
    return {**said, "pools": [{key: row[key] for key in wanted} for row in rows]}


def pgbackrest(spec: dict[str, Any]) -> dict[str, Any]:
    """What it says of the cluster's backups, its version, and the units that make them."""
    until = time.monotonic() + spec["seconds"]
    asked = {
        name: subprocess.Popen(["sh", "-c", text], stdout=PIPE, stderr=PIPE, text=True, start_new_session=True)
        for name, text in spec["repositories"].items()
    }
    shown = {
        kind: _properties(unit, "ActiveState,ExecMainStartTimestamp,ExecMainExitTimestamp") for kind, unit in spec["runs"].items()
    }
    timers = {unit: _properties(unit, "ActiveState")["ActiveState"] for unit in spec["timers"]}
    told = {"version": run("sh", "-c", spec["version"]).strip(), "runs": shown, "timers": timers}
    found = {name: answer(process, until) for name, process in asked.items()}
    return {**told, "repositories": found, "archive": archive(spec, found), "drills": drills(Path(spec["drills"]))}


def archive(spec: dict[str, Any], told: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """Which files of the write-ahead log are there since the newest backup, and the history of the newest timeline; None where
    there is no backup, or no directory of the archive here."""
    info = told.get(spec["here"], {}).get("is")
    stanza = info[-1] if info else {}
    ids = [one["id"] for one in stanza.get("archive", ()) if re.fullmatch(r"[0-9]+-[0-9]+", one["id"])]
    place = Path(spec["archive"], ids[-1]) if ids and stanza.get("backup") else None
    if place is None or not place.is_dir():
        return None
    numbers = [one.name[:8] for one in place.glob("*.history") if re.fullmatch(r"[0-9A-F]{8}\.history", one.name)]
    newest = max(numbers, default="00000001")
    text = run("sh", "-c", f"{spec['get']}{ids[-1]}/{newest}.history") if numbers else ""
    return {"files": archived.since(place, stanza["backup"][-1]["archive"]["stop"]), "history": [int(newest, 16), text]}


def answer(process: subprocess.Popen[str], until: float) -> dict[str, Any]:
    """What pgBackRest says of a repository. All are asked at once, since one may be away; each is waited for as long as a store
    elsewhere may take to answer."""
    try:
        out, err = process.communicate(timeout=max(0.1, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return {"problem": "no answer"}
    return {"is": json.loads(out)} if process.returncode == 0 else {"problem": first_line(err or out)}


def first_line(text: str) -> str:
    """What pgBackRest complains of."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("WARN")]
    return lines[0] if lines else "pgBackRest says nothing"


def drills(directory: Path) -> list[dict[str, Any]]:
    """What came of the last drills of backups (agents/drill.py), the newest last: of each what is judged."""
    files = sorted(directory.glob("*.json"))[-MOST_DRILLS:] if directory.is_dir() else []
    wanted = ("backup", "host", "passed", "ended", "failures", "rto")
    return [
        {**{key: said[key] for key in wanted}, "compared": bool(said["compared"]), "repository": said.get("repository", "")}
        for said in map(note, files)
    ]


def _properties(unit: str, names: str) -> dict[str, str]:
    shown = run("systemctl", "show", "--timestamp=unix", f"--property={names}", unit)
    return dict(line.split("=", 1) for line in shown.splitlines())


def units(spec: dict[str, Any]) -> dict[str, str]:
    """Unit name to its active state, or to `not-found` or `masked`."""
    shown = run("systemctl", "show", "--property=Id,LoadState,ActiveState", *spec["names"])
    states = {}
    for block in shown.strip().split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines())
        states[unit["Id"]] = unit["ActiveState"] if unit["LoadState"] == "loaded" else unit["LoadState"]
    return states


def packages(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Of the packages by name, those that are installed: their versions, and whether apt is to leave them at that."""
    form = "${db:Status-Status} ${Package} ${Version} ${db:Status-Want}\\n"
    asked = ["dpkg-query", "--show", f"--showformat={form}", *spec["names"]]
    listed = subprocess.run(asked, capture_output=True, text=True, timeout=SECONDS + 1, check=False).stdout
    rows = [line.split() for line in listed.splitlines()]
    return {row[1]: {"version": row[2], "held": row[3] == "hold"} for row in rows if row[0] == "installed"}


def certificates(spec: dict[str, Any]) -> dict[str, str]:
    """Path to PEM text of every certificate there is."""
    found = [path for directory in spec["directories"] for path in Path(directory).glob("*")]
    return {str(path): public_part(path.read_text()) for path in found if path.suffix in (".crt", ".pem")}


def public_part(pem: str) -> str:
    """The first certificate of a PEM file that may hold a private key too."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return begin + pem.split(begin, 1)[1].split(end, 1)[0] + end if begin in pem else ""


def marker(spec: dict[str, Any]) -> Any:
    """Which cluster this host belongs to; None for a host that was never deployed to."""
    path = Path(spec["path"])
    return json.loads(path.read_text()) if path.exists() else None


def edited(spec: dict[str, Any]) -> list[str]:
    """The files that are not (any more) as the deploy wrote them."""
    listed = [line.split("  ", 1) for line in Path(spec["path"]).read_text().splitlines()]
    return [path for digest, path in listed if _digest(Path(path)) != digest]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


def disks(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Of each disk that one of the directories is on: the first of those, how many bytes there are, and how many are free."""
    found: dict[int, dict[str, Any]] = {}
    for path in filter(os.path.exists, spec["paths"]):
        about = os.statvfs(path)
        free = about.f_bavail * about.f_frsize
        used = (about.f_blocks - about.f_bfree) * about.f_frsize
        found.setdefault(Path(path).stat().st_dev, {"path": path, "size": used + free, "free": free})
    return list(found.values())


def salvage(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Where a rewind has left what it threw away, and the note about it (agents/salvage.py)."""
    files = sorted(Path(spec["path"]).glob("*/salvage.json"))
    return [{"path": str(file.parent), **note(file)} for file in files[-MOST_SALVAGES:]]


def note(path: Path) -> Any:
    """What stands in a file of JSON that a service's user wrote. It could have put anything there: of a plain file so much is
    read as a note may have, and nothing else."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, encoding="utf-8") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} is no plain file")
        return json.loads(file.read(MOST_OF_A_NOTE))


def failed_starts(spec: dict[str, Any]) -> list[str]:
    """Which of the directories are there that Patroni moves away when a first start fails."""
    return [path for path in spec["paths"] if Path(path).exists()]


def old_data(spec: dict[str, Any]) -> list[str]:
    """The directories with the data of before a restore that somebody may still want."""
    found = [one for place in map(Path, spec["paths"]) for one in place.parent.glob(f"{place.name}.before-*")]
    return sorted(str(one) for one in found if one.is_dir())


def watchdog(spec: dict[str, Any]) -> dict[str, Any] | None:
    """Whose the device is, and whether the unit's main process has it open; None where there is none."""
    if not Path(spec["device"]).exists():
        return None
    process = Path("/proc", run("systemctl", "show", "--property=MainPID", "--value", spec["unit"]).strip(), "fd")
    opened = [os.path.realpath(entry) for entry in process.iterdir()] if process.exists() else []
    return {"owner": Path(spec["device"]).owner(), "used": os.path.realpath(spec["device"]) in opened}


def firewall(spec: dict[str, Any]) -> bool:
    """Whether the kernel has the packet filter as it was loaded: the sum of its table is the one noted then."""
    try:
        table = run("nft", "--stateless", "--terse", "list", "table", "inet", spec["table"])
        return Path(spec["note"]).read_text().split()[0] == hashlib.sha256(table.encode()).hexdigest()
    except (OSError, IndexError):  # there is no such table, or no note
        return False


def locks(spec: dict[str, Any]) -> Any:
    """Who held most of PostgreSQL's locks when that could last be asked (agents/lock_table.py); None before that. Processes are
    left out that are none of PostgreSQL's by now: what is told may be ended."""
    try:
        said = note(Path(spec["path"]))
    except FileNotFoundError:
        return None
    return {**said, "holders": [one for one in said["holders"] if one["pid"] is None or of_postgres(int(one["pid"]))]}


def of_postgres(pid: int) -> bool:
    """Whether a process is one of PostgreSQL's."""
    try:
        process = Path(f"/proc/{pid}")
        return process.owner() == "postgres" and (process / "cmdline").read_bytes().startswith(b"postgres: ")
    except (OSError, KeyError):
        return False


def hold(spec: dict[str, Any]) -> str | None:
    """The line of whoever lets clients wait here (agents/sent/hold.py), or None."""
    path = Path(spec["path"])
    return path.read_text() if path.exists() else None


def operator(spec: dict[str, Any]) -> str | None:
    """The line of whoever is changing the cluster now, or None."""
    try:
        about = Path(spec["path"]).stat()
    except FileNotFoundError:
        return None
    # Asked of the kernel, because trying to take the lock could get in the way of somebody who wants it.
    inode = f":{about.st_ino} "
    locked = any(" FLOCK " in line and inode in line for line in Path("/proc/locks").read_text().splitlines())
    return Path(spec["path"]).read_text() if locked else None


def run(*command: str, given: str = "") -> str:
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=SECONDS + 1, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise OSError(said[0] if said else f"{command[0]} exited with {done.returncode}")
    return done.stdout


OF_SERVICES = (etcd, patroni, postgres, haproxy, pgbouncer, pgbackrest, units, packages, watchdog, firewall)
OF_FILES = (certificates, disks, marker, edited, salvage, failed_starts, old_data, locks, operator, hold)
PARTS: dict[str, Any] = {f.__name__: f for f in (*OF_SERVICES, *OF_FILES)}


def collect(argument: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The document: for each part asked for, what its function returned or why it failed."""

    told: dict[str, Any] = {}

    def ask(part: str) -> None:
        try:
            told[part] = {"is": PARTS[part](argument[part])}
        except subprocess.TimeoutExpired as error:  # its own words are the whole command
            told[part] = {"problem": f"no answer within {error.timeout:g} s"}
        except Exception as error:  # whatever it is, the other parts must still be told
            told[part] = {"problem": getattr(error, "strerror", None) or str(error) or type(error).__name__}

    # Not concurrent.futures: to import that would be a third of all that this takes.
    threads = {part: threading.Thread(target=ask, args=(part,), daemon=True) for part in argument}
    until = time.monotonic() + MOST_SECONDS
    for thread in threads.values():
        thread.start()
    for part, thread in threads.items():
        thread.join(max(0.0, until - time.monotonic()))
        told.setdefault(part, {"problem": f"no answer within {MOST_SECONDS:g} s"})
    return {**told, "time": time.time()}


if __name__ == "__main__":
    print(json.dumps(collect(json.loads(sys.argv[1]))), flush=True)
    os._exit(0)  # a thread that still waits for an answer must not hold up the others' results
