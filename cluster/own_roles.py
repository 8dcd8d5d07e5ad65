"""The tool's own roles: what each may do, in what a server has them otherwise, and the SQL that puts that right. Pure.

They log in from the cluster's hosts and do one thing each. Any other right that one of them was given by hand, or that somebody
else got by becoming a member of one, is a way in that nobody looks after; one that is missing shows at the next failover.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import paths
from .topology import Cluster
from .weaker_commits import quoted

NAMES = (paths.REPLICATION_ROLE, paths.REWIND_ROLE, paths.PROBE_ROLE, paths.POOLER_ROLE)
# The right to connect when only `reserved_connections` are left.
RESERVED = ("pg_use_reserved_connections",)
# What a server says of those that it has (OwnRole). Of a membership, and of who is a member: with whom it has that from.
LIVE = f"""
(select coalesce(json_object_agg(rolname, json_build_object(
    'may', array_remove(array[
      case when rolcanlogin then 'login' end, case when rolreplication then 'replication' end,
      case when rolsuper then 'superuser' end, case when rolcreaterole then 'createrole' end,
      case when rolcreatedb then 'createdb' end, case when rolbypassrls then 'bypassrls' end,
      case when rolpassword is not null then 'password' end], null),
    'connection_limit', rolconnlimit,
    'expires', coalesce(rolvaliduntil, 'infinity') <> 'infinity',
    'member_of', (select coalesce(json_agg(json_build_array(r.rolname, g.rolname) order by r.rolname, g.rolname), '[]')
      from pg_auth_members m join pg_roles r on r.oid = m.roleid join pg_roles g on g.oid = m.grantor where m.member = a.oid),
    'members', (select coalesce(json_agg(json_build_array(r.rolname, g.rolname) order by r.rolname, g.rolname), '[]')
      from pg_auth_members m join pg_roles r on r.oid = m.member join pg_roles g on g.oid = m.grantor where m.roleid = a.oid),
    'settings', (select coalesce(json_agg(json_build_array(datname, setting) order by datname, setting), '[]')
      from pg_db_role_setting o cross join unnest(o.setconfig) as setting
      left join pg_database d on d.oid = o.setdatabase where o.setrole = a.oid))), '{{}}')
  from pg_authid a where rolname in ({", ".join(f"'{name}'" for name in NAMES)}))"""  # noqa: S608 - all names are ours
LOOSE = frozenset({"superuser", "createrole", "createdb", "bypassrls"})


@dataclass(frozen=True)
class OwnRole:
    """What a server says of one. `may`: its attributes, and whether it has a password; `member_of` and `members`: of which roles
    it is a member, and which are members of it, each with who granted that; `settings`: what ALTER ROLE has set for it, each as
    `name=value`, with the database, None for all."""

    may: tuple[str, ...]
    connection_limit: int = -1
    expires: bool = False
    member_of: tuple[tuple[str, str], ...] = ()
    members: tuple[tuple[str, str], ...] = ()
    settings: tuple[tuple[str | None, str], ...] = ()


def read(said: Mapping[str, Any]) -> dict[str, OwnRole]:
    """The answer to LIVE."""
    return {name: OwnRole(**{key: _frozen(value) for key, value in role.items()}) for name, role in said.items()}


def _frozen(value: Any) -> Any:
    return tuple(_frozen(one) for one in value) if isinstance(value, list) else value


def wanted(cluster: Cluster) -> dict[str, OwnRole]:
    """How each has to be that this cluster needs; by whom it is a member does not matter."""
    reserved = tuple((group, "") for group in RESERVED)
    found = {
        paths.REPLICATION_ROLE: OwnRole(("login", "replication", "password")),
        paths.REWIND_ROLE: OwnRole(("login", "password"), member_of=reserved),
        paths.PROBE_ROLE: OwnRole(("login", "password"), member_of=reserved),
    }
    pooler = {paths.POOLER_ROLE: OwnRole(("login",), member_of=reserved)}  # with a certificate, and no password
    return found | (pooler if cluster.pooler_hosts else {})


def differences(cluster: Cluster, live: Mapping[str, OwnRole]) -> dict[str, list[str]]:
    """In what a server has them otherwise, in words, by the role's name."""
    found = {
        name: list(_unlike(live[name], role)) if name in live else ["is not there"] for name, role in wanted(cluster).items()
    }
    return {name: words for name, words in found.items() if words}


def _unlike(have: OwnRole, role: OwnRole) -> Iterator[str]:
    yield from (f"has {what}" for what in have.may if what not in role.may)
    yield from (f"lacks {what}" for what in role.may if what not in have.may)
    if have.connection_limit != role.connection_limit:
        yield f"has connection limit {have.connection_limit}"
    if have.expires:
        yield "expires"
    groups, due = _names(have.member_of), _names(role.member_of)
    yield from (f"is a member of {group}" for group in groups if group not in due)
    yield from (f"is no member of {group}" for group in due if group not in groups)
    yield from (f"has {member} as a member" for member in _names(have.members))
    yield from (f"has {setting}{f' in database {database}' if database else ''}" for database, setting in have.settings)


def _names(pairs: tuple[tuple[str, str], ...]) -> list[str]:
    return list(dict.fromkeys(name for name, _ in pairs))


def statements(cluster: Cluster, live: Mapping[str, OwnRole]) -> Iterator[str]:
    """The SQL that takes from them what is not theirs. What they lack, other than their memberships, comes with their passwords
    (databases.py, pooled_roles.py), and so do their limit and who may replicate."""
    for name, role in wanted(cluster).items():
        if (have := live.get(name)) is None:
            continue
        if LOOSE & set(have.may) or have.expires:
            yield f"alter role \"{name}\" nosuperuser nocreaterole nocreatedb nobypassrls valid until 'infinity';"
        due = _names(role.member_of)
        yield from (_revoke(group, name, grantor) for group, grantor in have.member_of if group not in due)
        yield from (_revoke(name, member, grantor) for member, grantor in have.members)
        yield from (f"{_alter(name, database)} reset all;" for database in dict.fromkeys(one for one, _ in have.settings))


def _revoke(group: str, member: str, grantor: str) -> str:
    """Of several grantors each has to take back its own, and so do those who got it from there."""
    return f"revoke {quoted(group)} from {quoted(member)} granted by {quoted(grantor)} cascade;"


def _alter(name: str, database: str | None) -> str:
    return f'alter role "{name}"{f" in database {quoted(database)}" if database else ""}'
