"""Where things lie on a host. The deploy writes them, templates name them, the tasks read them."""

from __future__ import annotations

from pathlib import PurePosixPath

MARKER = "/etc/pgquorum/cluster.json"  # which cluster this host belongs to, and which version of the tool deployed it
MANIFEST = "/etc/pgquorum/files.sha256"  # every file the deploy wrote here
REMOVED = "/etc/pgquorum/removed.json"  # what that is called on a host that was taken out of the cluster
RESTORING = "/etc/pgquorum/restoring.json"  # while a restore is under way: Patroni is not started then
HOLD_PATRONI = "/etc/systemd/system/patroni.service.d/pgquorum-restoring.conf"  # what sees to that
LAYOUT = "/etc/pgquorum/layout.json"  # where everything of the cluster is, as it was deployed (cluster/layout.py)
LAST_DEPLOY = "/etc/pgquorum/last-deploy.json"  # with which settings it was deployed to last (cluster/last_deploy.py)
LOCK = "/run/pgquorum.lock"  # held by whoever is changing the cluster
PACKAGE_FILES = "/var/cache/pgquorum"  # packages that are files, while they are installed
REPLACED_PACKAGES = "/var/lib/pgquorum/replaced"  # what `invoke upgrade` has replaced, and by what: the way back
ETCD_SYSUSERS = "/etc/sysusers.d/etcd-server.conf"  # in place of the package's own file where systemd can't read that
JOURNALS = "/var/log"  # where systemd keeps what everything writes
KERNEL_SETTINGS = "/etc/sysctl.d/60-pgquorum.conf"

FIREWALL_RULES = "/etc/pgquorum/firewall.nft"  # the packet filter that a new SSH connection has got through
FIREWALL_TABLE = "pgquorum"  # its table in the kernel, of family inet
FIREWALL_NOTE = "/run/pgquorum-firewall"  # the sum of that table as it was loaded
LOAD_FIREWALL = "/usr/local/lib/pgquorum/load-firewall"

ETCD_CONFIG = "/etc/etcd/etcd.env"
ETCD_BOOTSTRAP = "/etc/etcd/bootstrap.env"  # read by a member that has no data yet, written once
ETCD_TLS = "/etc/etcd/tls"  # ca.crt, server.crt, server.key: owner etcd
ETCD_UNIT = "/etc/systemd/system/etcd.service"
# It reads its own certificate with each connection, but these when it starts.
ETCD_READS = (ETCD_CONFIG, f"{ETCD_TLS}/ca.crt", ETCD_UNIT)

PATRONI_CONFIG = "/etc/patroni/conf.d"  # patroni.yml and others; patronictl -c takes the directory
YIELD_ETCD_LEADERSHIP = "/usr/local/lib/pgquorum/yield-etcd-leadership"  # Patroni's callback
PG_REWIND = "/usr/local/lib/pgquorum/pg_rewind"  # what Patroni calls by that name
AGENTS = "/usr/local/lib/pgquorum/agents"  # our own programs there, which `python3 -I` starts by this directory
ASK_GATE = f"{AGENTS}/agents/ask_gate.py"  # the one that Patroni starts
LOCK_HOLDERS = "/run/pgquorum-agents/locks.json"  # who has how many of PostgreSQL's locks
GUARD_STATE = "/var/lib/pgquorum-guard"  # what a database host has promised
GUARD_TABLES = ("pgquorum_fence", "pgquorum_shun")  # of the kernel's packet filter (agents/guard.py)
SPECIFICATION = "/etc/pgquorum/agents.json"  # what they know of the cluster
PATRONI_TLS = "/etc/patroni/tls"  # ca.crt, server.{crt,key}, etcd-ca.crt, etcd-client.{crt,key}: owner postgres
POSTGRES_SOCKETS = "/var/run/postgresql"
WATCHDOG = "/dev/watchdog"  # Patroni's default

ONE_PRIMARY = "/etc/pgquorum/one-primary.json"  # what a proxy host's own program of ours knows (agents/one_primary.py)
HAPROXY_CONFIG = "/etc/haproxy/haproxy.cfg"
HAPROXY_USERS = "/etc/haproxy/statistics-users.cfg"
HAPROXY_TLS = "/etc/haproxy/tls"  # ca.crt, client.pem, haproxy.pem
HAPROXY_SOCKET = "/run/haproxy/admin.sock"
HAPROXY_STATES = "/var/lib/haproxy/server-state"  # what HAProxy knows of its servers when it starts or is reloaded
HAPROXY_DOWN = "/etc/haproxy/servers-down"  # the same with every server down
RELOAD_HAPROXY = "/usr/local/lib/pgquorum/reload-haproxy"

