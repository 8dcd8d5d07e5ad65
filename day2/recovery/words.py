"""What pgBackRest and PostgreSQL are told in a restore, and what they say of it. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from agents.recovery import careful
from cluster.dynamic_config import postgres_parameters
from cluster.timelines import position
from cluster.topology import Cluster

from .arrival import Arrival
from .plan import Restore


def reading(restore: Restore) -> str:
    """What archive-get is told of where to read: of all repositories, but where one is read as it was at a moment, or one can't
    be read at all."""
    return "".join(f" {shlex.quote(one)}" for one in restore.options) if restore.as_of or restore.away else ""


def settings(cluster: Cluster, wanted: Mapping[str, Any], restore: Restore) -> dict[str, Any]:
    """PostgreSQL's for the recovery. `wanted`: the cluster's parameters as they are in etcd."""
    # A position lies between two records: what begins there is after it, such as the commit of what was open then.
    inclusive = "off" if restore.kind == "lsn" else "on"
    sought = {"recovery_target_inclusive": inclusive, f"recovery_target_{restore.kind}": restore.value} if restore.value else {}
    return {
        **postgres_parameters(cluster),
        **wanted,
        "archive_mode": "on",
        # With a repository away it would fail, and be tried as long as that has for an answer: see RestoreActions.recover.
        "archive_command": "/bin/false" if restore.away else f"pgbackrest --stanza={cluster.name} archive-push %p",
        "restore_command": careful(f'pgbackrest --stanza={cluster.name}{reading(restore)} archive-get %f "%p"'),
        "recovery_target_timeline": str(restore.timeline),
        "recovery_target_action": "promote",
        **sought,
        "hot_standby": "off",  # as a replica it would refuse to go on where a parameter was raised since
        "listen_addresses": "",
        "ssl": "off",
        "port": cluster.postgres.port,
        "unix_socket_directories": "/run/pgquorum-restore",
        "hba_file": "/run/pgquorum-restore/pg_hba.conf",
        "external_pid_file": "",
        "synchronous_standby_names": "",
        "logging_collector": "off",
    }


def arrived(server: Mapping[str, Any]) -> Arrival:
    """Where a server is that was promoted at the end of a recovery, from what it says."""
    rows = [line.split(None, 2) for line in server["history"].splitlines() if line.strip()]
    last = rows[-1] if rows else ["0", "0/0", ""]
    timeline = int(server["timeline"], 16)
    return Arrival(timeline, position(last[1]), last[2].strip() if len(last) > 2 else "", server["last"])


def last_words(lines: list[str]) -> str:
    return " ".join(lines[-3:])[-500:] or "its journal says nothing"


def why(lines: list[str]) -> str:
    """What PostgreSQL said of its end: that it was fatal, and how far it had come."""
    telling = [line for line in lines if "FATAL" in line or "last completed transaction" in line or "PANIC" in line]
    return " ".join(telling)[-700:] or last_words(lines)
