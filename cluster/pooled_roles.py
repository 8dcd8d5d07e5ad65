"""Who comes through the pools, and by what PgBouncer knows them: verifiers, never passwords. Pure.

A role of the settings stands in a file with the verifier that the server has, so that it gets in while nobody leads, too. For any
other, PgBouncer asks a function of ours in database `postgres`, which answers to its own role alone. Neither lets in a superuser,
who may become one, who may replicate, and whose password has expired.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from typing import Any

from . import paths
from .topology import Cluster

FUNCTION = f"{paths.POOLER_SCHEMA}.verifier(text)"
# What PgBouncer asks for a name.
ASK = f"select role, verifier from {paths.POOLER_SCHEMA}.verifier($1)"  # noqa: S608 - all names are ours
# The roles of the system's, which no client comes in as.
NEVER = ("postgres", paths.REPLICATION_ROLE, paths.REWIND_ROLE, paths.POOLER_ROLE)
_NEVER = ", ".join(f"'{name}'" for name in NEVER)
# What the server says of PgBouncer's role as it is made: it has a certificate, and no password (databases.QUERY).
AS_MADE = {"login": True, "replication": False, "limit": -1, "password": (hashlib.sha256(b"").hexdigest())}
# A role that may not come in has a row without a verifier, which PgBouncer then has for it. Without a row it would go on with the
# one that it had before, and let in who may not any more.
SOURCE = f"""\
select a.rolname::text, case when a.rolcanlogin and not a.rolreplication
    and (a.rolvaliduntil is null or a.rolvaliduntil > clock_timestamp())
    and a.rolpassword like 'SCRAM-SHA-256$%' and a.rolname not in ({_NEVER})
    and not exists (select from pg_authid s where s.rolsuper and pg_has_role(a.oid, s.oid, 'MEMBER'))
  then a.rolpassword end
from pg_authid a where a.rolname::text = client"""  # noqa: S608
# What the server says of the function when it is as it should be (LIVE).
WANTED = {
    "source": SOURCE,
    "definer": True,
    "owner": "postgres",
    "path": ["search_path=pg_catalog, pg_temp"],
    "to": [True, False],
}
LIVE = f"""
(select json_build_object('source', p.prosrc, 'definer', p.prosecdef, 'owner', pg_get_userbyid(p.proowner),
    'path', p.proconfig, 'to', json_build_array(
        has_function_privilege(r.oid, p.oid, 'execute') and has_schema_privilege(r.oid, p.pronamespace, 'usage')
            and has_database_privilege(r.oid, 'postgres', 'connect'),
        has_function_privilege('public', p.oid, 'execute')))
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace left join pg_roles r on r.rolname = '{paths.POOLER_ROLE}'
  where n.nspname = '{paths.POOLER_SCHEMA}' and p.proname = 'verifier')"""  # noqa: S608


def in_file(cluster: Cluster) -> tuple[str, ...]:
    """The roles in PgBouncer's file: of the settings', those that may come in, and of the tool's own the one that tests the way.
    The function answers for all others."""
    return (paths.PROBE_ROLE, *(role.name for role in cluster.postgres.roles if not role.replication))


def digest(verifier: str) -> str:
    """By what verifiers are compared that must not be seen."""
    return hashlib.sha256(verifier.encode()).hexdigest()[:16]


def statements(cluster: Cluster, live: dict[str, Any], reserved: Collection[str]) -> Iterator[str]:
    """The SQL that makes PgBouncer's role, a member of `reserved`, and the function, or takes both away. `live` is the answer to
    databases.QUERY."""
    role, function = live["roles"].get(paths.POOLER_ROLE), live["pooler"]
    if not cluster.haproxy.pooling:
        if function is not None:
            yield f"drop schema {paths.POOLER_SCHEMA} cascade;"
        if role is not None:
            yield f'drop owned by "{paths.POOLER_ROLE}";'
            yield f'drop role "{paths.POOLER_ROLE}";'
        return
    if role is None:
        yield f'create role "{paths.POOLER_ROLE}" login;'
    elif {name: role[name] for name in AS_MADE} != AS_MADE:
        yield f'alter role "{paths.POOLER_ROLE}" login noreplication connection limit -1 password null;'
    member_of = role["member_of"] if role else ()
    yield from (f'grant "{name}" to "{paths.POOLER_ROLE}";' for name in reserved if name not in member_of)
    if function != WANTED:
        yield f"drop schema if exists {paths.POOLER_SCHEMA} cascade;"
        yield f"create schema {paths.POOLER_SCHEMA};"
        yield (
            f"create function {paths.POOLER_SCHEMA}.verifier(client text, out role text, out verifier text)\n"
            "returns setof record language sql stable strict security definer set search_path = pg_catalog, pg_temp\n"
            f"as $${SOURCE}$$;"
        )
        yield f"revoke all on function {FUNCTION} from public;"
        yield f'grant usage on schema {paths.POOLER_SCHEMA} to "{paths.POOLER_ROLE}";'
        yield f'grant execute on function {FUNCTION} to "{paths.POOLER_ROLE}";'
        yield f'grant connect on database postgres to "{paths.POOLER_ROLE}";'
