"""The roles and databases that should exist, compared with what does, as SQL. Passwords go as SCRAM verifiers only."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

from . import own_roles, paths, pooled_roles, weaker_commits
from .own_roles import RESERVED
from .scram import verifier
from .settings import Role
from .topology import Cluster
from .vault import Vault

# The databases that are there for the system: whoever may not log in to another one has no business in them, and can't keep
# others from being made (template1). Who needs them: pg_rewind, the copies of logical slots, and what monitors.
SYSTEMS = ("postgres", "template1")
OF_SYSTEM = f'"{paths.REPLICATION_ROLE}", "{paths.REWIND_ROLE}", pg_monitor'
# What pg_rewind calls on the primary.
REWIND_FUNCTIONS = (
    "pg_catalog.pg_ls_dir(text,boolean,boolean)",
    "pg_catalog.pg_stat_file(text,boolean)",
    "pg_catalog.pg_read_binary_file(text)",
    "pg_catalog.pg_read_binary_file(text,bigint,bigint,boolean)",
)
# What the primary is asked. A verifier is compared by its hash, so that it never shows in an output.
QUERY = f"""
select json_build_object(
  'pooler', {pooled_roles.LIVE},
  'own_roles', {own_roles.LIVE},
  'roles', (select json_object_agg(rolname, json_build_object(
      'login', rolcanlogin, 'limit', rolconnlimit, 'replication', rolreplication,
      'password', encode(sha256(convert_to(coalesce(rolpassword, ''), 'UTF8')), 'hex'),
      'member_of', (select coalesce(json_agg(g.rolname), '[]') from pg_auth_members m join pg_roles g on g.oid = m.roleid
                    where m.member = a.oid))) from pg_authid a),
  'rewind', (select coalesce(json_agg(f), '[]') from pg_roles r, unnest(array[
      'pg_catalog.pg_ls_dir(text,boolean,boolean)', 'pg_catalog.pg_stat_file(text,boolean)',
      'pg_catalog.pg_read_binary_file(text)', 'pg_catalog.pg_read_binary_file(text,bigint,bigint,boolean)']) f
    where r.rolname = 'rewinder' and has_function_privilege(r.oid, f, 'execute')),
  'open', (select coalesce(json_agg(datname order by datname), '[]') from pg_database
    where datname in ('postgres', 'template1') and has_database_privilege('public', oid, 'connect')),
  'overrides', (select coalesce(json_agg(json_build_object('role', rolname, 'database', datname,
      'value', substr(setting, length('synchronous_commit=') + 1)) order by datname, rolname), '[]')
    from pg_db_role_setting o cross join unnest(o.setconfig) as setting
    left join pg_roles r on r.oid = o.setrole left join pg_database d on d.oid = o.setdatabase
    where setting like 'synchronous_commit=%'),
  'altered', (select setting from pg_file_settings where name = 'synchronous_commit'
    and sourcefile like '%/postgresql.auto.conf' order by seqno desc limit 1),
  'connectable', (select json_agg(datname) from pg_database where datallowconn and datconnlimit <> -2),
  'with_login_trigger', (select coalesce(json_agg(datname order by datname), '[]') from pg_database
    where datallowconn and datconnlimit <> -2 and dathasloginevt),
  'shut_out', (select coalesce(json_agg(rolname order by rolname), '[]') from pg_roles
    where rolname in ('replicator', 'rewinder', 'pg_monitor') and not has_database_privilege(oid, 'postgres', 'connect')),
  'logical', current_setting('wal_level') = 'logical',
  'slots', (select coalesce(json_agg(slot_name), '[]') from pg_replication_slots),
  'databases', (select json_object_agg(datname, pg_get_userbyid(datdba)) from pg_database))
"""  # noqa: S608

# What any server is asked of logical slots: the names are the settings', or another slot has taken one.
SLOTS_QUERY = """
select json_agg(json_build_object('name', slot_name, 'database', database, 'plugin', plugin)) from pg_replication_slots
"""
PROBE_TABLE = """\
create table if not exists probe (writer int not null, seq bigint not null, at timestamptz not null default clock_timestamp(),
  run uuid not null, primary key (run, writer, seq));
