"""Commands to begin with."""

from __future__ import annotations

from invoke.context import Context

from day2.commands.declare import command, on_cluster

HOSTS = "HOST=ADDRESS; once for each, or several with commas"


@command(
    iterable=["database", "proxy", "etcd", "clients", "operators"],
    help={
        "name": "the cluster's name, and its directory's",
        "database": f"a host for PostgreSQL and etcd, as {HOSTS}",
        "proxy": "a host for HAProxy, in the same way; its name alone if it is a database host",
        "etcd": "a host for etcd, where those are not the database hosts",
        "clients": "a network from which clients connect, like 10.0.0.0/24; in the same way",
        "operators": "a network that may dial SSH on the hosts, in the same way; `any`, the default, leaves it open to all",
        "user": "user for SSH: root, or one with sudo that asks no password",
    },
)
def _init(
    c: Context,
    name: str,
    database: list[str] | None = None,
    proxy: list[str] | None = None,
    etcd: list[str] | None = None,
    clients: list[str] | None = None,
    operators: list[str] | None = None,
    user: str | None = None,
) -> None:
    """Make inventories/NAME/, the hosts and settings of your own cluster; asks for what the options don't say."""
    from day2.commands.begin.init import init
    from day2.ui.console import call

    users = None if user is None else [user]
    given = {"database": database, "proxy": proxy, "etcd": etcd, "clients": clients, "operators": operators, "user": users}
    call(lambda: init(name, **{option: words or [] for option, words in given.items()}))


@command()
def _next_steps(c: Context) -> None:
    """Say what to try on a cluster that stands."""
    from day2.commands.begin.next_steps import next_steps

    on_cluster(c, next_steps)


@command()
def _version(c: Context) -> None:
    """Print the version of this checkout; `invoke status` names hosts that another one has deployed."""
    from cluster.version import own
    from day2.ui.console import call

    call(lambda: print(own()))


COMMANDS = (_init, _next_steps, _version)
