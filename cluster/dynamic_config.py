"""Patroni's dynamic configuration: the part of the settings that lives in etcd and holds for every member.

Patroni reads `bootstrap.dcs` once in a cluster's life. Afterwards the only way is PATCH /config, so a deploy compares what
should be with what is and sends the difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from . import paths, tls
from .parameters import LOGICAL
from .slots import ARCHIVE, NOT_YET, STANDBYS_FIRST
from .topology import RESERVED_CONNECTIONS, Cluster

Json = dict[str, Any]

SYNCHRONOUS_MODE = {"quorum": "quorum", "all": "quorum", "synchronous": True, "asynchronous": False}
# Under this key the deploy remembers which parameters it has set, so that one taken out of the settings goes back to its
# default while one set by hand with `patronictl edit-config` is left alone.
OWNED_KEY = "pgquorum"
# Patroni drops slots that it does not know. The one of the archive our own programs see to (agents/archive_slot.py).
IGNORED = "ignore_slots"
OURS = {"name": ARCHIVE, "type": "physical"}


def wanted_config(cluster: Cluster) -> Json:
    """What GET /config should answer, apart from keys that are not ours."""
    timing = cluster.timing
    parameters = postgres_parameters(cluster)
    return {
        "ttl": timing.ttl,
        "loop_wait": timing.loop_wait,
        "retry_timeout": timing.retry_timeout,
        "primary_start_timeout": timing.primary_start_timeout,
        "primary_stop_timeout": timing.primary_stop_timeout,
        # Where the promotion gate asks for proof, bytes that nobody has acknowledged are no reason to keep anybody out.
        "maximum_lag_on_failover": 16 * 1024**2 if cluster.all.durability == "asynchronous" else 1024**4,
        "check_timeline": True,
        "failsafe_mode": True,
        "synchronous_mode": SYNCHRONOUS_MODE[cluster.all.durability],
        "synchronous_mode_strict": cluster.all.without_replica == "wait",
        "synchronous_node_count": synchronous_node_count(cluster),
        "postgresql": {"use_pg_rewind": True, "use_slots": True, "parameters": parameters},
        **({IGNORED: [OURS]} if cluster.backup_hosts else {}),
        OWNED_KEY: {"parameters": sorted(parameters)},
    }


def synchronous_node_count(cluster: Cluster) -> int:
    """How many replicas must have a write before it is acknowledged. Patroni asks for fewer while fewer are there."""
    return len(cluster.postgres_hosts) - 1 if cluster.all.durability == "all" else 1


def durability_of(config: Json) -> str:
    """Our word for the durability of a dynamic configuration. With two PostgreSQL hosts `all` is `quorum`, and called that."""
    mode = config.get("synchronous_mode", False)
    if mode == "quorum":
        return "all" if config.get("synchronous_node_count", 1) > 1 else "quorum"
    return "synchronous" if mode in (True, "on") else "asynchronous"


def without_replica_of(config: Json) -> str:
    """Our word for what writes do while no replica is there. It means nothing with asynchronous replication."""
    return "wait" if config.get("synchronous_mode_strict", False) in (True, "on") else "continue"


def promise_of(config: Json) -> str:
    """The durability in words for a person, with what takes away from it."""
    durability = durability_of(config)
    alone = durability != "asynchronous" and without_replica_of(config) == "continue"
    return f"{durability}, alone without a replica" if alone else durability


def postgres_parameters(cluster: Cluster) -> Json:
    """PostgreSQL's parameters on every host: what the tool decides, under what the user asked for."""
    timing = cluster.timing
    return {
        # A server that is lost without a word must not hold a client, a replica or a lock for two hours.
        "tcp_keepalives_idle": 30,
        "tcp_keepalives_interval": 5,
        "tcp_keepalives_count": 3,
        "tcp_user_timeout": "30s",
        "wal_sender_timeout": "10s",
        # Longer than it takes to replace a primary: replicas that hear nothing from theirs stay fit to be read until then.
        "wal_receiver_timeout": f"{timing.ttl + 10}s",
        # How long a replica that lost its primary waits before it tries again; until one streams, no write is acknowledged.
        "wal_retrieve_retry_interval": "500ms",
        # Whoever wants an archive one day need not restart PostgreSQL for it: only archive_mode would ask for that.
        "archive_mode": "on",
        # PostgreSQL archives nothing where both are set.
        "archive_command": "" if cluster.postgres.parameters.get("archive_library") else "/bin/true",
        **(_archiving() if cluster.backup_hosts else {}),
        # One application that takes all connections must not keep out who tests the cluster, nor a rewind.
        "reserved_connections": RESERVED_CONNECTIONS,
        # Whoever connects and says nothing holds one of the places for those who have not logged in.
        "authentication_timeout": "10s",
        "ssl_ciphers": tls.OPENSSL_SUITES,
        "log_checkpoints": "on",
        # Who logs in, and who tries to, from where: through HAProxy from its address and a port, by which its log has the client.
        "log_connections": "authorization" if cluster.postgres.version >= 18 else "on",
        # Neither role nor database: a stranger could end a line with either.
        "log_line_prefix": "%m [%p] %q%r ",
        "track_io_timing": "on",
        **cluster.postgres.parameters,
        **(LOGICAL if cluster.postgres.slots else {}),
        **({STANDBYS_FIRST: NOT_YET} if cluster.gated_slots else {}),
        "logging_collector": "off",  # to the journal, with Patroni's own lines
        "password_encryption": "scram-sha-256",
        "ssl": "on",
        "ssl_cert_file": f"{paths.PATRONI_TLS}/server.crt",
        "ssl_key_file": f"{paths.PATRONI_TLS}/server.key",
        "ssl_ca_file": f"{paths.PATRONI_TLS}/ca.crt",
        # Set by hand, replicas could not connect any more: so it is seen, and taken back.
        "ssl_crl_file": "",
        "ssl_crl_dir": "",
        "synchronous_commit": "on",
        "wal_log_hints": "on",
    }


