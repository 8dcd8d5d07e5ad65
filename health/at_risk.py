"""How much of what the primary has acknowledged a failover would lose, while something has a weaker synchronous_commit. Pure.

Counted in the primary's write-ahead log, from where so many replicas have it on disk as the durability asks for. Whose a
transaction is does not stand there: one that still waits for a replica is counted, too, so the number is a bound. What the
primary itself does not have on disk yet can't be read there: of that only the size is told.
"""

from __future__ import annotations

import shlex

from cluster import paths
from cluster.slots import slot_name
from cluster.topology import Cluster

from .finding import Finding, finding, ok

# Seconds that counting may take; of a log that is longer only its size is told.
SECONDS = 5
# What timeout(1) exits with when they are over.
TOO_LONG = 124
# How far each replica is: by its connection, or, while it is away, by its slot. With ANY 2 (...) the second best counts. The
# names are those of the first and the last file of the log between: without, pg_waldump opens any one to learn how large they
# are, and gives up if that one is only reserved.
PLACE = """
with replicas as (
  select greatest(slot.restart_lsn, receives.flush_lsn) as place
  from pg_replication_slots slot left join pg_stat_replication receives on receives.pid = slot.active_pid
  where slot_type = 'physical' and slot_name in ({slots}))
select place, pg_current_wal_flush_lsn(), pg_walfile_name(place), pg_walfile_name(pg_current_wal_flush_lsn() - 1),
  pg_current_wal_insert_lsn() - place, pg_current_wal_insert_lsn() - pg_current_wal_flush_lsn()
from replicas where place is not null order by place desc
offset coalesce(substring(current_setting('synchronous_standby_names') from '([0-9]+) *[(]')::int, 1) - 1 limit 1
"""


def script(cluster: Cluster) -> str:
    """A shell script for the primary's host, as root. It prints how many bytes are at risk, how many of them are not on its own
    disk, and how many transactions in the others; in place of the last, where they are too many to count, nothing, where the log
    can't be read, pg_waldump's reason; nothing at all where no replica's place is known."""
    slots = ", ".join(f"'{slot_name(host.name)}'" for host in cluster.postgres_hosts)
    binaries, log = paths.postgres_binaries(cluster.postgres.version), f"{cluster.postgres.data_directory}/pg_wal"
    query = shlex.quote(" ".join(PLACE.format(slots=slots).split()))
    psql = f"{binaries}/psql -XAtq -F ' ' -h {paths.POSTGRES_SOCKETS} -p {cluster.postgres.port} postgres -c {query}"
    dump = f"timeout {SECONDS} {binaries}/pg_waldump --rmgr=Transaction --path={shlex.quote(log)}"
    count = f"log=$(runuser -u postgres -- {dump} --start=$1 --end=$2 $3 $4 2>&1)"
    return (
        f"said=$(runuser -u postgres -- {psql}) || exit; set -- $said; [ $# = 6 ] || exit 0; echo $5; echo $6\n"
        '[ "$1" = "$2" ] && { echo 0; exit 0; }\n'
        f'{count}\ncase $? in\n0) echo "$log" | grep -c COMMIT || true;;\n{TOO_LONG}) ;;\n*) echo "$log" | tail -n 1;;\nesac\n'
    )


def at_risk(output: str) -> Finding:
    """What the script has printed."""
    lines = output.splitlines()
    numbers = [int(line) for line in lines if line.isdigit()]
    reason = next((line for line in lines if not line.isdigit()), "")
    if not numbers:
        text = "no replica is known to have anything of what is acknowledged: a failover would lose it"
        return finding("acknowledged.at-risk", "acknowledged", text)
    size, unwritten, commits = numbers[0], numbers[1], numbers[2] if len(numbers) > 2 else None
    if not size or (commits == 0 and not unwritten):
        return ok("acknowledged", "acknowledged", "replicas have all that the primary has acknowledged until now")
    many = f"transactions that could not be counted ({reason})" if reason else "more transactions than could be counted"
    many = many if commits is None else f"at most {commits} transactions"
    more = f", and those in {unwritten} bytes that are not on its own disk yet" if unwritten else ""
    text = f"a failover now would lose {many} that the primary may have acknowledged alone ({size} bytes{more})"
    return finding("acknowledged.at-risk", "acknowledged", text)


def unknown(problem: str) -> Finding:
    """It could not be asked."""
    text = f"how much a failover now would lose could not be counted: {problem}"
    return finding("acknowledged.at-risk", "acknowledged", text)