HAPROXY_CHECK_SOCKET = "/run/haproxy/check.sock"  # where HAProxy tells keepalived's check that it is there, and nothing else
CHECK_HAPROXY = "/usr/local/lib/pgquorum/check-haproxy"

KEEPALIVED_CONFIG = "/etc/keepalived/keepalived.conf"
KEEPALIVED_USER = "keepalived_script"  # as whom keepalived runs that check: its own default

HOLD_NOTE = "/run/pgquorum-hold.json"  # on a proxy host, while clients are kept waiting there: who does that
HOLD_TIMER = "pgquorum-let-go"  # the timer that lets them go by itself
RENEW_TIMER = "pgquorum-read-again"  # the one that has the pools of reads read their settings again

POOL = "/etc/pgquorum/pgbouncer"  # PgBouncer's configuration, users.txt with verifiers, hba.conf
POOL_USERS = f"{POOL}/users.txt"
POOL_TLS = f"{POOL}/tls"  # ca.crt, server.{crt,key}: owner root, group of its user
POOL_RUNTIME = "/run/pgquorum-pool"  # a directory for each process, with its socket
POOL_USER = "pgbouncer"  # who runs it; PgBouncer lets this user, by the socket, into its console without a password

BACKUP_CONFIG = "/etc/pgbackrest/pgbackrest.conf"
BACKUP_CIPHER = "/etc/pgbackrest/conf.d/cipher.conf"  # on the repository's host alone
BACKUP_TLS = "/etc/pgbackrest/tls"  # ca.crt, server.{crt,key}: each host is server and client with the same
BACKUP_LOCKS = "/run/pgbackrest"
# A file for each kind of backup that was begun and has not come to a good end: systemd forgets that with a reboot.
BACKUP_BEGUN = "/var/lib/pgquorum-backup"
EXPIRES_NONE = ".expires-none"  # behind the kind of backup: a file there, which says so of the next one of that kind
ARCHIVE_PUSH = "/usr/local/lib/pgquorum/pgbackrest-push"  # archive_command, which without `pgbackrest` in it makes no backup
# On database hosts, where there are several repositories: what archives to each, and notes what it has got.
ARCHIVE_EACH = "/usr/local/lib/pgquorum/pgbackrest-push-each"
BACKUP_SPOOL = "/var/spool/pgbackrest"
BACKUP_INCLUDED = "/etc/pgbackrest/conf.d"  # what pgBackRest reads besides
DRILL = "/etc/pgquorum/drill.json"  # what a drill of a backup has to know of its host
DRILL_CONFIG = "/etc/pgbackrest/drill.conf"  # pgBackRest's, for drills on the repository's host
DRILL_RUNTIME = "/run/pgquorum-drill"  # the socket of the server on the copy
CLONE_RUNTIME = "/run/pgquorum-clone"  # the same of the one on a clone
DRILL_TMPFILES = "/etc/tmpfiles.d/pgquorum-drill.conf"
BACKUP_USER = "pgbackrest"  # on the repository's host; on database hosts it is postgres

PROBE_DATABASE = "pgquorum"  # where the tool's own test writes go; nothing of the user's
PROBE_ROLE = "pgquorum_probe"
REPLICATION_ROLE = "replicator"
REWIND_ROLE = "rewinder"
POOLER_ROLE = "pgquorum_pooler"  # as which PgBouncer asks for the verifiers of roles that were made by hand
POOLER_SCHEMA = "pgquorum_pooler"  # in database postgres, with the function that it asks


# Where hosts have whom they trust, by authority.
AUTHORITIES = (
    ("etcd", f"{ETCD_TLS}/ca.crt"),
    ("etcd", f"{PATRONI_TLS}/etcd-ca.crt"),
    ("postgres", f"{PATRONI_TLS}/ca.crt"),
    ("postgres", f"{HAPROXY_TLS}/ca.crt"),
    ("postgres", f"{POOL_TLS}/ca.crt"),
    ("backup", f"{BACKUP_TLS}/ca.crt"),
)


