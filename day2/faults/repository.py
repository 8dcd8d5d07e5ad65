"""The host that keeps the backups is away, hangs, or has no room: write-ahead log can't be archived.

Nothing that is acknowledged may depend on it. When it is healed, all that was written meanwhile has to get to the archive,
without a hole; and so it has where the primary's host was lost before it could archive, and is not there yet.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from cluster import paths
from cluster.errors import ClusterError
from cluster.topology import Host
from day2.hosts.observe import observe
from day2.predictions import failover, primary_stays
from day2.predictions.prediction import Prediction
from health.rules import findings

from .base import BaseFault, all_of, lead_etcd_from, no_quorum_without, no_successor, spare_etcd_hosts
from .fault import FaultContext
from .network import FIND_OPERATOR, MEND, NetworkCut, no_nft, rules
from .power import PowerOff, await_successor, cut_power, give_power, no_power_switch
from .script import HostScript, heal, inject

# From when the repository is there again until all is archived: PostgreSQL tries again each minute, and then takes one file
# after the other. So long the host that was lost stays without power at most.
ARCHIVED_SECONDS = 150
LOOK_SECONDS = 2
# So many files of the write-ahead log are ended before the primary's host is lost.
FILES = 3

# Files of the log go into directories below that of the archive. A file system that has room for nothing lies over those for a
# while: what writes there is told by the kernel that no space is left. Nothing is written, moved or deleted on the disk.
FULL = "pgquorum-fault-full"
COVER = f"""set -- "$archive"/*/
if [ ! -d "$1" ]; then echo "there is no archive in $archive" >&2; exit 1; fi
for place; do
    if [ -L "${{place%/}}" ]; then echo "$place is a link" >&2; exit 1; fi
done
for place; do
    owner="uid=$(stat -c %u "$place"),gid=$(stat -c %g "$place")"
    mount -t tmpfs -o "size=4k,nr_inodes=1,mode=750,$owner" {FULL} "$place"
done
"""
UNCOVER = f"""covered() {{ awk '$1 == "{FULL}" {{ print $2 }}' /proc/mounts; }}
for place in $(covered); do umount "$place" 2>/dev/null || umount -l "$place"; done
if [ -n "$(covered)" ]; then echo "$(covered) can't be unmounted" >&2; exit 1; fi
"""


class _OfRepository(BaseFault):
    """A fault of the host that keeps the backups."""

    def __init__(self, context: FaultContext) -> None:
        super().__init__(context)
        self._archiving = Archiving(context)

    def targets(self) -> tuple[Host, ...]:
        return self.context.cluster.backup_hosts

    def blockers(self) -> list[str]:
        return no_archive(self.context) or [*super().blockers()]

    def prediction(self) -> Prediction:
        return primary_stays.repository_away()

    def aftermath(self) -> tuple[str, ...]:
        return self._archiving.missing()


class RepositoryOff(_OfRepository, PowerOff):
    name = "repository-off"
    summary = "the host that keeps the backups loses its power"

    def inject(self) -> None:
        super().inject()
        end_file(self.context)


class ArchiveHangs(_OfRepository, NetworkCut):
    name = "archive-hangs"
    summary = "the host that keeps the backups is cut off from the database hosts: nobody answers"
    targets_unreachable = False  # the operator reaches it

    def describe(self) -> str:
        return f"cuts {self.target_names} off from the database hosts, and later mends it"

    def cut_off_from(self) -> list[Host]:
        return self._others(self.context.cluster.postgres_hosts)

    def inject(self) -> None:
        super().inject()
        end_file(self.context)


class RepositoryFull(_OfRepository):
    name = "repository-full"
    summary = "there is no space left for the archive"

    def blockers(self) -> list[str]:
        found = super().blockers()
        if self.context.cluster.backup_hosts and not self.context.cluster.directory_repository:
            found.append("covers the archive in a directory, and no repository in backup_repositories is of type directory")
        return found

    def describe(self) -> str:
        return f"covers the archive on {self.target_names} with a file system that has no space left, and later takes that away"

    @property
    def host_script(self) -> HostScript:
        cluster = self.context.cluster
        return HostScript(COVER, UNCOVER, {"archive": f"{cluster.backup.directory}/archive/{cluster.name}"})

    def inject(self) -> None:
        inject(self.context.fleet, self.hosts, self.host_script)
        end_file(self.context)

    def heal(self) -> None:
        heal(self.context.fleet, self.hosts, self.host_script)


class HostLostForGood(BaseFault):
    """The primary's host and the one that keeps the backups, in this order.

    Healing: the repository is there again; whoever leads by then archives all there is; only then the lost host gets its power.
    """

    name = "host-lost-for-good"
    summary = "the archive hangs, the primary's host loses its power, and is not back before all is archived without it"

    def __init__(self, context: FaultContext) -> None:
        super().__init__(context)
        self._lost = False  # the primary's host, with what only it had to archive
        self._missing: tuple[str, ...] = ()

    def targets(self) -> tuple[Host, ...]:
        return (self.context.primary, *self.context.cluster.backup_hosts)

    def describe(self) -> str:
        keepers = " and ".join(host.name for host in self.hosts[1:])
        return (
            f"cuts {keepers} off from the database hosts, cuts the power of {self.host.name} ({self.host.settings.power_off}),"
            " mends the first and, once all is archived, gives back the power"
        )

    def blockers(self) -> list[str]:
        without = [*no_successor(self.context), *no_quorum_without(self.context, self.hosts[:1])]
        found = [*no_archive(self.context), *no_power_switch(self.host), *without]
        return [*found, *(text for host in self.hosts[1:] for text in no_nft(self.context, host))]

    def prepare(self) -> None:
        lead_etcd_from(self.context, spare_etcd_hosts(self.context))

    @property
    def host_script(self) -> HostScript:
        """Of the host that keeps the backups."""
        return HostScript(FIND_OPERATOR + rules([host.address for host in self.context.cluster.postgres_hosts]), MEND)

    def inject(self) -> None:
        inject(self.context.fleet, self.hosts[1:], self.host_script)
        names = []
        for _ in range(FILES):
            names.append(end_file(self.context))
            time.sleep(1)
        self._lost = True
        cut_power(self.hosts[:1])
        self.note = f"{names[0]} and what followed was on {self.host.name} to be archived when that was lost"

    def heal(self) -> None:
        """All of it is tried, whatever fails on the way. Raises ClusterError with all that failed."""
        all_of(
            lambda: heal(self.context.fleet, self.hosts[1:], self.host_script),
            self._await_archived,
            lambda: give_power(self.context, self.hosts[:1]),
        )

    def _await_archived(self) -> None:
        """Sees, before the lost host is back, whether all is archived that it had to archive."""
        if self._lost:
            self._lost = False
            await_successor(self.context, self.host)
            archiving, deadline = Archiving(self.context), time.monotonic() + ARCHIVED_SECONDS
            while (missing := archiving.missing()) and time.monotonic() < deadline:
                time.sleep(LOOK_SECONDS)
            self._missing = tuple(f"without {self.host.name}: {text}" for text in missing)

    def observers(self) -> Iterable[Host]:
        return [host for host in self.context.cluster.hosts if host != self.host]

    def prediction(self) -> Prediction:
        return failover.host_lost(
            self.context.timing, self.durability, etcd_leader_lost=False, guards=self.context.cluster.all.fast_failover
        )

    def aftermath(self) -> tuple[str, ...]:
        return self._missing


def no_archive(context: FaultContext) -> list[str]:
    """Why there is no archive that could be disturbed."""
    if not context.cluster.backup_hosts:
        return ["needs a host that keeps backups, and group 'backup' has none"]
    wrong = [
        str(found)
        for found in findings(context.view, context.cluster)
        if found.level == "problem" and (found.rule.startswith("archive.") or found.rule in ("backups.none", "backups.silent"))
    ]
    silent = [
        f"{host.name} does not answer" for host in context.cluster.backup_hosts if not context.view.hosts[host.name].reachable
    ]
    return [*silent, *(f"archiving is not well before: {text}" for text in wrong)]


def end_file(context: FaultContext) -> str:
    """Has whoever leads end the file of the write-ahead log that it writes: it is to be archived then. Returns its name. Raises
    ClusterError."""
    leader = observe(context.fleet, context.cluster).leader
    if leader is None:
        raise ClusterError("nobody leads, so no write-ahead log can be archived")
    postgres = context.cluster.postgres
    psql = f"{paths.postgres_binaries(postgres.version)}/psql -XAtq -v ON_ERROR_STOP=1 -h {paths.POSTGRES_SOCKETS}"
    query = "SELECT pg_walfile_name(pg_current_wal_lsn()); SELECT pg_switch_wal();"
    answer = context.fleet.run(leader, f"runuser -u postgres -- {psql} -p {postgres.port} postgres", stdin=query)
    if not answer.ok:
        raise ClusterError(f"{leader}: {answer.problem}")
    return answer.output.split()[0]


class Archiving:
    """What is written up to the first look, on its way to the archive."""

    def __init__(self, context: FaultContext) -> None:
        self._context, self._name = context, ""

    def missing(self) -> tuple[str, ...]:
        """What of it is not there now, as sentences; empty when all is."""
        try:
            self._name = self._name or end_file(self._context)
        except ClusterError as error:
            return (str(error),)
        cluster = self._context.cluster
        view = observe(self._context.fleet, cluster)
        told = [found for found in findings(view, cluster) if found.rule.startswith("archive.")]
        states = [view.hosts[host.name].backups for host in cluster.backup_hosts]
        places = [one for state in states if state for one in state.repositories]
        lacking = [one for one in places if one.archived is None or not one.archived.has(self._name)]
        if all(states) and not lacking:
            return tuple(found.text for found in told if found.rule == "archive.hole")
        unseen = [f"{one.name} could not be seen" for one in lacking if one.archived is None and not one.problem]
        why = [*unseen, *(found.text for found in told if found.level == "problem")] or ["no reason seen"]
        where = f" of {' and '.join(one.name for one in lacking)}" if lacking and len(cluster.repositories) > 1 else ""
        return (f"{self._name} is not in the archive{where}: {'; '.join(why)}",)
