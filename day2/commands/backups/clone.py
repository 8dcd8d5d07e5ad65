"""`invoke backup.clone`: the cluster as it was at a moment, beside it, for a look at the past."""

from __future__ import annotations

from functools import partial

from rich.console import Console
from rich.markup import escape

from cluster.drill import needed
from cluster.errors import ClusterError
from cluster.recovery import FORMS, parse_target, parse_timeline
from cluster.timelines import lsn
from cluster.topology import Cluster
from day2.hosts.interrupts import Interrupts
from day2.hosts.observe import observe
from day2.hosts.ssh import Fleet
from day2.recovery.actions import RestoreActions
from day2.recovery.clone import Cloning, about_of
from day2.recovery.notes import notes
from day2.recovery.obstacles import unreadable
from day2.recovery.plan import numbered, place
from day2.ui.console import EXIT_OK, console, size
from health.view import ClusterView

from .keeper import keeper
from .sought import Asked, Sought, look_for, refuse_too_late
from .telling import tell


def clone(
    cluster: Cluster, *, to: str | None, remove: bool, label: str | None, timeline: str | None, repository: str | None
) -> int:
    """0 when a server answers on the clone, or with `remove` when nothing of it is left.

    Raises ClusterError where it can't be, or came to nothing: then nothing of it is left.
    """
    host, out = keeper(cluster), console()
    if remove:
        refuse_both(to=to, label=label, timeline=timeline, repository=repository)
        return removed(out, cluster)
    if to is None:
        raise ClusterError(f"--to is missing: it {FORMS}")
    if repository is not None:
        cluster.repository(repository, "--repository")
    asked = Asked(parse_target(to), label, parse_timeline(timeline), repository or "")
    interrupts = Interrupts(lambda text: out.print(f"interrupted: what there is of it on {host.name} is removed"))
    with Fleet(cluster.hosts) as fleet:
        view = observe(fleet, cluster)
        cloning = Cloning(fleet, cluster, host, partial(tell, out))
        cloning.refuse_second()
        actions = RestoreActions(fleet, cluster, interrupts, partial(tell, out))
        # Whoever leads may have begun a timeline that no archive has yet: that is waited for.
        logs = actions.logs(view.writable[:1], to_the_end=False) if view.primary else {}
        found = look_for(actions, asked, notes(fleet, cluster), unreadable(view, cluster), apart=True, logs=logs)
        data = found.data(asked.target)
        cloning.refuse_without_room(data)
        room = f"{size(needed(data))} are needed there"
        out.print(
            f"{found.base.label} (of {found.base.repository}) is restored on {host.name}, and recovered to {escape(to)}: {room}",
            soft_wrap=True,
        )
        with interrupts:
            reach(out, cluster, view, actions, asked, found)
            made(cloning, asked, found, interrupts)
    say_how(out, cluster, cloning)
    return EXIT_OK


def refuse_both(**named: str | None) -> None:
    """Raises ClusterError for options that say what to make, beside --remove."""
    given = [f"--{name if name != 'label' else 'set'} {value}" for name, value in named.items() if value is not None]
    if given:
        raise ClusterError(f"--remove and {given[0]}: should be one of them")


def removed(out: Console, cluster: Cluster) -> int:
    host = keeper(cluster)
    with Fleet([host]) as fleet:
        cloning = Cloning(fleet, cluster, host, partial(tell, out))
        about = cloning.there()
        if about is None:
            raise ClusterError(f"there is no clone on {host.name}")
        cloning.remove()
    out.print(f"the clone of the cluster as it was at {escape(str(about['to']))} is gone", soft_wrap=True)
    return EXIT_OK


def reach(out: Console, cluster: Cluster, view: ClusterView, actions: RestoreActions, asked: Asked, found: Sought) -> None:
    """Sees to it that the archive leads beyond the moment: by a transaction after it alone a recovery knows that it has come."""
    host, target = place(view, cluster), asked.target
    live = view.primary is not None and actions.identify(host)["system"] == found.archive.system
    if not (found.newest and live):
        refuse_too_late(actions, host, asked, found, numbered(cluster, found.base.repository), {})
    if live and view.primary and target.lsn is not None and target.lsn > (view.primary.lsn or 0):
        raise ClusterError(f"--to {target.text} is after the last of the write-ahead log, {lsn(view.primary.lsn or 0)}")
    if found.newest and live:
        out.print(f"waiting until what {host} has written is archived")
        actions.end_archive(host, numbered(cluster, found.base.repository))


def made(cloning: Cloning, asked: Asked, found: Sought, interrupts: Interrupts) -> None:
    """The clone is there, or nothing of it."""
    target, base = found.told(asked.target), found.base
    cloning.claim()  # what is there after that is its own to remove
    try:
        cloning.begin(about_of(target.text, target.kind, target.value, base.label, base.repository, found.along.number))
        cloning.await_ready(interrupts)
    except (ClusterError, KeyboardInterrupt):
        cloning.remove()
        raise


def say_how(out: Console, cluster: Cluster, cloning: Cloning) -> None:
    """How to look into it, and how to be rid of it."""
    about = cloning.about
    database = cluster.postgres.databases[0].name if cluster.postgres.databases else "postgres"
    last = f"; the last transaction that is there was committed at {about['newest']}" if about.get("newest") else ""
    out.print(
        f"[bold green]The cluster as it was at {escape(str(about['to']))} can be looked into[/]{escape(last)}:", soft_wrap=True
    )
    out.print(f"  {escape(cloning.psql(database))}", soft_wrap=True)
    out.print("It takes room, and stays until `invoke backup.clone --remove`.", soft_wrap=True)
