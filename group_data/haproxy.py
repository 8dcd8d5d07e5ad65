"""Settings of HAProxy, the cluster's front door."""

haproxy_write_port = 5000  # the primary
haproxy_read_port = 5001  # the replicas; the primary only when there is none
haproxy_stats_port = 7000  # statistics: TLS, user "admin", password from `invoke secrets`

# A replica that lags by more WAL than this gets no reads.
haproxy_read_max_lag = "16MB"
haproxy_max_connections = 1000

# How many connections one address may have to a port while more are open than PostgreSQL takes sessions. None: a tenth of those.
haproxy_fair_share = None

# A virtual address for drivers that take no list of hosts: keepalived puts it on one of the proxy hosts, of which there must be
# two or more, and moves it when that host is gone or its HAProxy does not answer. One that no host has, in the network of the
# proxies, such as "10.0.0.9". `invoke dsn --address` prints the connection string; without it a string names all proxy hosts.
proxy_address = None

# The name in DNS by which clients know that address, such as "db.example.com": certificates bear both.
proxy_address_name = None

# The interface that it is put on. None: the one that has the host's own address.
proxy_interface = None

# Pooled connections: PgBouncer on these hosts, before HAProxy. Its clients share PostgreSQL's connections, one for each
# transaction, so that a thousand of them need a few. It is for applications that keep nothing of a session between transactions.
# PgBouncer ends their TLS, so this host then sees what they ask (docs/security.md). `invoke dsn --pooled` prints the connection
# string.
pooling = False
pooling_write_port = 6432  # the primary
pooling_read_port = 6433  # the replicas

# So many processes for each port: one uses one core.
pooling_processes = 1

# How many of PostgreSQL's connections one process may have to a database. None: so many that all processes together take half of
# what applications have of max_connections.
pooling_pool_size = None

# How many clients one process is to have (it takes as many connections again, for those who have not logged in), and how many of
# their prepared statements it keeps on each connection.
pooling_max_clients = 1000
pooling_max_prepared_statements = 200
