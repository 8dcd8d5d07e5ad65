"""The one sentence that must hold: the leader in etcd is the only server not in recovery and the only one UP for writes.

Pure: judged over what the last phase of a deploy has seen, from Patroni, from PostgreSQL, from HAProxy and as a client.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .dynamic_config import postgres_parameters
from .parameters import known_parameters, normalize
from .topology import Cluster

# The role in GET /cluster of a replica that confirms writes; with `asynchronous` there is none.
CONFIRMING = {"quorum": "quorum_standby", "all": "quorum_standby", "synchronous": "sync_standby"}


@dataclass(frozen=True)
class Seen:
    """One look at the cluster. Hosts that were not asked (left out of this run) are absent from every mapping."""

    members: tuple[dict[str, Any], ...] = ()  # `members` of Patroni's GET /cluster
    in_recovery: dict[str, bool | None] = field(default_factory=dict)  # PostgreSQL's own word; None: no answer
    parameters: dict[str, dict[str, str]] = field(default_factory=dict)  # by host, in base units (pg_settings.reset_val)
    up: dict[str, dict[str, tuple[str, ...]]] = field(default_factory=dict)  # proxy -> backend -> servers UP
    waits_for: str = ""  # the primary's synchronous_standby_names
    probes: dict[str, str] = field(default_factory=dict)  # proxy -> error of a write and a read through it, '' for none

    @property
    def leader(self) -> str | None:
        return next((m["name"] for m in self.members if m.get("role") == "leader"), None)


def broken(cluster: Cluster, seen: Seen) -> Iterator[str]:
    """What is not (yet) as it must be, one sentence each."""
    if not seen.members:
        yield "Patroni does not answer"
        return
    if seen.leader is None:
        yield "no member leads"
        return
    running = {m["name"]: m.get("state") for m in seen.members}
    for host in cluster.postgres_hosts:
        wanted = "running" if host.name == seen.leader else "streaming"
        if host.name in seen.in_recovery and running.get(host.name) != wanted:
            yield f"{host.name} is {running.get(host.name, 'not a member')}, should be {wanted}"
    for name, recovering in seen.in_recovery.items():
        if recovering is None:
            yield f"PostgreSQL on {name} does not answer"
        elif recovering == (name == seen.leader):
            yield f"{name} is {'in recovery' if recovering else 'not in recovery'}, but the leader is {seen.leader}"
    yield from _durability(cluster, seen)
    yield from _routing(seen)
    yield from _parameters(cluster, seen)


def _durability(cluster: Cluster, seen: Seen) -> Iterator[str]:
    """Replicas confirm writes as the settings say: Patroni arranges that only some rounds after it was told to."""
    role = CONFIRMING.get(cluster.all.durability)
    replicas = [m for m in seen.members if m["name"] in seen.in_recovery and m["name"] != seen.leader]
    confirming = [m for m in seen.members if role and m.get("role") == role]
    if role and replicas and not confirming:
        yield f"no replica confirms writes yet, and durability is {cluster.all.durability}"
    needed = {"quorum": 1, "all": len(confirming)}.get(cluster.all.durability)
    asked = re.match(r"ANY (\d+) \(", seen.waits_for)
    if needed and asked and int(asked[1]) != needed:
        yield f"writes still wait for {asked[1]} of the replicas, and durability is {cluster.all.durability}"
    for member in replicas:
        if member.get("role") in CONFIRMING.values() and member["role"] != role:
            yield f"{member['name']} still is a {member['role']}, and durability is {cluster.all.durability}"


def _routing(seen: Seen) -> Iterator[str]:
    replicas = {name for name in seen.in_recovery if name != seen.leader}
    for proxy, backends in seen.up.items():
        if backends.get("write") != (seen.leader,):
            yield f"{proxy} sends writes to {', '.join(backends.get('write', ())) or 'nobody'}, should be {seen.leader}"
        missing = replicas - set(backends.get("read", ()))
        if missing:
            yield f"{proxy} sends no reads to {', '.join(sorted(missing))}"
    for proxy, error in seen.probes.items():
        if error:
            yield f"a client that goes through {proxy} is told: {error}"


def _parameters(cluster: Cluster, seen: Seen) -> Iterator[str]:
    """PostgreSQL runs with the settings, or says that it needs a restart for them."""
    said = {m["name"]: m.get("pending_restart_reason") or {} for m in seen.members}
    wanted = postgres_parameters(cluster)
    for host in seen.parameters:
        for name, running in differing_parameters(cluster, seen, host).items():
            if name not in said.get(host, {}):
                yield f"{name} is {running} on {host}, should be {wanted[name]}"


def differing_parameters(cluster: Cluster, seen: Seen, host: str) -> dict[str, str | None]:
    """What runs on `host` (name: value in base units) where that is not what the settings say."""
    running, known = seen.parameters[host], known_parameters()
    return {
        name: running.get(name)
        for name, value in postgres_parameters(cluster).items()
        if name in known and (name not in running or normalize(name, running[name]) != normalize(name, value))
    }


def pending_restarts(cluster: Cluster, seen: Seen) -> dict[str, list[str]]:
    """The settings that wait for a restart, by host; a host without is left out.

    Patroni's own flag lags a loop behind, so the running values decide.
    """
    found = {host: sorted(differing_parameters(cluster, seen, host)) for host in seen.parameters}
    return {host: names for host, names in found.items() if names}
