"""Who acknowledges writes sooner than the durability promises, by a `synchronous_commit` of its own, and what is done about it.

PostgreSQL lets every role set that for itself, for its later sessions (ALTER ROLE) and for the one it is in (SET). The first can
be seen and taken back. A session that begins with such a value can be refused, by an event trigger on logins; what it sets later
can't.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

PARAMETER = "synchronous_commit"
# Every other value waits for less than a replica's disk.
KEEPING = ("on", "remote_apply", "true", "yes", "1")

TRIGGER = "pgquorum_refuse_weaker_commits"
SCHEMA = "pgquorum"
# Asked in a database: its name, if it has the trigger.
GUARDED = f"select current_database() from pg_catalog.pg_event_trigger where evtname = '{TRIGGER}' and evtenabled = 'A'"  # noqa: S608


def weaker(value: str) -> bool:
    """Whether a commit with this value of `synchronous_commit` is acknowledged before a replica has it on disk."""
    return value.lower() not in KEEPING


def quoted(name: str) -> str:
    """A name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def plain(database: str) -> bool:
    """Whether a database's name is one to psql's \\connect, too, and no connection string or further lines."""
    return database.isprintable() and "=" not in database and "://" not in database


def reset(role: str | None, database: str | None) -> str:
    """The statement that takes back what ALTER ROLE or ALTER DATABASE has set; None stands for all roles or databases."""
    if role is None and database is not None:
        return f"alter database {quoted(database)} reset {PARAMETER};"
    whose = "all" if role is None else quoted(role)
    there = "" if database is None else f" in database {quoted(database)}"
    return f"alter role {whose}{there} reset {PARAMETER};"


def mending(live: dict[str, Any]) -> Iterator[str]:
    """The SQL that takes back every such value, of `live` (cluster/databases.py)."""
    yield from (reset(one["role"], one["database"]) for one in live["overrides"] if weaker(one["value"]))
    if live["altered"] is not None and weaker(live["altered"]):
        yield f"alter system reset {PARAMETER};\nselect pg_catalog.pg_reload_conf() \\g /dev/null"


# The superuser's session is in a database whose owner decides where names are looked for, as whom it begins and whether it may
# write; and who could have made a schema of that name, and in it what a superuser would then run.
_BEGIN = """
begin read write;
set local role none;
set local search_path = pg_catalog, pg_temp;"""
_REFUSE = f"""{_BEGIN}
create schema if not exists {SCHEMA};
do $$ begin
  if exists (select from pg_catalog.pg_namespace where nspname = '{SCHEMA}' and nspowner <> 10) then
    raise exception 'the schema {SCHEMA} in database % is not the superuser''s: rename it, and deploy again', current_database();
  end if;
end $$;
create or replace function {SCHEMA}.refuse_weaker_commits() returns event_trigger language plpgsql
  set search_path = pg_catalog, pg_temp as $$ begin
  if current_setting('{PARAMETER}') not in ('on', 'remote_apply') and current_setting('is_superuser') = 'off'
      and not pg_is_in_recovery() then
    raise exception 'sessions with {PARAMETER} = % are refused: a failover could lose what they write',
        current_setting('{PARAMETER}') using errcode = 'insufficient_privilege',
      hint = 'Leave it on. This session only: PGOPTIONS=''-c {PARAMETER}=on''. For all: alter role ... reset {PARAMETER}.';
  end if;
end $$;
drop event trigger if exists {TRIGGER};
create event trigger {TRIGGER} on login execute function {SCHEMA}.refuse_weaker_commits();
alter event trigger {TRIGGER} enable always;
commit;"""
_REFUSE_NO_MORE = f"""{_BEGIN}
drop event trigger if exists {TRIGGER};
drop function if exists {SCHEMA}.refuse_weaker_commits();
do $$ begin
  drop schema {SCHEMA};
exception when dependent_objects_still_exist or invalid_schema_name then null;  -- somebody has put something there, or taken it
end $$;
commit;"""


def refusing(databases: Collection[str], guarded: Collection[str], *, wanted: bool) -> Iterator[str]:
    """The SQL by which those of `databases` refuse sessions that begin with such a value (`wanted`), or do so no more.
    `guarded` are the ones that do. One with a name that psql would not take for a name is left alone."""
    for name in sorted(filter(plain, databases)):
        if wanted != (name in guarded):
            title = f"-- database {quoted(name)} refuses sessions with a weaker {PARAMETER}{'' if wanted else ' no more'}"
            yield f"{title}\n\\connect {quoted(name)}{_REFUSE if wanted else _REFUSE_NO_MORE}\n\\connect postgres"
