"""Which lines of the components' logs tell how a failure goes on, and which of them say that something is wrong. Pure.

Regular expressions over the text without its timestamp: of Patroni 4.1, PostgreSQL 18, etcd 3.5, HAProxy 3.2, PgBouncer 1.26.
systemd's words about a unit are among them. Left out is what comes all the time, and what is about one client's session.
"""

from __future__ import annotations

import re

SYSTEMD_TROUBLE = (r"Main process exited", r"Failed with result")
SYSTEMD = (r"^(Started|Stopping|Stopped) ", r"Scheduled restart job")

# The first process of each port; what is followed while something happens has no more.
POOLS = ("pgquorum-pool@write-1", "pgquorum-pool@read-1")

# By unit. Patroni's holds PostgreSQL's log too.
TROUBLE = {
    "patroni": (
        *SYSTEMD_TROUBLE,
        r"Request to server .* failed",
        r"Error communicating with DCS",
        r"DCS is not accessible",
        r"failsafe",
        r"[Dd]emot(ing|ed)",
        r"[Ll]ost lock|failed to update leader lock|not owner of the lease|lease disappeared",
        r"[Pp]rimary crashed|[Pp]ostgresql is not running|postmaster is not running",
        r"Timeout during postmaster stop|SIGKILL to Postmaster",
        r"PANIC: ",
        r"was terminated by signal|terminating any other active server processes",
        r"terminating walreceiver due to|could not receive data from WAL stream|could not connect to the primary",
        r"No space left on device",
    ),
    "etcd": (
        *SYSTEMD_TROUBLE,
        r"lost leader",
        r"peer became inactive",
        r"prober detected unhealthy status",
        r"leader failed to send out heartbeat",
    ),
    "haproxy": (*SYSTEMD_TROUBLE, r" is DOWN", r"backend \w+ has no server available"),
    **dict.fromkeys(
        POOLS, (*SYSTEMD_TROUBLE, r"server login failed", r"pooler error: (server|query_wait|no more conn|client_login)")
    ),
    "keepalived": (*SYSTEMD_TROUBLE, r"Entering FAULT STATE", r"VRRP_Script\(\w+\) (failed|timed)"),
    "pgbackrest": (*SYSTEMD_TROUBLE, r"^(P\d\d +)?ERROR: "),
}
PROGRESS = {
    "patroni": (
        *SYSTEMD,
        r"Lock owner: ",
        r"promoted self to leader|Leader key released|released leader key|Could not take out TTL lock",
        r"following (a |new |a different |leader)",
        r"not healthy enough|is still alive|ahead of my wal position|behind last known|exceeds maximum replication lag",
        r"Got quorum vote",
        r"postmaster pid=|crash recovery|pg_rewind|[Rr]emoving data directory|trying to bootstrap|replica has been created",
        r"received \w+ shutdown request|database system is (shut down|ready)|was (interrupted|not properly shut down)",
        r"received promote request|selected new timeline ID|started streaming WAL|new target timeline",
    ),
    "etcd": (*SYSTEMD, r"elected leader", r"leadership transfer finished", r"peer became active"),
    "haproxy": (*SYSTEMD, r" is UP"),
    **dict.fromkeys(POOLS, (*SYSTEMD, r"got SIGHUP, re-reading config|process up")),
    "keepalived": (*SYSTEMD, r"Entering (MASTER|BACKUP) STATE", r"VRRP_Script\(\w+\) succeeded"),
    "pgbackrest": SYSTEMD,
}
# Patroni says this in every round.
EVERY_ROUND = r"(?!.*no action\. I am)"
# What a client's session has PostgreSQL write begins with the client (`%r` in log_line_prefix), and is in the client's own words:
# a user who nobody knows may be called "promoted self to leader". But for these, which end the server.
OF_A_SESSION = r"(?!(?:\[local\]|\S+\(\d+\)) (?!PANIC:  |ERROR:  .*No space left on device))"
TOLD = f"^{EVERY_ROUND}{OF_A_SESSION}"


def selections() -> dict[str, str]:
    """Unit to one expression for all its lines that tell something."""
    return {unit: f"{TOLD}.*(?:{'|'.join((*TROUBLE[unit], *PROGRESS[unit]))})" for unit in TROUBLE}


def is_trouble(unit: str, text: str) -> bool:
    """Whether a line says that something is wrong, and not how it is mended."""
    return bool(re.search(f"^{OF_A_SESSION}", text)) and any(re.search(pattern, text) for pattern in TROUBLE.get(unit, ()))