"""
# What the tool's own database is asked: whose its table is. Nobody's where it is not there.
PROBE_OWNER = (
    "select 'owner ' || coalesce(max(pg_get_userbyid(relowner)), '') from pg_class where oid = to_regclass('public.probe')"
)
_MAKE_PROBE = f"\\connect {paths.PROBE_DATABASE}\nset role {paths.PROBE_ROLE};\n{PROBE_TABLE}reset role;\n\\connect postgres"
# An owner's right to make tables in public comes from the membership in pg_database_owner. In a session that took a reserved
# connection it is missing: PostgreSQL has asked what the role is a member of before it knew the database (InitPostgres, and
# roles_is_member_of, which keeps the answer; seen with 18.6).
PROBE_SCHEMA = f'\\connect {paths.PROBE_DATABASE}\ngrant all on schema public to "{paths.PROBE_ROLE}";\n\\connect postgres'


@dataclass(frozen=True)
class WantedRole:
    name: str
    verifier: str = field(repr=False)
    connection_limit: int
    member_of: tuple[str, ...]
    replication: bool = False


def wanted_roles(cluster: Cluster, vault: Vault) -> list[WantedRole]:
    """The system's roles, which Patroni makes as it begins a cluster, the tool's probe, and the user's."""

    def role(name: str, secret: str, limit: int = -1, member_of: tuple[str, ...] = (), replication: bool = False) -> WantedRole:
        return WantedRole(name, verifier(vault.password(secret), f"{vault.scram_seed}:{name}"), limit, member_of, replication)

    def limit(given: Role) -> int:
        return cluster.share_of_sessions if given.connection_limit is None else given.connection_limit

    return [
        role(paths.REPLICATION_ROLE, "replication", replication=True),
        role(paths.REWIND_ROLE, "rewind", member_of=RESERVED),
        role(paths.PROBE_ROLE, "probe", member_of=RESERVED),
        *(role(r.name, f"role_{r.name}", limit(r), r.member_of, r.replication) for r in cluster.postgres.roles),
    ]


def wanted_databases(cluster: Cluster) -> dict[str, str]:
    """Owner by database name."""
    return {paths.PROBE_DATABASE: paths.PROBE_ROLE} | {d.name: d.owner for d in cluster.postgres.databases}


def statements(
    cluster: Cluster, vault: Vault, live: dict[str, Any], guarded: Collection[str] = (), probe: str | None = None
) -> list[str]:
    """The SQL that brings `live` (the answer to QUERY) to what is wanted; empty when nothing is to do. Drops nothing.

    `guarded` are the databases that refuse sessions with a weaker synchronous_commit; `probe` is whose the tool's own table is,
    nobody's where it is gone, None where that was not asked."""
    return [
        *_role_statements(wanted_roles(cluster, vault), live["roles"]),
        *own_roles.statements(cluster, own_roles.read(live["own_roles"])),
        *_grant_statements(set(live["rewind"])),
        *_weaker_commit_statements(cluster, live, guarded),
        *_database_statements(cluster, live["databases"]),
        *_probe_statements(live["databases"], probe),
        *_closing_statements(live["open"]),
        *(f'grant connect on database postgres to "{role}";' for role in live["shut_out"]),
        *_schema_statements(live),
        *_slot_statements(cluster, live),
        *pooled_roles.statements(cluster, live, RESERVED),
    ]


def password_statements(cluster: Cluster, vault: Vault, live: dict[str, Any]) -> list[str]:
    """The SQL that gives the roles by which hosts log in to the primary their passwords, where these are others; empty when none
    is. Makes no role."""
    between = [role for role in wanted_roles(cluster, vault) if role.name in (paths.REPLICATION_ROLE, paths.REWIND_ROLE)]
    return [*_role_statements([role for role in between if role.name in live["roles"]], live["roles"])]


def _weaker_commit_statements(cluster: Cluster, live: dict[str, Any], guarded: Collection[str]) -> Iterator[str]:
    """After the verifiers, which another session's log might show, and before a database is made, which then is as template1."""
    if cluster.weaker_commits == "mend":
        yield from weaker_commits.mending(live)
    yield from weaker_commits.refusing(live["connectable"], guarded, wanted=cluster.weaker_commits == "refuse")


def _grant_statements(granted: set[str]) -> Iterator[str]:
    missing = (name for name in REWIND_FUNCTIONS if name not in granted)
    yield from (f'grant execute on function {name} to "{paths.REWIND_ROLE}";' for name in missing)


