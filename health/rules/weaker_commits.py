"""The rule that no role, database, host or subscription acknowledges writes sooner than the durability promises."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.parameters import BOOLEANS, DURABLE
from cluster.topology import Cluster
from cluster.weaker_commits import PARAMETER, plain, quoted, reset, weaker

from ..finding import Finding, finding
from ..states import Override, PostgresState
from ..view import ClusterView


def weaker_commits(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """Each that does is named, with the statement that takes it back."""
    if cluster.all.durability == "asynchronous":
        return
    for name, host in view.hosts.items():
        for parameter, value in undermined(host.postgres, cluster).items():
            text = f"has {parameter} = {value} by ALTER SYSTEM: what is written there may be lost in a failover or a crash"
            yield finding("settings.overridden", name, f"{text} (`alter system reset {parameter}`, `select pg_reload_conf()`)")
    if view.primary is None:
        return
    refuses = cluster.weaker_commits == "refuse"
    for one in loose(view.primary):
        meanwhile = "new sessions are refused" if refuses else "what it writes may be lost in a failover"
        mended = " or a deploy" if cluster.weaker_commits == "mend" else ""
        text = f"{whose(one)} has {one.setting.replace('=', ' = ')}: {meanwhile} (`{reset(one.role, one.database)}`{mended})"
        yield finding("settings.overridden", "settings", text)
    for sub in view.primary.subscriptions:
        if weaker(sub.synchronous_commit):
            text = f"subscription {sub.name} in database {sub.database} has {PARAMETER} = {sub.synchronous_commit}"
            lost = "a failover may lose changes that its publisher will not send again"
            remedy = f"alter subscription {quoted(sub.name)} set ({PARAMETER} = on);"
            yield finding("settings.overridden", "settings", f"{text}: {lost} (`{remedy}`)")
    for database in view.primary.unguarded if refuses else ():
        text = f"database {database} does not refuse sessions with a weaker {PARAMETER}, as the settings say"
        remedy = "deploy" if plain(database) else "rename it, for a deploy can't go into one with such a name"
        yield finding("settings.unguarded", "settings", f"{text}: {remedy}")


def undermined(state: PostgresState | None, cluster: Cluster) -> dict[str, str]:
    """What ALTER SYSTEM has set on a host, of the parameters on which the promise rests."""
    if state is None or cluster.all.durability == "asynchronous":
        return {}
    return {
        name: value
        for name, value in state.altered.items()
        if (weaker(value) if name == PARAMETER else name in DURABLE and BOOLEANS[value] != DURABLE[name])
    }


def loose(state: PostgresState) -> tuple[Override, ...]:
    """What ALTER ROLE and ALTER DATABASE have set so that a commit does not wait for a replica's disk."""
    return tuple(one for one in state.overrides if weaker(one.setting.partition("=")[2]))


def keeps_promise(view: ClusterView, cluster: Cluster) -> bool:
    """Whether everything that the primary acknowledges is kept as the durability says, as far as can be seen."""
    return not any(found.rule == "settings.overridden" for found in weaker_commits(view, cluster))


def whose(one: Override) -> str:
    """Who it is that has a setting of its own."""
    match one.role, one.database:
        case None, None:
            return "everybody"
        case None, database:
            return f"database {database}"
        case role, None:
            return f"role {role}"
        case role, database:
            return f"role {role} in database {database}"
