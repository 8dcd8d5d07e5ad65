"""Commands that change nothing."""

from __future__ import annotations

from invoke.context import Context

from day2.commands.declare import JSON, command, on_cluster

WATCH = "refresh in place until Ctrl-C"


@command(help={"json": JSON})
def _preflight(c: Context, json: bool = False) -> None:
    """Are the hosts good for this cluster? Ports, clocks, disks, packages, others; exits 1 for a problem."""
    from day2.commands.look.preflight import preflight

    on_cluster(c, preflight, as_json=json)


@command(help={"watch": WATCH, "json": JSON})
def _status(c: Context, watch: bool = False, json: bool = False) -> None:
    """The whole cluster on one screen, with a verdict; exits 1 with the reasons when it is not healthy."""
    from day2.commands.look.status import status

    on_cluster(c, status, watch=watch, as_json=json)


@command(
    help={
        "json": JSON,
        "strict": "let warnings count, too",
        "from": "make the client's write and read from this PostgreSQL host, not from here",
    }
)
def _verify(c: Context, strict: bool = False, from_: str | None = None, json: bool = False) -> None:
    """Check every rule, write and read as a client, and say who could take over this minute; exits 1 for a problem."""
    from day2.commands.look.verify import verify

    on_cluster(c, verify, strict=strict, through=from_, as_json=json)


@command(
    help={
        "watch": WATCH,
        "max-bytes": "exit 1 when a replica's replay is further behind, like 64MB",
        "max-seconds": "exit 1 when it is older, like 5s",
        "json": JSON,
    },
)
def _wal_lag(
    c: Context, watch: bool = False, max_bytes: str | None = None, max_seconds: str | None = None, json: bool = False
) -> None:
    """How far each replica is behind: WAL received and replayed, and what its slot holds back."""
    from day2.commands.look.wal_lag import wal_lag

    on_cluster(c, wal_lag, watch=watch, max_bytes=max_bytes, max_seconds=max_seconds, as_json=json)


@command(help={"json": JSON})
def _list(c: Context, json: bool = False) -> None:
    """The programs' packages on each host: installed, running, and whether apt leaves them at their version."""
    from day2.commands.look.packages import packages

    on_cluster(c, packages, as_json=json)


@command(help={"json": JSON})
def _config(c: Context, json: bool = False) -> None:
    """Where the settings, etcd and PostgreSQL differ, and what needs a restart; exits 1 when anything does."""
    from day2.commands.look.config import config

    on_cluster(c, config, as_json=json)


@command(
    help={
        "host": "one host only",
        "component": "etcd, postgres, patroni, haproxy, pgbouncer, keepalived or pgbackrest only",
        "errors": "only what is a warning or worse",
        "since": "how far back: '10 min ago' (default), '12:30', '2031-05-17 08:00'",
        "lines": "how many at most, the last ones (0: all)",
        "follow": "go on until Ctrl-C",
    }
)
def _logs(
    c: Context,
    host: str = "",
    component: str = "",
    errors: bool = False,
    since: str = "10 min ago",
    lines: int = 200,
    follow: bool = False,
) -> None:
    """The journals of all components, and of what watches over them, on all hosts, merged by time."""
    from day2.commands.look.logs import logs

    on_cluster(c, logs, host=host, component=component, errors=errors, since=since, lines=lines, follow=follow)


COMMANDS = (_preflight, _status, _verify, _wal_lag, _config, _logs)
PACKAGES_COMMANDS = (_list,)