def _archiving() -> Json:
    """What archives the write-ahead log: each file of it as it is full, and on a quiet cluster after a minute."""
    return {"archive_command": f"{paths.ARCHIVE_PUSH} %p", "archive_timeout": "60s"}


def difference(wanted: Json, live: Json) -> Json:
    """The PATCH that makes `live` agree with `wanted`: only what differs; None removes a key. Empty when they agree.

    Keys in `live` that `wanted` does not name are left alone, except parameters the deploy itself has set earlier.
    """
    patch = _changes(wanted, live)
    set_before = set(live.get(OWNED_KEY, {}).get("parameters", ()))
    running = live.get("postgresql", {}).get("parameters") or {}
    gone = {name: None for name in set_before - set(wanted["postgresql"]["parameters"]) if name in running}
    if gone:
        patch.setdefault("postgresql", {}).setdefault("parameters", {}).update(gone)
    if (ignored := _ignored(wanted, live.get(IGNORED) or [])) != (live.get(IGNORED) or []):
        patch[IGNORED] = ignored or None
    else:
        patch.pop(IGNORED, None)
    return patch


def _ignored(wanted: Json, live: list[Json]) -> list[Json]:
    """The slots that Patroni is to leave alone: ours, where it is wanted, with those that somebody else has named."""
    if IGNORED in wanted:
        return live if OURS in live else [*live, OURS]
    return [one for one in live if one != OURS]


def described(patch: Json, live: Json, prefix: str = "") -> Iterator[str]:
    """A patch in words, a line a setting: `work_mem: 4MB -> 8MB`."""
    for key, value in patch.items():
        if key == OWNED_KEY:
            continue
        if isinstance(value, dict):
            yield from described(value, live.get(key) or {}, "" if key in ("postgresql", "parameters") else f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}: {live.get(key, 'unset')} -> {'unset' if value is None else value}"


def _changes(wanted: Json, live: Json) -> Json:
    changes: Json = {}
    for key, value in wanted.items():
        if isinstance(value, dict) and isinstance(live.get(key), dict):
            if inner := _changes(value, live[key]):
                changes[key] = inner
        elif key not in live or live[key] != value or type(live[key]) is not type(value):
            changes[key] = value
    return changes
