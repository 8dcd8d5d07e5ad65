"""What holds for all hosts at once, and so is not changed by a deploy that leaves out hosts that run. Pure.

A password is on both sides, Patroni's timers stand in etcd and HAProxy's on the proxies, parameters reach every PostgreSQL by
Patroni, and pools know the verifiers of roles. A digest of each is noted with the layout (layout.py) by a deploy.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from .connections import reached_from
from .topology import Cluster, Host
from .vault import ENVIRONMENT_PREFIX, Vault, password_names

SETTINGS = (
    "durability",
    "without_replica",
    "weaker_commits",
    "failover_profile",
    "failover_timing",
    "postgres_parameters",
    "postgres_roles",
    "postgres_databases",
    "postgres_slots",
)
DIAL_SECONDS = 2
PREFIX = "password "  # the digest of a password has a name that begins so


def digests(cluster: Cluster, vault: Vault) -> dict[str, str]:
    """A digest of each by its name. That of a password can't be made, or tried out, by whoever lacks the secrets directory."""
    settings = {name: json.dumps(_plain(cluster.setting(name)), sort_keys=True, default=str) for name in SETTINGS}
    secrets = {f"{PREFIX}{name}": vault.password(name) for name in password_names(cluster)}
    authorities = {f"{name}-ca.crt": text.decode() for name, text in vault.trusted.items()}
    key = vault.scram_seed.encode()
    return {
        name: hmac.new(key, f"{name}:{value}".encode(), hashlib.sha256).hexdigest()[:32]
        for name, value in (settings | secrets | authorities).items()
    }


def _plain(value: Any) -> Any:
    """A setting without what has its default: one that a later version adds makes no other digest."""
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_defaults=True)
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def changed(noted: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The names of what is another than noted; of what was not noted, or is not there any more, nobody can tell."""
    return sorted(name for name in noted.keys() & now.keys() if noted[name] != now[name])


def passwords(changes: Sequence[str], directory: str) -> list[str]:
    """What there is to say of passwords that change: nothing else tells an older copy of the secrets from a wish."""
    names = [name.removeprefix(PREFIX) for name in changes if name.startswith(PREFIX)]
    if not names:
        return []
    verb = "is another one" if len(names) == 1 else "are others"
    variables = ", ".join(f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in names)
    return [
        f"the password of {', '.join(names)} in {directory} {verb} than what was deployed: this deploy changes it on all hosts."
        " If nobody meant that, these secrets are an older copy, or the last deploy had it from the environment"
        f" ({variables}): stop here, and bring the newer copy, or set that again"
    ]


def dial_command(cluster: Cluster, host: Host, names: Collection[str]) -> str:
    """The command that prints those of the named hosts that answer `host` at a port that it may dial; empty where it has none."""
    dialled = [(target, port) for target, port in reached_from(cluster, host) if target.name in names]
    if host in cluster.postgres_hosts:  # as clients do
        dialled += [(proxy, cluster.haproxy.write_port) for proxy in cluster.haproxy_hosts if proxy.name in names]
    tries = (
        f"{{ timeout {DIAL_SECONDS} bash -c '</dev/tcp/{target.address}/{port}' 2>/dev/null && echo {target.name}; }} &"
        for target, port in dict.fromkeys(dialled)
    )
    return " ".join([*tries, "wait"]) if dialled else ""


def refusal(changes: list[str], hosts: Collection[str], left_out: Collection[str]) -> str:
    """Why a deploy of `hosts` must not go on that leaves out others, which answer."""
    return (
        f"{', '.join(changes)}: not as {', '.join(sorted(hosts))} were deployed with, and the same for all hosts; but"
        f" {', '.join(sorted(left_out))} run and are left out by --limit or --exclude: deploy to all"
    )


def slots_left(cluster: Cluster, changes: Collection[str], left_out: Collection[str]) -> list[str]:
    """Why the last logical slots can't go while a database host is away: its PostgreSQL, with copies of them, would not start any
    more, and a server that does not start drops none."""
    away = _databases(cluster, left_out)
    if cluster.decodes or "postgres_slots" not in changes or not away:
        return []
    return [
        f"postgres_slots is empty, but was not, and {away} may have copies of the slots, with which PostgreSQL would not start"
        f" any more: bring {away} back and deploy to all, or take it out for good first (`invoke host.remove`)"
    ]


def unasked(cluster: Cluster, changes: Collection[str], left_out: Collection[str]) -> list[str]:
    """What to say of parameters that change while a database host is away."""
    away = _databases(cluster, left_out)
    if "postgres_parameters" not in changes or not away:
        return []
    return [
        f"{away}: not asked whether PostgreSQL would start there with postgres_parameters as they are now: look when it is back,"
        " and deploy to all"
    ]


def _databases(cluster: Cluster, names: Collection[str]) -> str:
    return ", ".join(host.name for host in cluster.postgres_hosts if host.name in names)
