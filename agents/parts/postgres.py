"""What PostgreSQL says on a host, and what is told of its locks."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from agents.parts.asking import SECONDS, note, run

# PostgreSQL shows many words in its own way (`iso, dmy` as `ISO, DMY`, `on` as `pglz`), and this session has its own search_path.
# So of a word that it took from a file, once it has read that, the running value is what the file says. While a file is newer, as
# after a failover, it is in PostgreSQL's way (cluster/parameters.py compares both).
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
  'at_log_end', (SELECT coalesce(bool_or(pg_last_wal_receive_lsn() IS NOT NULL
      OR wait_event IN ('RecoveryWalStream', 'RecoveryRetrieveRetryInterval')), false)
      FROM pg_stat_activity WHERE backend_type = 'startup'),
  'log_begins', (SELECT min((('x' || substr(name, 9, 8))::bit(32)::bigint << 32) + ('x' || substr(name, 17, 8))::bit(32)::bigint
      * pg_size_bytes(current_setting('wal_segment_size'))) FROM pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'),
  'replay_age', extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float,
  'replay_paused', CASE WHEN recovering THEN pg_is_wal_replay_paused() ELSE false END,
  'receiver', (SELECT status FROM pg_stat_wal_receiver),
  'pending_restart', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM pg_settings WHERE pending_restart),
  'synchronous_standby_names', current_setting('synchronous_standby_names'),
  'synchronous_commit', current_setting('synchronous_commit'),
  'base_standbys', (SELECT setting FROM pg_file_settings WHERE lower(name) = 'synchronous_standby_names'
      AND sourcefile LIKE '%/postgresql.base.conf' ORDER BY seqno DESC LIMIT 1),
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
      WHERE sourcefile LIKE '%/postgresql.auto.conf'),
  'refused', (SELECT coalesce(json_agg(json_build_object('name', f.name, 'value', f.setting, 'file', f.sourcefile,
      'error', f.error) ORDER BY f.seqno), '[]') FROM pg_file_settings f LEFT JOIN pg_settings s ON s.name = f.name
      WHERE f.error IS NOT NULL AND f.sourcefile IS NOT NULL AND coalesce(s.context, '') <> 'postmaster'),
  'read_at_start', (SELECT coalesce(json_agg(json_build_object('name', name, 'value', setting,
      'path', CASE WHEN setting LIKE '/%' THEN setting ELSE current_setting('data_directory') || '/' || setting END,
      'file', coalesce(sourcefile, 'its configuration'))), '[]') FROM pg_settings
      WHERE name IN ('ssl_dh_params_file', 'ssl_crl_file', 'ssl_crl_dir') AND setting <> ''),
  'overrides', (SELECT coalesce(json_agg(json_build_object('role', r.rolname, 'database', d.datname, 'setting', setting)), '[]')
      FROM pg_db_role_setting o CROSS JOIN unnest(o.setconfig) AS setting
      LEFT JOIN pg_roles r ON r.oid = o.setrole LEFT JOIN pg_database d ON d.oid = o.setdatabase
      WHERE setting LIKE 'synchronous_commit=%'),
  'subscriptions', (SELECT coalesce(json_agg(json_build_object('name', subname, 'database', datname,
      'synchronous_commit', subsynccommit) ORDER BY subname), '[]')
      FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE subenabled),
  'own_roles', :own_roles,
  'missing_roles', (SELECT coalesce(json_agg(wanted ORDER BY wanted), '[]') FROM unnest(string_to_array(:'roles', ',')) AS wanted
      WHERE wanted NOT IN (SELECT rolname::text FROM pg_roles)),
  'missing_databases', (SELECT coalesce(json_agg(wanted ORDER BY wanted), '[]')
      FROM unnest(string_to_array(:'databases', ',')) AS wanted WHERE wanted NOT IN (SELECT datname::text FROM pg_database)),
  'unguarded', (SELECT coalesce(json_agg(datname ORDER BY datname), '[]') FROM pg_database
      WHERE datallowconn AND datconnlimit <> -2 AND NOT dathasloginevt),
  'oldest_transaction', (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(xact_start)), 0)::float
      FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()),
  'oldest_ids', (SELECT json_build_object('database', datname, 'transactions', age(datfrozenxid),
      'multixacts', mxid_age(datminmxid), 'reclaimed_at', greatest(current_setting('autovacuum_freeze_max_age')::int,
          current_setting('autovacuum_multixact_freeze_max_age')::int)) FROM pg_database WHERE datconnlimit <> -2
      ORDER BY greatest(age(datfrozenxid), mxid_age(datminmxid)) DESC, datname LIMIT 1),
  'horizon', (SELECT json_build_object('what', what, 'age', age) FROM (
      SELECT format('process %s (%s)', pid, concat_ws(', ', backend_type, usename, datname, nullif(application_name, '')))
          AS what, greatest(age(backend_xid), age(backend_xmin)) AS age FROM pg_stat_activity
          WHERE pid <> pg_backend_pid() AND pid NOT IN (SELECT pid FROM pg_stat_progress_vacuum)
      UNION ALL SELECT format('prepared transaction %s', gid), age(transaction) FROM pg_prepared_xacts
      UNION ALL SELECT format('replication slot %s', slot_name), greatest(age(xmin), age(catalog_xmin)) FROM pg_replication_slots
          WHERE invalidation_reason IS NULL
      ) held WHERE age IS NOT NULL ORDER BY age DESC LIMIT 1),
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


def postgres(spec: dict[str, Any]) -> Any:
    options = f"PGOPTIONS=-c statement_timeout={int(SECONDS * 1000)} -c search_path=pg_catalog"
    names = f"names={','.join(spec['parameters'])}"
    lists = [f"{what}={','.join(spec[what])}" for what in ("pooled", "roles", "databases")]
    own = f"own_roles={spec['own_roles']}"  # SQL, the same that a deploy asks (cluster/own_roles.py)
    given = [word for one in (names, *lists, own) for word in ("-v", one)]
    psql = (spec["psql"], "-XAtq", *given, "-h", spec["sockets"], "-p", str(spec["port"]), "postgres")
    said = json.loads(run("runuser", "-u", "postgres", "--", "env", options, "PGAPPNAME=pgquorum", *psql, given=SQL))
    if said["refused"]:
        wal = Path(spec["wal"])
        program = ("runuser", "-u", "postgres", "--", str(Path(spec["psql"]).with_name("postgres")))
        said["refused"] = with_reasons(said["refused"], (*program, "-D", str(wal.parent), "-C", "data_directory"))
    said["refused"] += unreadable(said.pop("read_at_start"))
    about = os.statvfs(spec["wal"])
    said["archiver"]["room"] = about.f_bavail * about.f_frsize
    return said


def with_reasons(refused: list[dict[str, Any]], program: tuple[str, ...]) -> list[dict[str, Any]]:
    """What PostgreSQL refuses, each with its reason: pg_file_settings says of most no more than that they `could not be applied`.
    The server's own `program`, which is asked for some value, reads the same files, says why, and ends."""
    try:
        done = subprocess.run(
            program, env={**os.environ, "LC_ALL": "C"}, cwd="/", capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return refused
    lines = re.findall(r"\b(?:LOG|ERROR|FATAL):\s+(.*)", done.stderr)
    return [{**one, "error": next((line for line in lines if f'"{one["name"]}"' in line), one["error"])} for one in refused]


def unreadable(files: list[dict[str, str]]) -> list[dict[str, str]]:
    """Those of them, as settings that PostgreSQL does not take, that its user can't read: a server that starts ends with one,
    and one that reloads goes on with what it had, and tells nobody but its log."""
    found = []
    for one in files:
        path = one.pop("path")
        if subprocess.run(["runuser", "-u", "postgres", "--", "test", "-r", path], check=False).returncode:
            found.append({**one, "error": f"there is no {path} that PostgreSQL's user could read"})
    return found


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
