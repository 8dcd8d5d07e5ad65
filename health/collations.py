"""Whether all hosts sort text alike: what each is asked, and what comes of the answers. Pure.

A replica has the primary's indexes, byte by byte, but every host sorts by its own C library and ICU, which differ by release: an
index that is right on one host may miss rows on another. What a deploy makes sorts by PostgreSQL itself (its `builtin` provider);
a database or an index of somebody's own may not.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping

from cluster import paths
from cluster.topology import Cluster

from .finding import Finding, finding

SECONDS = 5  # for each question
NAMED = 3
LIBRARIES = {"c": "the C library", "i": "ICU"}
DATABASES = """
select datname from pg_database where datallowconn and datconnlimit <> -2 and datname !~ '[[:cntrl:]]'
order by datname limit 100
"""
# Of a database, and of each collation of its indexes: the version with which these were made, and the one of this host. What has
# no version, as C and what PostgreSQL sorts by itself, is the same everywhere.
COLLATIONS = """
select json_build_object(
  'database', current_database(), 'collation', name, 'provider', provider, 'recorded', recorded, 'here', here)
from (select null::name, datlocprovider, datcollversion, pg_database_collation_actual_version(oid)
        from pg_database where datname = current_database() and datlocprovider in ('c', 'i')
      union select collname, collprovider, collversion, pg_collation_actual_version(c.oid)
        from pg_index i cross join unnest(i.indcollation::oid[]) as used (oid) join pg_collation c on c.oid = used.oid
        where collprovider in ('c', 'i')) as sorted (name, provider, recorded, here)
where here is not null
"""


def script(cluster: Cluster) -> str:
    """A shell script for a host with PostgreSQL, as root: it prints a line of JSON for each collation of each database,
    and fails where one could not be asked."""
    psql = (
        f"timeout {SECONDS} runuser -u postgres -- {paths.postgres_binaries(cluster.postgres.version)}/psql"
        f" -XAtq -h {paths.POSTGRES_SOCKETS} -p {cluster.postgres.port}"
    )
    asked = [shlex.quote(" ".join(query.split())) for query in (DATABASES, COLLATIONS)]
    # The name of a database goes by its variable: behind -d libpq would take one with `=` in it for a connection string.
    return (
        "export PGOPTIONS='-c search_path=pg_catalog' PGAPPNAME=pgquorum\n"
        f"said=$(PGDATABASE=postgres {psql} -c {asked[0]}) || exit\n"
        f'echo "$said" | {{ failed=0; while IFS= read -r d; do PGDATABASE=$d {psql} -c {asked[1]} </dev/null || failed=1; done\n'
        "exit $failed; }\n"
    )


def collations(outputs: Mapping[str, str]) -> Iterator[Finding]:
    """What the script has printed, by host: a finding for each set of databases that differ in the same way."""
    seen: dict[tuple[str, str], dict[str, list[str]]] = {}  # by library and what sorts by it: its versions, with their hosts
    for host, output in outputs.items():
        for line in (line for line in output.splitlines() if line.startswith("{")):
            one = json.loads(line)
            what = one["database"] + (f" (collation {one['collation']})" if one["collation"] else "")
            versions = seen.setdefault((LIBRARIES[one["provider"]], what), {})
            versions.setdefault(one["here"], []).append(host)
            if one["recorded"]:
                versions.setdefault(one["recorded"], [])
    alike: dict[tuple[str, str], list[str]] = {}
    for (library, what), versions in seen.items():
        if len(versions) > 1:
            told = ", ".join(f"{version} {_where(hosts)}" for version, hosts in sorted(versions.items()))
            alike.setdefault((library, told), []).append(what)
    for (library, told), sorted_by_it in alike.items():
        more = f" and {len(sorted_by_it) - NAMED} more" if len(sorted_by_it) > NAMED else ""
        text = f"text in database {', '.join(sorted_by_it[:NAMED])}{more} is sorted by {library}, whose version differs: {told}"
        yield finding("collations.differ", "collations", f"{text} (docs/runbook.md, Hosts sort text differently)")


def _where(hosts: list[str]) -> str:
    return f"on {', '.join(hosts)}" if hosts else "when its indexes were made"