def archive_config(repository: str) -> str:
    """pgBackRest's file for archiving to one of several repositories."""
    return f"/etc/pgbackrest/archive-{repository}.conf"


def apt_source(name: str) -> str:
    """Where a source of packages lies that the deploy has added."""
    return f"/etc/apt/sources.list.d/pgquorum-{name}.sources"


def apt_preferences(name: str) -> str:
    """Where apt reads what is taken from that source."""
    return f"/etc/apt/preferences.d/pgquorum-{name}.pref"


def postgres_binaries(version: int) -> str:
    """The directory of PostgreSQL's programs in Debian's packages and the PostgreSQL project's."""
    return f"/usr/lib/postgresql/{version}/bin"


# Where no data can lie, with the reason: what the units are kept from (ProtectHome, ProtectSystem), and what a reboot empties.
NO_PLACE_FOR_DATA = {
    **dict.fromkeys(("/home", "/root", "/run/user"), "from which systemd keeps the services"),
    **dict.fromkeys(("/boot", "/efi", "/etc", "/usr"), "which is read-only for the services"),
    **dict.fromkeys(
        ("/dev", "/proc", "/run", "/sys", "/tmp", "/var/run", "/var/tmp"),  # noqa: S108 - nothing is put there
        "which does not outlive a reboot",
    ),
}


def why_no_data(path: str) -> str | None:
    """Why nothing may lie at an absolute path, to be put after it; None where it may."""
    parents = [path, *map(str, PurePosixPath(path).parents)]
    return next((f"is under {place}, {NO_PLACE_FOR_DATA[place]}" for place in parents if place in NO_PLACE_FOR_DATA), None)


def salvage(data_directory: str) -> str:
    """Where a host keeps the write-ahead log that a rewind has thrown away (agents/salvage.py): beside its data, which may be
    deleted as a whole."""
    return f"{data_directory.rstrip('/')}-salvage"


def clone(drills: str) -> str:
    """Where a clone is, beside the drills."""
    return f"{drills}/clone"


def drill(directory: str) -> str:
    """Where drills of backups leave their results, and have their copy while they go on: beside the backups, or beside a database
    host's data."""
    return f"{directory.rstrip('/')}-drill"


def of_failed_starts(data_directory: str, wal_directory: str | None) -> list[str]:
    """What Patroni calls the directories of a cluster whose first start has failed: it moves them away and begins anew."""
    directories = [data_directory, *([f"{wal_directory.rstrip('/')}/pg_wal"] if wal_directory else [])]
    return [f"{directory.rstrip('/')}.failed" for directory in directories]


def of_data(data_directory: str, wal_directory: str | None) -> list[str]:
    """The directories that are the data. What a restore moves aside is beside each, with the same suffix."""
    return [data_directory.rstrip("/"), *([f"{wal_directory.rstrip('/')}/pg_wal"] if wal_directory else [])]


def agent(program: str, file: str = SPECIFICATION) -> str:
    """The command that runs one of our own programs on a host (agents/__main__.py)."""
    return f"/usr/bin/python3 -I -S {AGENTS} {program} {file}"


def etcdctl(endpoint: str) -> str:
    """The etcdctl command line, run as root on an etcd host, for one endpoint such as `https://10.0.0.1:2379`. A proxy that the
    host uses for the world outside has no part in it."""
    return (
        f"NO_PROXY='*' no_proxy='*' ETCDCTL_API=3 etcdctl --endpoints={endpoint} --cacert={ETCD_TLS}/ca.crt"
        f" --cert={ETCD_TLS}/server.crt --key={ETCD_TLS}/server.key"
    )


def pgbackrest(cluster_name: str, user: str, command: str) -> str:
    """A command of pgBackRest, which takes none from root, for the cluster's backups; as BACKUP_USER on the repository's host."""
    return f"runuser -u {user} -- pgbackrest --stanza={cluster_name} {command}"


def curl(tls: str) -> str:
    """The curl command, run as root, with a host's own certificate: PATRONI_TLS for Patroni's REST API, ETCD_TLS for etcd."""
    return f"curl --noproxy '*' --silent --show-error --cacert {tls}/ca.crt --cert {tls}/server.crt --key {tls}/server.key"
