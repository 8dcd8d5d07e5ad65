"""Commands about backups, where the inventory has a host for them."""

from __future__ import annotations

from invoke.context import Context

from day2.commands.declare import JSON, YES, command, on_cluster


@command(help={"type": "full, diff (what changed since the last full one) or incr (since the last of any type)"})
def _make(c: Context, type: str = "incr") -> None:
    """Make a backup now, and wait until it is there; one that is being made comes first. Exits 1 when it fails."""
    from day2.commands.backups.make import make

    on_cluster(c, make, kind=type)


@command(help={"json": JSON})
def _list(c: Context, json: bool = False) -> None:
    """The backups there are: age, size, and the write-ahead log that each needs; exits 1 when there is none."""
    from day2.commands.backups.listing import listing

    on_cluster(c, listing, as_json=json)


@command()
def _check(c: Context) -> None:
    """Does write-ahead log get to the archive, this minute? Exits 1 with pgBackRest's words when it does not."""
    from day2.commands.backups.check import check

    on_cluster(c, check)


@command(help={"name": "letters, digits, _, . and -, a letter first", "remove": "take that name back, so that it is free again"})
def _mark(c: Context, name: str, remove: bool = False) -> None:
    """Give this moment a name, to which `restore` can go back."""
    from day2.commands.backups.mark import mark

    on_cluster(c, mark, name=name, remove=remove)


@command(
    help={
        "to": "a time with its zone, a position such as 0/5F6ADF0, the name of a mark, or latest: all there is",
        "set": "the backup to begin with, as backup.list calls it; without it, the newest that leads there",
        "repository": "the one to restore from; without it, whichever has the newest backup that leads there",
        "as-of": "read that repository as it was at this time, with its zone: a bucket that keeps old versions (docs/runbook.md)",
        "timeline": "the timeline on which that lies; without it, the one that was written then",
        "discard-old-data": "delete the old data at once, where there is no room for it beside the new",
        "cancel": "call off one that was not finished: the old data is put back",
        "dry": "print the steps and do nothing",
        "yes": YES,
        "json": JSON,
    },
)
def _restore(
    c: Context,
    to: str | None = None,
    set: str | None = None,
    repository: str | None = None,
    as_of: str | None = None,
    timeline: str | None = None,
    discard_old_data: bool = False,
    cancel: bool = False,
    dry: bool = False,
    yes: bool = False,
    json: bool = False,
) -> None:
    """The cluster itself goes back to a moment in its archive; an interrupted one goes on by the same command."""
    if cancel:
        from day2.commands.backups.cancel import call_off

        return on_cluster(c, call_off, to=to, dry=dry, yes=yes, as_json=json)
    from day2.commands.backups.restore import restore

    return on_cluster(
        c,
        restore,
        to=to,
        label=set,
        timeline=timeline,
        discard=discard_old_data,
        dry=dry,
        yes=yes,
        repository=repository,
        as_of=as_of,
        as_json=json,
    )


@command(
    help={
        "set": "the backup, by its label (backup.list has them); without it, the newest",
        "repository": "the one whose backup is proven; without it, whichever has the newest",
        "host": "where it is restored: a replica's host; without it, the host that keeps the backups",
        "report": "directory for the report: JSON, text and a page",
        "json": JSON,
    },
)
def _drill(
    c: Context,
    set: str | None = None,
    repository: str | None = None,
    host: str | None = None,
    report: str | None = None,
    json: bool = False,
) -> None:
    """Prove a backup: restored beside the cluster, compared with a replica row by row, checked. Exits 1 when it is not."""
    from day2.commands.backups.drill import drill

    on_cluster(c, drill, backup=set, host=host, report=report, as_json=json, repository=repository)


@command(
    help={
        "to": "a time with its zone, a position such as 0/5F6ADF0, the name of a mark, or latest: all there is",
        "remove": "delete the one that is there",
        "set": "the backup to begin with, as backup.list calls it; without it, the newest that leads there",
        "repository": "the one whose backup it is; without it, whichever has the newest that leads there",
        "timeline": "the timeline on which that lies; without it, the one that was written then",
    },
)
def _clone(
    c: Context,
    to: str | None = None,
    remove: bool = False,
    set: str | None = None,
    repository: str | None = None,
    timeline: str | None = None,
) -> None:
    """The cluster as it was at a moment, beside it on the host that keeps the backups: for a look at the past."""
    from day2.commands.backups.clone import clone

    on_cluster(c, clone, to=to, remove=remove, label=set, timeline=timeline, repository=repository)


COMMANDS = (_list, _check, _mark, _drill, _clone)
TOP = (_restore,)
DEFAULT = _make  # `backup` alone
