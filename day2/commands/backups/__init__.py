"""Commands about backups, where the inventory has a host for them."""

from __future__ import annotations

from invoke.context import Context

from day2.commands.declare import JSON, command, on_cluster


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


COMMANDS = (_list, _check)
DEFAULT = _make  # `backup` alone
