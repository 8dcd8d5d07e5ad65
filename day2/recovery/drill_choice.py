"""What a drill is made of: which backup, on which host, and which replica it is compared with. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cluster.drill import no_room
from cluster.errors import ClusterError, did_you_mean
from cluster.timelines import timelines
from cluster.topology import Cluster, Host
from cluster.weaker_commits import PARAMETER
from health.backup_states import Backup, BackupState
from health.rules.service import confirming
from health.rules.weaker_commits import whose
from health.states import PostgresState
from health.view import ClusterView

# Whose word the primary waits for last: a failover takes it last, too.
SPARED_FIRST = ("async", "potential", "quorum", "sync")


@dataclass(frozen=True)
class Choice:
    """`replica`: who is compared with, or, where that is None, `uncompared`: why nobody is. `data`: how many bytes of it there
    are at most while the log is replayed, by that backup and those after it."""

    keeper: Host
    where: Host
    backup: Backup
    data: int
    replica: Host | None
    uncompared: str = ""


def choose(
    view: ClusterView, cluster: Cluster, keeper: Host, backup: str | None, host: str | None, repository: str | None = None
) -> Choice:
    """The drill of `backup` (a label; without one the newest that leads to what the cluster has now, of a `repository` where one
    is named) on `host` (a name; without one the keeper's).

    Raises ClusterError for what can't be."""
    state = view.hosts[keeper.name].backups
    if state is None:
        problems = view.hosts[keeper.name].problems
        raise ClusterError(f"{keeper.name}: {problems.get('host') or problems.get('pgbackrest', 'nothing is deployed there')}")
    if not state.backups:
        raise ClusterError("there is no backup to prove: `invoke backup`")
    there = state.backups if repository is None else state.of(cluster.repository(repository, "--repository").name)
    if not there:
        raise ClusterError(f"--repository {repository}: there is no backup in it (`invoke backup.list`)")
    by_label = {one.label: one for one in there}
    if backup is not None and backup not in by_label:
        labels = ", ".join(by_label)
        raise ClusterError(f"--set {backup}: there is no such backup{did_you_mean(backup, by_label)}: should be one of {labels}")
    where = keeper if host is None else _named(view, cluster, keeper, host)
    leading = [one for one in there if not _left(view, state, one)]
    if backup is None and not leading:
        made = any(run.running for run in state.runs)
        will = "the one that is being made does" if made else "the next one does: `invoke backup`"
        raise ClusterError(f"nothing to prove yet: {_left(view, state, there[-1])}; {will}")
    chosen = leading[-1] if backup is None else by_label[backup]
    left = _left(view, state, chosen)
    replica, why = (None, f"{left}, and is recovered as far as that one leads") if left else _replica(view, cluster, where)
    later = [one for one in state.of(chosen.repository) if one.ended >= chosen.ended]
    return Choice(keeper, where, chosen, max(one.size for one in later), replica, why)


def _left(view: ClusterView, state: BackupState, backup: Backup) -> str:
    """Why a backup does not lead to what the cluster has now, so that no replica has what it becomes: it was made on a timeline
    that a restore to an earlier moment has left. Empty where it does, and where that can't be said."""
    repository = state.repository(backup.repository)
    if repository is None or repository.archived is None:
        return ""
    number, text = repository.history
    # A later history than what the primary writes is that of a restore that was called off, and tells nothing of the primary's.
    if view.primary is not None and view.primary.timeline < number:
        return ""
    now = timelines({number: (text, 0.0)} if number > 1 else {})[number]
    if now.has(backup.timeline, backup.lsn):
        return ""
    return f"{backup.label} is of timeline {backup.timeline}, which does not lead to what the cluster has now (timeline {number})"


def _named(view: ClusterView, cluster: Cluster, keeper: Host, name: str) -> Host:
    host = cluster.host(name, "--host")
    others = [one.name for one in cluster.postgres_hosts if one.name not in (view.leader, *view.writable)]
    right = f"should be {', '.join([keeper.name, *others])}"
    if host not in cluster.pgbackrest_hosts:
        raise ClusterError(f"--host {name}: has no PostgreSQL to run on a backup: {right}")
    if host != keeper and name not in others:
        raise ClusterError(f"--host {name}: is the primary, whose disk and processors are for applications: {right}")
    if not view.hosts[name].reachable:
        raise ClusterError(f"--host {name}: {view.hosts[name].problems['host']}")
    return host


def _replica(view: ClusterView, cluster: Cluster, where: Host) -> tuple[Host | None, str]:
    """Who can be compared with: streams, and would be missed least while its replay is paused. Else why nobody can."""
    if cluster.backup.drill_pause == 0:
        return None, "backup_drill_pause is 0"
    primary = view.primary
    if primary is None:
        return None, "no primary can be asked"
    able = {}
    for host in cluster.postgres_hosts:
        state, sender = view.hosts[host.name].postgres, view.sender(host.name)
        if state and sender and state.in_recovery and state.receiver == "streaming" and not state.replay_paused:
            able[host] = sender.sync_state
    if not able:
        return None, "no replica streams"

    def missed(host: Host) -> tuple[int, bool]:
        state = able[host]
        return SPARED_FIRST.index(state) if state in SPARED_FIRST else len(SPARED_FIRST), host == where

    # Among equals the last: pgBackRest has them in the same order, and copies a backup from the first replica that it finds. What
    # is wrong with that one's data alone is in the backup, too, and comparing the two would not show it.
    chosen = min(reversed(able), key=missed)
    if (who := _awaits_replay(primary)) and _waited_for(view, cluster, primary, chosen, able[chosen]):
        return None, f"{who} {PARAMETER} = remote_apply: its commits would wait until the replay of {chosen.name} goes on"
    return chosen, ""


def _awaits_replay(primary: PostgresState) -> str:
    """Whose commits wait until replicas have replayed them, and not only until they have them on disk; empty for nobody's. What a
    session sets for itself can't be seen."""
    if primary.synchronous_commit == "remote_apply":
        return "the primary has"
    for one in primary.overrides:
        if one.setting.partition("=")[2].lower() == "remote_apply":
            return f"{whose(one)} has"
    return ""


def _waited_for(view: ClusterView, cluster: Cluster, primary: PostgresState, chosen: Host, state: str) -> bool:
    """Whether a commit can't do without the replay of `chosen`: not as many others confirm writes as it waits for."""
    if state not in ("quorum", "sync"):
        return False
    found = re.match(r"(?:ANY |FIRST )?(\d+) *\(", primary.synchronous_standby_names)
    others = [name for name in confirming(view, cluster) if name != chosen.name]
    # By `FIRST` the ones that are named first are waited for, whoever else is there.
    return state == "sync" or len(others) < (int(found[1]) if found else 1)


def disk_of(said: str) -> tuple[int, int]:
    """How many bytes are free and how many there are, from `stat -f -c '%S %b %f %a'`: what a user may have, not root. Raises
    ClusterError."""
    if not re.fullmatch(r"\d+ \d+ \d+ \d+", said.strip()):
        raise ClusterError(f"how much room there is could not be seen: {said.strip()!r}")
    block, blocks, free, available = map(int, said.split())
    return available * block, (blocks - free + available) * block


def refuse_without_room(choice: Choice, directory: str, said: str) -> None:
    """Raises ClusterError where the copy finds no room; `said` as for disk_of."""
    free, disk = disk_of(said)
    if why := no_room(choice.data, free, disk):
        raise ClusterError(f"{choice.where.name}: {directory}: {why}: make room there, or name another host by --host")
