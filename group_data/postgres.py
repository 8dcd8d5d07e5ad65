"""Settings of PostgreSQL and Patroni."""

# The major version: 17 or 18.
postgres_version = 18

# Where its packages and Patroni's come from: "auto" is the host's distribution, or the PostgreSQL project's repository where that
# does not have this version with a Patroni that will do; "distribution" and "pgdg" insist. The URL of that repository, or of a
# mirror, and its key, as a path here: None is the one that the distribution has.
postgres_source = "auto"
postgres_source_url = "https://apt.postgresql.org/pub/repos/apt"
postgres_source_key = None

# Where PostgreSQL listens, for HAProxy and the replicas, and where Patroni answers health checks and commands (REST).
postgres_port = 5432
patroni_port = 8008

# Can't be changed once deployed. None is /var/lib/postgresql/VERSION/pgquorum.
postgres_data_directory = None

# A directory on another disk for the write-ahead log, or None to keep it within the data directory.
postgres_wal_directory = None

# PostgreSQL's own parameters, the same on every host. Most are applied by a deploy at once; those that need a restart are
# reported as pending and wait for `invoke rolling-restart`. What the tool decides itself (ssl, wal_level, ...) is refused.
postgres_parameters = {
    "max_connections": 200,
    "shared_buffers": "256MB",
    "effective_cache_size": "768MB",
    "work_mem": "4MB",
    "maintenance_work_mem": "64MB",
    "max_wal_size": "2GB",
    "max_slot_wal_keep_size": "8GB",
    "temp_file_limit": "4GB",  # of one session, whoever it is: a large index may need more when it is made
    "log_min_duration_statement": "1s",
}

# Login roles that exist after a deploy. Each one's password is made at the first deploy; `invoke dsn` prints the connection
# string. Without a connection_limit it may have nine tenths of the connections that there are for applications (-1: all). Taking
# an entry out of the list does not drop the role.
postgres_roles = [
    {"name": "app", "member_of": []},
]

# Databases that exist after a deploy, each owned by one of the roles. Taking one out of the list does not drop it.
postgres_databases = [
    {"name": "app", "owner": "app"},
]

# Logical replication slots that exist after a deploy and survive every switchover and failover, for subscriptions and other
# consumers of changes: name, database, plugin (pgoutput unless given). With the first, wal_level changes: that needs a restart.
# Its consumer logs in with a role that has "replication": True. Taking one out of the list does not drop it.
postgres_slots = []
