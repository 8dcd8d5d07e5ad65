"""Settings of the whole cluster. docs/settings.md has every setting with its range."""

# The cluster's name: in Patroni and etcd, and the directory of its secrets. Can't be changed once deployed.
cluster_name = "demo"

# What an acknowledged write survives:
#   "quorum"        the loss of any one host: one of the replicas has it on disk, whichever answers first
#   "synchronous"   the same, but always the same replica; stalls for a moment when that one is lost
#   "asynchronous"  not the loss of the primary: the last writes may be gone. Faster; every report says so
durability = "quorum"

# How soon a failure is acted upon: "lan" (hosts in one building), "standard", "wan". Sets Patroni, etcd and HAProxy
# together; single timers can be changed with failover_timing, for example {"ttl": 30}.
failover_profile = "lan"
failover_timing = {}

# The networks from which clients may connect, to HAProxy and to PostgreSQL itself.
client_networks = ["10.77.0.0/16"]

# How long a certificate is valid, in days. A deploy renews it when fewer than 60 are left.
certificate_days = 730

# Where passwords, keys and the certificate authorities are kept, in a directory for each cluster. Keep a backup of it.
secrets_directory = "secrets"
