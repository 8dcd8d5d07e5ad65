"""Settings of etcd, the cluster's memory of who leads."""

# Where Patroni asks, and where the members talk among themselves.
etcd_client_port = 2379
etcd_peer_port = 2380

# On a disk with quick fsync (below 10 ms), not shared with a busy PostgreSQL where that can be helped.
etcd_data_directory = "/var/lib/etcd/pgquorum"

# The database may grow to this size; beyond it etcd refuses writes. History is compacted after so many hours.
etcd_quota = "2GB"
etcd_compaction_hours = 1
