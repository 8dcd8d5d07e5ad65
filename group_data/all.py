"""Settings of the whole cluster. docs/settings.md has every setting with its range."""

# The cluster's name: in Patroni and etcd, and the directory of its secrets. Can't be changed once deployed.
cluster_name = "demo"

# Who has an acknowledged write on disk besides the primary, and so what it survives:
#   "quorum"        one replica, whichever answers first: the loss of any one host
#   "all"           every replica that is there: any of them can take over. As fast as the slowest; stalls for up to 17 s when one
#                   is lost without a word. With two PostgreSQL hosts the same as "quorum"
#   "synchronous"   one replica, always the same: as "quorum", but stalls when that one is lost
#   "asynchronous"  nobody, perhaps: losing the primary loses the last writes. Faster; every report says so
durability = "quorum"

# What writes do while no replica is there. (With "asynchronous" they never wait.)
#   "wait"          none is acknowledged until a replica is back: the promise above holds. Reads go on. With two PostgreSQL hosts
#                   the loss of either stops writes
#   "continue"      the primary goes on alone: losing it then loses what it acknowledged meanwhile. Every report says so
without_replica = "wait"

# What is done about a role, database or session with a synchronous_commit of its own that is weaker, so that a failover may lose
# what it writes. PostgreSQL lets every role choose one. (With "asynchronous" nothing is done.)
#   "tell"      `status` and `verify` name it, and say what is at risk
#   "mend"      so they do, and a deploy takes it back
#   "refuse"    no session that begins with one is let in. A role can still choose one within a session
weaker_commits = "tell"

# How soon a failure is acted upon: "lan" (hosts in one building), "standard", "wan". Sets Patroni, etcd, HAProxy and keepalived
# together; single timers can be changed with failover_timing, for example {"ttl": 30}.
failover_profile = "lan"
failover_timing = {}

# Whether a primary whose host is silent is given up after some seconds, by the others that agree on it, and not when its lease
# of 20 s and more has ended. New, and not yet tried for long. For durability "quorum" and "all".
fast_failover = False

# The networks from which clients may connect, to HAProxy and to PostgreSQL itself.
client_networks = ["10.77.0.0/16"]

# A packet filter (nftables) on every host, which lets none but the cluster's own hosts dial etcd and Patroni, and none but them
# and client_networks PostgreSQL and HAProxy. Nothing else of a host's is filtered. `invoke init` turns it on for new clusters.
firewall = False

# Who else may dial a port, such as {"patroni_port": ["10.0.9.0/24"]} for a monitoring that reads Patroni's metrics.
firewall_also = {}

# How many connections one client's address may have to one PostgreSQL past HAProxy, where there is the filter.
firewall_connections = 30

# With networks here, the filter lets nobody but them and the cluster's hosts dial SSH. A deploy keeps a filter only if a new SSH
# connection gets through it.
operator_networks = []

# How long a certificate is valid, in days. A deploy renews it when fewer than 60 are left.
certificate_days = 730

# Further names and addresses by which clients reach the cluster, and for which certificates are to be good: an alias in DNS, a
# load balancer, a virtual address.
certificate_names = []

# Where passwords, keys and the certificate authorities are kept, in a directory for each cluster. Keep a backup of it.
secrets_directory = "secrets"

# Hosts that a newer version has deployed are refused; the version named here, and older ones, are not. For one run, with
# `--data downgrade_from=0.3.0`.
downgrade_from = None
