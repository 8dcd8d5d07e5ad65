"""`invoke restore`: the cluster goes back, in place, to a moment in its archive."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from rich.markup import escape

from cluster.errors import ClusterError
from cluster.recovery import FORMS, Target, parse_as_of, parse_target, parse_timeline
from cluster.timelines import lsn
from cluster.topology import Cluster
from day2.commands.change.plans import show_plan
from day2.hosts.changing import changing
from day2.hosts.interrupts import Interrupts
from day2.hosts.ssh import Fleet
from day2.recovery.actions import RestoreActions
from day2.recovery.executor import carry_out
from day2.recovery.logs import Log, furthest, of_cluster
from day2.recovery.notes import NOTE, lost, notes
from day2.recovery.obstacles import Surveyed, objections, reachable, surveyed, unreadable
from day2.recovery.plan import (
    Restore,
    fetching,
    left,
    marks,
    may_lead,
    newest,
    numbered,
    overtaken,
    place,
    planned,
    read,
    replanned,
)  # fmt: skip
from day2.recovery.way_back import WayBack, leading, ways_back
from day2.ui.console import EXIT_OK, confirm, console
from health.view import ClusterView

from .keeper import keeper
from .outcome import GOES_ON, Outcome, carried_out, ended, verified
from .sought import Asked, look_for, refuse_too_late
from .telling import counted, say_anew, say_away, say_kept, say_lost, say_unfinished, say_unproven, say_what_is_left, tell, where


def restore(
    cluster: Cluster, *, to: str | None, label: str | None, timeline: str | None, discard: bool, dry: bool, yes: bool,
    repository: str | None = None, as_of: str | None = None, as_json: bool = False,
) -> int:  # fmt: skip
    """0 when the cluster is there, healthy, and a full backup is begun; 1 where a step has failed, with which the same command
    goes on, or `verify` finds a problem then; 130 where it was interrupted, as well.

    Raises ClusterError with what stands in the way, when nothing was touched.
    """
    keeper(cluster)
    if to is None:
        raise ClusterError(f"--to is missing: it {FORMS}")
    moment_of_it = parse_as_of(as_of, repository)
    if repository is not None:
        cluster.repository(repository, "--repository")
    asked = Asked(parse_target(to), label, parse_timeline(timeline), repository or "", moment_of_it)
    out = console(as_json=as_json)
    with changing(cluster, f"restore --to {to}", dry=dry) as (fleet, _, view):
        refuse(list(reachable(view, cluster)))
        interrupts = Interrupts(lambda text: out.print(GOES_ON))
        actions = RestoreActions(fleet, cluster, interrupts, partial(tell, out))
        noted = notes(fleet, cluster)
        unfinished = read(noted[NOTE]) if NOTE in noted else actions.noted_on_hosts()
        away = unreadable(view, cluster)
        logs: dict[str, Log] = {}
        anew = unfinished if unfinished and overtaken(unfinished, led=view.primary is not None) else None
        unfinished = None if anew else unfinished
        going = resumed(asked, unfinished, away)
        if going is None:
            going, logs = prepared(cluster, view, actions, asked, noted, unfinished, away, keep=not discard)
            # On hosts that are held for it already it goes by that name.
            going = replace(going, id=anew.id) if anew else going
        outcome = Outcome(
            cluster, going, left(going), resumed=unfinished is not None, away=reasons(going, away),
            proven=proven(view, cluster, going.label), ways=undone_by(view, cluster, going),
        )  # fmt: skip
        if anew:
            say_anew(out, anew)
        if unfinished:
            say_unfinished(out, unfinished, going)
        else:
            outcome.lost = lost_by(fleet, cluster, view, going, asked.target, noted)
            say_lost(out, cluster, view, going, asked.target, outcome.lost, logs)
        say_away(out, going, outcome.away)
        say_unproven(out, going, outcome.proven)
        say_kept(out, cluster, going)
        show_plan(out, outcome.planned)
        if dry:
            if as_json:
                outcome.print()
            return EXIT_OK
        confirm(out, yes=yes)
        with interrupts:
            done = carried_out(out, outcome, partial(carry_out, going, asked.target, actions))
        if outcome.arrival:
            out.print(escape(where(outcome.arrival)), soft_wrap=True)
    if done:
        verified(out, outcome)
        say_what_is_left(out, cluster, going, outcome.ways)
    return ended(outcome, as_json=as_json)


def reasons(going: Restore, away: Mapping[str, str]) -> dict[str, str]:
    """Why each repository can't be read that a restore goes on without."""
    return {name: away.get(name, "it could not be when this was begun") for name in going.away}


def proven(view: ClusterView, cluster: Cluster, label: str) -> bool | None:
    """Whether the last drill of the backup has passed; None where there was none, or that can't be seen."""
    states = [view.backups_of(host.name) for host in cluster.backup_hosts]
    return next((state.proven[label].passed for state in states if state and label in state.proven), None)


def undone_by(view: ClusterView, cluster: Cluster, going: Restore) -> list[WayBack]:
    """The backups by which this can be undone; none where another cluster runs, whose archive this is not."""
    state = next((view.hosts[host.name].backups for host in cluster.backup_hosts), None)
    return [*ways_back(cluster, going, state, datetime.now(UTC).timestamp())] if going.live else []