def _closing_statements(open_to_all: list[str]) -> Iterator[str]:
    for name in (name for name in SYSTEMS if name in open_to_all):
        if name == "postgres":
            yield f"grant connect on database {name} to {OF_SYSTEM};"
        yield f"revoke connect on database {name} from public;"


def _role_statements(wanted: list[WantedRole], live: dict[str, Any]) -> Iterator[str]:
    for role in wanted:
        have = live.get(role.name)
        replication = " replication" if role.replication else " noreplication" if have and have["replication"] else ""
        attributes = f"login{replication} connection limit {role.connection_limit} password '{role.verifier}'"
        digest = hashlib.sha256(role.verifier.encode()).hexdigest()
        if have is None:
            yield f'create role "{role.name}" {attributes};'
        elif tuple(have[what] for what in ("login", "limit", "replication", "password")) != (
            True, role.connection_limit, role.replication, digest,
        ):  # fmt: skip
            yield f'alter role "{role.name}" {attributes};'
    for role in wanted:
        member_of = set(live.get(role.name, {}).get("member_of", ()))
        yield from (f'grant "{group}" to "{role.name}";' for group in role.member_of if group not in member_of)


def remarks(cluster: Cluster, live: dict[str, Any]) -> Iterator[str]:
    """Memberships of the settings' roles that no `member_of` says, though one could: what was taken out of it, or given by hand,
    which nobody can tell apart. So nothing is revoked."""
    names = {role.name for role in cluster.postgres.roles}
    for role in cluster.postgres.roles:
        for group in live["roles"].get(role.name, {}).get("member_of", ()):
            if group not in role.member_of and (group in names or group.startswith("pg_")):
                yield (
                    f"role {role.name} is a member of {group}, which its member_of in postgres_roles does not say:"
                    f' say so there, or `revoke "{group}" from "{role.name}"` on the primary'
                )


def _schema_statements(live: dict[str, Any]) -> Iterator[str]:
    """With the right to a reserved connection comes the one that it would take away."""
    member_of = live["roles"].get(paths.PROBE_ROLE, {}).get("member_of", ())
    if paths.PROBE_DATABASE not in live["databases"] or not set(RESERVED) <= set(member_of):
        yield PROBE_SCHEMA


def _probe_statements(live: dict[str, str], owner: str | None) -> Iterator[str]:
    """The table that a client's test writes into, where it was lost beside its database, or given to somebody."""
    if paths.PROBE_DATABASE in live and owner == "":
        yield _MAKE_PROBE
    elif paths.PROBE_DATABASE in live and owner not in (None, paths.PROBE_ROLE):
        change = f'alter table public.probe owner to "{paths.PROBE_ROLE}";'
        yield f"\\connect {paths.PROBE_DATABASE}\n{change}\n\\connect postgres"


def _slot_statements(cluster: Cluster, live: dict[str, Any]) -> Iterator[str]:
    """Only a server that has been restarted with its wal_level can make any."""
    for slot in cluster.postgres.slots if live["logical"] else ():
        if slot.name not in live["slots"]:
            make = f"select pg_catalog.pg_create_logical_replication_slot('{slot.name}', '{slot.plugin}', false, false, true)"
            yield f"\\connect {slot.database}\n{make} \\g /dev/null\n\\connect postgres"


def slot_problems(cluster: Cluster, found: list[dict[str, Any]]) -> Iterator[str]:
    """Slots of the settings that are there as other ones; `found` is a server's answer to SLOTS_QUERY."""
    for slot in cluster.postgres.slots:
        for one in found:
            if one["name"] == slot.name and (one["database"], one["plugin"]) != (slot.database, slot.plugin):
                kind = f"of database {one['database']!r} with plugin {one['plugin']!r}" if one["plugin"] else "a physical one"
                yield (
                    f"postgres_slots: {slot.name!r} is there already, {kind}, and should be of {slot.database!r} with"
                    f" {slot.plugin!r}: choose another name, or drop that one first"
                    f" (select pg_drop_replication_slot('{slot.name}'))"
                )


def _database_statements(cluster: Cluster, live: dict[str, str]) -> Iterator[str]:
    for name, owner in wanted_databases(cluster).items():
        if name not in live:
            yield f'create database "{name}" owner "{owner}";'
            if name == paths.PROBE_DATABASE:
                yield f"revoke connect on database {name} from public;"
                yield _MAKE_PROBE
        elif live[name] != owner:
            yield f'alter database "{name}" owner to "{owner}";'
