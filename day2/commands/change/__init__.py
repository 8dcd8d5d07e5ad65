"""Commands that change a running cluster."""

from __future__ import annotations

from invoke.context import Context

from day2.commands.declare import BY_WAY, JSON, YES, command, on_cluster

DRY = "print the steps and do nothing"
# As in day2/procedures/hold.py, which is not imported to name the commands.
PATIENCE = 5
PATIENT = "how many seconds transactions in the pools have to end before the pause is given up, 1 to 15"
HOSTS = "only this host; may be given several times"


@command(
    help={
        "to": "the host that should lead; without it, the best candidate",
        "patience": PATIENT,
        "force": "override what stands in the way, and name it; nobody waits then, and open sessions are cut",
        "dry": DRY,
        "yes": YES,
        "writers": "how many connections write meanwhile, to measure",
        "from": BY_WAY,
        "json": JSON,
    },
)
def _switchover(
    c: Context,
    to: str | None = None,
    patience: int = PATIENCE,
    force: bool = False,
    dry: bool = False,
    yes: bool = False,
    writers: int = 4,
    from_: str | None = None,
    json: bool = False,
) -> None:
    """Hand the primary's role to a replica while clients wait, and measure the write gap and errors."""
    from day2.commands.change.switchover import switchover

    on_cluster(c, switchover, to=to, patience=patience, force=force, dry=dry, yes=yes, writers=writers, hop=from_, as_json=json)


@command(
    help={
        "accept-loss": "the host that should lead although it lacks acknowledged writes",
        "yes": YES,
    },
)
def _failover(c: Context, accept_loss: str | None = None, yes: bool = False) -> None:
    """Where nobody may lead: say whom to bring back, or accept the loss of what only they have."""
    from day2.commands.change.failover import failover

    on_cluster(c, failover, accept_loss=accept_loss, yes=yes)


@command(
    help={
        "component": "postgres (default), patroni, etcd, haproxy, pgbouncer, keepalived or pgbackrest",
        "pending-only": "only members with a setting that waits for a restart",
        "patience": PATIENT,
        "dry": DRY,
        "from": BY_WAY,
        "yes": YES,
        "json": JSON,
    },
)
def _rolling_restart(
    c: Context,
    component: str = "postgres",
    pending_only: bool = False,
    patience: int = PATIENCE,
    dry: bool = False,
    yes: bool = False,
    from_: str | None = None,
    json: bool = False,
) -> None:
    """Restart a component host by host, replicas first, while writes and reads are measured."""
    from day2.commands.change.rolling_restart import rolling_restart

    on_cluster(
        c, rolling_restart, component=component, pending_only=pending_only, patience=patience, dry=dry, yes=yes, hop=from_,
        as_json=json,
    )  # fmt: skip


@command(
    help={
        "component": "etcd, postgres, patroni, haproxy, pgbouncer, keepalived, pgbackrest: one, or several with commas;"
        " all without it",
        "back": "take back what the last upgrade has installed: after one that went wrong",
        "without-way-back": "go on even where the version that is replaced could not be had again",
        "patience": PATIENT,
        "dry": DRY,
        "from": BY_WAY,
        "yes": YES,
        "json": JSON,
    },
)
def _upgrade(
    c: Context,
    component: str = "",
    back: bool = False,
    without_way_back: bool = False,
    patience: int = PATIENCE,
    dry: bool = False,
    yes: bool = False,
    from_: str | None = None,
    json: bool = False,
) -> None:
    """Install new minor versions of the cluster's programs host by host, while writes and reads are measured."""
    from day2.commands.change.upgrade import upgrade

    on_cluster(
        c, upgrade, component=component, back=back, without_way_back=without_way_back, patience=patience, dry=dry, yes=yes,
        hop=from_, as_json=json,
    )  # fmt: skip


@command(
    help={
        "host": "this host, whether it needs it or not; may be given several times; without it, those that need it",
        "patience": PATIENT,
        "dry": DRY,
        "from": BY_WAY,
        "yes": YES,
        "json": JSON,
    },
    iterable=["host"],
)
def _reboot(
    c: Context,
    host: list[str],
    patience: int = PATIENCE,
    dry: bool = False,
    yes: bool = False,
    from_: str | None = None,
    json: bool = False,
) -> None:
    """Reboot the hosts that have a new kernel one at a time, replicas first, while writes and reads are measured."""
    from day2.commands.change.reboot import reboot

    on_cluster(c, reboot, hosts=host, patience=patience, dry=dry, yes=yes, hop=from_, as_json=json)


@command()
def _pause(c: Context) -> None:
    """Turn automatic failover off, for work that must not be taken for a failure."""
    from day2.commands.change.maintenance import pause

    on_cluster(c, pause, paused=True)


@command()
def _resume(c: Context) -> None:
    """Turn automatic failover on again."""
    from day2.commands.change.maintenance import pause

    on_cluster(c, pause, paused=False)


@command(
    help={
        "host": "the replica",
        "from-primary": "not from a backup, which may hold what is wrong with it",
        "force": "even if nobody could take over meanwhile",
        "dry": DRY,
        "yes": YES,
        "json": JSON,
    }
)
def _reinit(
    c: Context,
    host: str,
    from_primary: bool = False,
    force: bool = False,
    dry: bool = False,
    yes: bool = False,
    json: bool = False,
) -> None:
    """Make a replica anew: its data is deleted and copied from the newest backup, or from the primary."""
    from day2.commands.change.maintenance import reinit

    on_cluster(c, reinit, host=host, from_primary=from_primary, force=force, dry=dry, yes=yes, as_json=json)


@command(help={"host": "as the inventory, which must still have it, calls it", "dry": DRY, "yes": YES, "json": JSON})
def _remove(c: Context, host: str, dry: bool = False, yes: bool = False, json: bool = False) -> None:
    """Take a host out of the cluster for good: before it leaves the inventory, or when it is lost."""
    from day2.commands.change.host_remove import remove

    on_cluster(c, remove, host=host, dry=dry, yes=yes, as_json=json)


@command(help={"host": HOSTS}, iterable=["host"])
def _release(c: Context, host: list[str]) -> None:
    """Let apt upgrade the cluster's programs, on all hosts or on some: for a time when somebody watches."""
    from day2.commands.change.hold import hold

    on_cluster(c, hold, hosts=host, held=False)


@command(help={"host": HOSTS}, iterable=["host"])
def _hold(c: Context, host: list[str]) -> None:
    """Keep the cluster's programs at their version again, as a deploy does."""
    from day2.commands.change.hold import hold

    on_cluster(c, hold, hosts=host, held=True)


@command(help={"to": "the host that should lead; without it, one that is not the primary's", "dry": DRY, "json": JSON})
def _move_leader(c: Context, to: str | None = None, dry: bool = False, json: bool = False) -> None:
    """Make another member the leader of etcd: off the primary's host, losing that one costs less."""
    from day2.commands.change.maintenance import move_etcd_leader

    on_cluster(c, move_etcd_leader, to=to, dry=dry, as_json=json)


@command()
def _let_go(c: Context) -> None:
    """Let clients go on who are kept waiting: resume paused pools, and let new connections for writes in."""
    from day2.commands.change.traffic import resume

    on_cluster(c, resume)


COMMANDS = (_switchover, _failover, _rolling_restart, _upgrade, _reboot, _pause, _resume, _reinit)
ETCD_COMMANDS = (_move_leader,)
HOST_COMMANDS = (_remove,)
PACKAGES_COMMANDS = (_release, _hold)
TRAFFIC_COMMANDS = (_let_go,)