def lost_by(
    fleet: Fleet, cluster: Cluster, view: ClusterView, going: Restore, target: Target, noted: Mapping[str, str]
) -> dict[str, Any] | None:
    """What is written now and will not be there any more; None where nothing is, or that can't be seen."""
    primary = view.primary
    if primary is None or not going.live or target.kind == "latest":
        return None
    mark = marks(noted).get(target.text)
    at = lsn(mark.lsn) if mark else target.text if target.kind == "lsn" else None
    found = lost(fleet, cluster, view.writable[0], primary.timeline, target.time, at)
    return counted(found, target, primary.lsn or 0, at)


def refuse(against: list[str]) -> None:
    """Raises ClusterError where something stands in the way."""
    if against:
        raise ClusterError("\n".join(["no restore now, nothing was touched:", *(f"  - {one}" for one in against)]))


def resumed(asked: Asked, unfinished: Restore | None, away: Iterable[str]) -> Restore | None:
    """The restore that was not finished, where it is the same that is asked for, without the repositories that are away now."""
    if unfinished is None or unfinished.to != asked.target.text or asked.label not in (None, unfinished.label):
        return None
    if asked.repository not in ("", unfinished.repository) or asked.as_of not in ("", unfinished.as_of):
        return None
    if asked.timeline not in (None, unfinished.timeline):
        return None
    # Whoever names the timeline takes what there is of it.
    whole = unfinished.whole and asked.timeline is None
    return replace(unfinished, away=tuple(name for name in away if name != unfinished.repository), whole=whole)


def prepared(
    cluster: Cluster, view: ClusterView, actions: RestoreActions, asked: Asked, noted: Mapping[str, str],
    unfinished: Restore | None, away: Mapping[str, str], *, keep: bool,
) -> tuple[Restore, dict[str, Log]]:  # fmt: skip
    """The restore that is asked for, in place of one that was not finished, and the write-ahead log that hosts still have. Raises
    ClusterError where it can't be."""
    now, target = datetime.now(UTC), asked.target
    logs = on_hosts(cluster, view, actions, asked, unfinished)
    found = look_for(actions, asked, noted, away, logs=logs, newest=newest(unfinished))
    logs = of_cluster(logs, found.archive.system)
    known, base, along = found.archive.timelines, found.base, found.along
    led = place(view, cluster) if view.primary else furthest(logs) or place(view, cluster)
    # Where the old data is kept, its host matters only to who leads afterwards.
    host = fetching(cluster, place(view, cluster) if keep else led, keep=keep)
    ours = view.primary is not None and actions.identify(led)["system"] == found.archive.system
    live = ours and (unfinished is None or may_lead(unfinished))
    if live and view.primary and target.lsn is not None and target.lsn > (view.primary.lsn or 0):
        raise ClusterError(f"--to {target.text} is after the last of the write-ahead log, {lsn(view.primary.lsn or 0)}")
    # A restore that was called off may have left a newer one in the archive, and the host may not have told of its own.
    if live and view.primary and target.kind == "latest" and not (asked.as_of or asked.timeline):
        refuse_another(led, view.primary.timeline, along.number)
    # A marker is written on the timeline of whoever leads, and not into an archive that is read as it was before.
    marked = live and not asked.as_of and view.primary and view.primary.timeline == along.number
    if not marked and unfinished is None:
        refuse_too_late(actions, host, asked, found, numbered(cluster, base.repository), logs)
    promoted = view.dcs.configurations.promoted if view.dcs else None
    before = view.primary.timeline if live and view.primary else max(known)
    made = planned(
        cluster, found.told(target), base, along, known, promoted.timeline if promoted else 0, host,
        id=f"{now:%Y%m%dT%H%M%SZ}", began=now.isoformat(timespec="seconds"),
        before=before, live=live, keep=keep,
        as_of=asked.as_of, led="" if keep else led,
        whole=target.kind == "latest" and not asked.as_of and asked.timeline is None,
        away=(name for name in {**away, **found.archive.silent} if name != base.repository),
    )  # fmt: skip
    made = replace(made, ways=() if asked.as_of else leading(found.archive, before))
    if unfinished and not may_lead(unfinished):
        return replanned(unfinished, made), logs
    surveys: dict[str, Surveyed] = {name: surveyed(said) for name, said in actions.survey().items()}
    refuse(list(objections(view, cluster, surveys, base, host, keep=made.keep)))
    return made, logs


def refuse_another(host: str, written: int, along: int) -> None:
    """Raises ClusterError where the newest timeline that is known of is not the one that is written."""
    if written != along:
        raise ClusterError(
            f"--to latest: {host} writes timeline {written}, and the newest that the archive and that host tell of is {along}:"
            " --timeline should say which of them is meant"
        )


def on_hosts(
    cluster: Cluster, view: ClusterView, actions: RestoreActions, asked: Asked, unfinished: Restore | None
) -> dict[str, Log]:
    """The write-ahead log that is still on hosts, and is archived before: whoever leads may have begun a timeline that no archive
    has yet, and where nobody leads any host may have what others lack. An archive that is read as it was before gets none of it,
    and what a restore has left that was not finished is no log of the cluster's."""
    if asked.as_of or (unfinished and not may_lead(unfinished)):
        return {}
    if view.primary:
        return actions.logs(view.writable[:1], to_the_end=False)
    return actions.logs(host.name for host in cluster.postgres_hosts)
